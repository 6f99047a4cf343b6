"""What a GPU's compiler makes of an update, counted on any machine: whole graphs, fused kernels, layouts that stay."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from diffworld.config import Config
from diffworld.game import ActionSpace, GameSpec
from diffworld.nn.blocks import ResBlock
from diffworld.recipes import Networks, build_networks, compile_networks
from diffworld.runtime.compiling import Compiled
from tests.tiny_training import SHOOTER

ROWS, BATCHES = 2, {"denoiser": 2, "upsampler": 2, "reward_end": 2, "actor_critic": 2}
LAST = torch.channels_last


def networks(small: Config, recipe: str, attention: bool = False) -> Networks:
    wide = {"channels": (32, 64), "depths": (1, 1), "attention": (False, attention)}
    config = replace(
        small,
        recipe=recipe,  # type: ignore[arg-type]
        networks=("denoiser", "upsampler") if recipe == "shooter" else ("denoiser", "reward_end", "actor_critic"),
        denoiser=replace(small.denoiser, **wide),  # type: ignore[arg-type]
        upsampler=replace(small.upsampler, factor=2, **wide),  # type: ignore[arg-type]
    )
    spec = GameSpec("noise", 16, 16, SHOOTER if recipe == "shooter" else ActionSpace.discrete(3))
    return build_networks(config, spec, torch.device("cpu"))


def learning(networks: Networks, name: str, side: int = 16) -> tuple[Any, ...]:
    """What a denoiser or an upsampler is given for a step of an update."""
    network = getattr(networks, name)
    n, frames = network.config.context_frames, torch.zeros(ROWS, 3, side, side)
    past = frames[:, None].repeat(1, n, 1, 1, 1)
    sigma = torch.ones(ROWS)
    small = frames[..., : side // 2, : side // 2] if name == "upsampler" else None
    actions = None
    if name == "denoiser":
        discrete = network.network.action_embedding.is_discrete
        actions = torch.zeros(ROWS, n, *(() if discrete else (SHOOTER.size,)), dtype=torch.int64)
    return frames, frames.clone(), sigma, past, actions, small, sigma if network.conditioning.noise_context else None


@pytest.mark.parametrize(("recipe", "name"), [("world", "denoiser"), ("shooter", "denoiser"), ("shooter", "upsampler")])
@pytest.mark.cases(every=3)
def test_a_step_of_a_denoisers_update_is_one_graph(small: Config, recipe: str, name: str) -> None:
    """Context, conditions, U-Net, loss and the next frame; what dreams compile apart is part of it."""
    found = networks(small, recipe)
    compile_networks(found, BATCHES, 3)  # type: ignore[arg-type]
    compiled = getattr(found, name).forward
    assert isinstance(compiled, Compiled) and compiled.batch_sizes == {ROWS}
    explained = torch._dynamo.explain(compiled.eager)(*learning(found, name))
    assert (explained.graph_count, explained.graph_break_count) == (1, 0), explained.break_reasons


def test_encoders_are_one_graph_each(small: Config) -> None:
    found = networks(small, "world")
    compile_networks(found, BATCHES, 3)  # type: ignore[arg-type]
    assert found.reward_end and found.actor_critic
    cond, channels = small.reward_end.cond_channels, small.actor_critic.channels[0]
    for module, given in (
        (found.reward_end.encoder, (torch.zeros(2, 6, 16, 16), torch.zeros(2, cond))),
        (found.actor_critic.stages, (torch.zeros(2, channels, 16, 16),)),
    ):
        assert isinstance(module.forward, Compiled)
        explained = torch._dynamo.explain(module.forward.eager)(*given)
        assert (explained.graph_count, explained.graph_break_count) == (1, 0), explained.break_reasons


def graphs(function: Callable[..., Any], *args: Any) -> list[fx.GraphModule]:
    """Of the way there and the way back, as the compiler has them before it makes kernels."""
    # The compiler takes seconds to import: not when tests are collected.
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd
    from torch._functorch.partitioners import min_cut_rematerialization_partition
    from torch._inductor.decomposition import select_decomp_table

    found: list[fx.GraphModule] = []

    def keep(graph: fx.GraphModule, _: Any) -> Any:
        found.append(graph)
        return make_boxed_func(graph.forward)

    backend = aot_autograd(
        fw_compiler=keep,
        bw_compiler=keep,
        partition_fn=partial(min_cut_rematerialization_partition),
        decompositions=select_decomp_table(),
    )
    torch._dynamo.reset()
    with torch.autocast("cpu", torch.bfloat16):
        loss, *_ = torch.compile(function, backend=backend, dynamic=False)(*args)
    loss.sum().backward()
    return found


def operands(graph: fx.GraphModule) -> Iterator[tuple[fx.Node, fx.Node]]:
    """Each convolution with each of its operands."""
    for node in graph.graph.nodes:
        count = {"aten.convolution.default": 2, "aten.convolution_backward.default": 3}.get(str(node.target), 0)
        for operand in node.args[:count]:
            yield node, operand


@pytest.mark.filterwarnings("default")  # the compiler's own warnings are not ours
@pytest.mark.thorough
@pytest.mark.parametrize("side", [16, 32])  # the attention of 32 is torch's own
def test_feature_maps_stay_channels_last(small: Config, side: int) -> None:
    """There and back: what a convolution takes lies as it wants it, but for frames and for slices of concatenations."""
    found = networks(small, "world", attention=True)
    denoiser = found.denoiser
    assert denoiser is not None
    there, back = graphs(denoiser.forward, *learning(found, "denoiser", side))
    count, moved = 0, []
    for graph in (there, back):
        for node, operand in operands(graph):
            count += 1
            value = operand.meta["val"]
            if value.is_contiguous(memory_format=LAST) or value.shape[1] in (3, 3 * small.denoiser.context_frames):
                continue
            if str(operand.target) != "aten.slice.Tensor":
                moved.append(f"{node.name}: {operand.name} {tuple(value.shape)} {value.stride()}")
    print(f"side {side}: {count} operands of convolutions, {len(moved)} moved")
    assert count > 100 and not moved, "\n".join(moved)
    names = [str(node.target) for node in back.graph.nodes]
    assert "aten.index_put.default" not in names, "enlarging is summed number by number"


def kernels(function: Callable[..., Tensor]) -> list[list[str]]:
    """Names of the kernels that the compiler makes of the way there and the way back."""
    from torch._inductor.utils import run_fw_bw_and_get_code

    torch._dynamo.reset()
    with torch._inductor.config.patch(fx_graph_cache=False):
        _, codes = run_fw_bw_and_get_code(function)
    return [re.findall(r"^(cpp_fused_\w+) = async_compile", code, re.MULTILINE) for code in codes]


@pytest.mark.filterwarnings("default")
@pytest.mark.thorough
def test_norm_modulation_and_silu_are_fused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A residual block is its two convolutions, a kernel before each of them and one after; they differ in nothing but
    what they are given, so each is made once. Back there are as many."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    block = ResBlock(32, 32, 8, False)
    nn.init.normal_(block.conv2.weight)
    block.to(memory_format=LAST)  # type: ignore[call-overload]
    x = torch.randn(2, 32, 8, 8).to(memory_format=LAST).requires_grad_()
    modulations = [torch.randn(2, 64, requires_grad=True) for _ in range(2)]

    def forward(x: Tensor, first: Tensor, second: Tensor) -> Tensor:
        return block(x, iter((first, second)))

    compiled = torch.compile(forward, dynamic=False)
    there, back = kernels(lambda: compiled(x, *modulations))
    print(f"{len(there)} kernels there: {there}; {len(back)} back: {back}")
    assert len(there) <= 3 and len(back) <= 3
    assert all({"norm", "addcmul", "silu"} <= {*re.split("_", name)} for name in (there[0], back[0]))
