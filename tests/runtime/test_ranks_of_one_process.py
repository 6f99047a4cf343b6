"""Ranks as far as one process shows them: alone nothing happens, and what torchrun says must be whole."""

import signal

import pytest
import torch
from torch import nn

from diffworld.runtime import ranks
from diffworld.runtime.errors import UserError
from diffworld.runtime.ranks import ALONE, GradientAverage, Ranks, joined


def test_alone_everything_is_given_back_as_it_is() -> None:
    tensor = torch.randn(3, 2)
    assert ALONE.first and not ALONE.several and ALONE.one_machine
    assert ALONE.mean(tensor) is tensor and torch.equal(ALONE.join(tensor), tensor)
    values = {"loss": tensor.sum()}
    assert ALONE.means(values) is values
    assert ALONE.all("x") == ["x"] and ALONE.broadcast("x") == "x" and ALONE.any(True, False) == (True, False)
    ALONE.agree(1, lambda a, b: "differs")
    ALONE.copy_from_first([tensor])


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": "1", "RANK": "0"}])
def test_without_torchrun_a_process_is_alone(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    before = signal.getsignal(signal.SIGTERM)
    with joined() as found:
        assert found is ALONE
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("name", "value"), [("WORLD_SIZE", "two"), ("RANK", ""), ("RANK", "-1"), ("LOCAL_RANK", "1.5")]
)
def test_a_damaged_environment_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for known, usual in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", name: value}.items():
        monkeypatch.setenv(known, usual)
    with pytest.raises(UserError, match=f"{name} is '{value}' in the environment.*torchrun"), joined():
        pass


def test_gradients_of_one_process_stay_its_own() -> None:
    layer = nn.Linear(2, 2)
    average = GradientAverage(list(layer.parameters()), ALONE)
    average.begin()
    layer(torch.ones(1, 2)).sum().backward()
    before = [p.grad for p in layer.parameters()]
    average.finish()
    assert all(p.grad is kept for p, kept in zip(layer.parameters(), before, strict=True))


def test_buckets_hold_every_parameter_once_the_last_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "BUCKET_BYTES", 40)
    parameters = [nn.Parameter(torch.zeros(size)) for size in (3, 100, 4, 5, 5)]  # of 4 bytes each
    buckets = GradientAverage(parameters, Ranks(0, 1)).buckets
    assert [[p.numel() for p in bucket] for bucket in buckets] == [[5, 5], [4], [100], [3]]
