"""Devices and number formats by name."""

import pytest
import torch

from diffworld.runtime import device
from diffworld.runtime.device import autocast, device_of_rank, resolve_device, resolve_precision, resolve_threads
from diffworld.runtime.errors import UserError
from diffworld.runtime.ranks import ALONE, Ranks


def test_auto_is_a_device_that_is_there() -> None:
    device = resolve_device("auto")
    assert torch.ones(2, device=device).sum() == 2
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["", "tpu", "gpu", "CUDA"])
def test_unknown_device(name: str) -> None:
    with pytest.raises(UserError, match=f"unknown device '{name}': choose auto, cpu, cuda or mps"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_absent_device(name: str) -> None:
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}[name.split(":")[0]]
    if present:
        pytest.skip(f"{name} is here")
    with pytest.raises(UserError, match=f"'{name}' is not available on this machine"):
        resolve_device(name)


@pytest.mark.parametrize(
    ("name", "local", "expected"),
    [
        ("auto", 1, "cuda:1"),
        ("cuda", 0, "cuda:0"),
        ("cpu", 1, "cpu"),
        ("cuda:1", 1, "give --device cuda, a GPU for each"),
        ("auto", 2, "this machine has 2 GPUs for 3 ranks"),
    ],
)
def test_each_rank_has_a_gpu_of_its_own(name: str, local: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    ranks = Ranks(rank=local, count=3, local=local, local_count=3)
    if " " not in expected:
        assert device_of_rank(name, ranks) == expected
        assert device_of_rank(name, ALONE) == name
    else:
        with pytest.raises(UserError, match=expected):
            device_of_rank(name, ranks)


@pytest.mark.parametrize("name", ["cpu:x", "cpu:", "cuda:99"])
def test_unfit_device_number(name: str) -> None:
    with pytest.raises(UserError) as error:
        resolve_device(name)
    assert "\n" not in str(error.value)


def test_precision() -> None:
    cpu = torch.device("cpu")
    assert resolve_precision("float32", cpu) == torch.float32
    assert resolve_precision("bfloat16", cpu) == torch.bfloat16
    assert resolve_precision("auto", cpu) in (torch.float32, torch.bfloat16)
    x = torch.randn(4, 4)
    with autocast(cpu, torch.float32):
        assert (x @ x).dtype == torch.float32
    with autocast(cpu, torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("asked", "small", "begun_with", "side_by_side", "expected"),
    [
        ("", True, 0, 1, 1),
        ("", False, 0, 1, 4),
        ("", False, 0, 2, 2),
        ("", False, 0, 9, 1),
        ("", True, 2, 1, 2),  # as the run began
        ("", False, 3, 2, 3),
        ("", False, 8, 1, 4),  # on a machine with more cores, which this one is not
        ("4", True, 0, 1, 4),
        ("4", True, 2, 1, 4),
        ("4", True, 0, 2, 2),
    ],
)
def test_threads_follow_the_networks_unless_somebody_asks(
    monkeypatch: pytest.MonkeyPatch, asked: str, small: bool, begun_with: int, side_by_side: int, expected: int
) -> None:
    monkeypatch.setattr(device, "CORES", 4)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert resolve_threads(small, begun_with, side_by_side) == expected
