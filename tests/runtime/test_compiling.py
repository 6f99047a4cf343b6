"""The compiled graph computes what the plain one does, and whatever it cannot compile runs plain."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from diffworld.models.reward_end import RewardEndConfig, RewardEndEncoder
from diffworld.runtime.compiling import Compiled, compile_forward


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inductor")


@pytest.mark.filterwarnings("default")  # the compiler's own warnings are not ours
@pytest.mark.thorough
def test_compiled_is_plain(cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Output and gradients agree; only the sizes asked for are compiled; the first time is told."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache))
    torch.manual_seed(0)
    block = RewardEndEncoder(RewardEndConfig(cond_channels=4, channels=(8,), depths=(1,), attention=(False,)))
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.1)
    x, cond = torch.randn(2, 6, 6, 6), torch.randn(2, 4)

    def results() -> list[Tensor]:
        block.zero_grad()
        out = block(x, cond)
        out.square().sum().backward()
        return [out.detach(), *(p.grad.clone() for p in block.parameters() if p.grad is not None)]

    plain, names = results(), list(block.state_dict())
    compile_forward("block", block, {2})
    for ours, theirs in zip(results(), plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert list(block.state_dict()) == names
    assert "compiled the block for 2 rows" in capsys.readouterr().err
    assert block(x[:1], cond[:1]).shape == (1, 8, 6, 6)
    assert isinstance(block.forward, Compiled) and block.forward.seen == {(2, True)}


def test_what_cannot_be_compiled_runs_plain(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> object:
        def refuse(*_: object) -> object:
            raise RuntimeError("no C++ compiler")

        return refuse

    monkeypatch.setattr(torch, "compile", broken)
    layer = nn.Linear(3, 2)
    plain = layer(torch.ones(4, 3))
    compile_forward("layer", layer, {4})
    assert torch.equal(layer(torch.ones(4, 3)), plain)
    assert torch.equal(layer(torch.ones(4, 3)), plain)
    assert capsys.readouterr().err == "layer runs uncompiled: no C++ compiler\n"


def test_our_own_mistakes_are_not_hidden() -> None:
    layer = nn.Linear(3, 2)
    compile_forward("layer", layer, {4})
    with pytest.raises(RuntimeError, match="shapes"):
        layer(torch.ones(4, 5))
