"""The least memory that a training can do with, worked out from shapes alone before it begins."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from diffworld.config import Config
from diffworld.game import GameSpec
from diffworld.models.actor_critic import ActorCritic
from diffworld.models.denoiser import Denoiser
from diffworld.models.reward_end import RewardEndModel
from diffworld.recipes import build_networks, small_size
from diffworld.runtime.device import resolve_compile, resolve_precision
from diffworld.runtime.errors import UserError
from diffworld.runtime.memory import Limit, in_words, memory_limit

BYTES_A_PARAMETER = 16
"""Weight, gradient and AdamW's two moments."""


def check_memory(config: Config, spec: GameSpec, device: torch.device) -> int:
    """The bytes that a training needs at least; UserError, which names the settings to lower, where it cannot fit into
    the memory there is."""
    try:
        with torch.device("meta"):  # shapes alone, without numbers
            networks = build_networks(config, spec, torch.device("meta"))
    except RuntimeError as error:
        if "overflow" not in str(error):
            raise
        raise UserError("the networks are too large to be counted: lower their channels") from error
    limit = memory_limit()
    if device.type == "cuda":
        total = torch.cuda.mem_get_info(device)[1]
        limit = Limit(total, total, "this GPU has")
    counts = networks.parameter_counts()
    largest, weights = max(counts, key=lambda name: counts[name]), BYTES_A_PARAMETER * sum(counts.values())
    _check(weights, limit, "the networks with their optimisers need", _size(largest))
    # Most numbers have two bytes in bfloat16. Compiled, part of them is computed anew instead of kept.
    shrunk = (4 // resolve_precision(config.precision, device).itemsize) * (1 + resolve_compile(config.compile, device))
    steps = {
        "denoiser": (1 + config.denoiser.autoregressive_steps, "--denoiser.autoregressive-steps"),
        "upsampler": (1 + config.upsampler.autoregressive_steps, "--upsampler.autoregressive-steps"),
        "reward_end": (config.denoiser.context_frames + config.reward_end.window - 1, "--reward-end.window"),
        "actor_critic": (config.horizon, "--horizon"),
    }
    height, width = small_size(spec, config.factor)
    of_stage, most = replace(spec, height=height, width=width), 0
    for name, network in networks.items():
        rows, (count, setting) = config.updates(name).batch_size, steps[name]
        kept = kept_bytes(network, spec if name == "upsampler" else of_stage) // shrunk
        _check(weights + kept, limit, f"a single step of the {name} needs", _size(name))
        settings = f"--{_option(name)}-updates.batch-size ({rows}){f' or {setting}' if count > 1 else ''}"
        _check(weights + rows * count * kept, limit, f"an update of the {name} needs", settings)
        most = max(most, weights + rows * count * kept)
    return most


def kept_bytes(network: nn.Module, spec: GameSpec) -> int:
    """Bytes that an update keeps for its way back, in float32, of each step of each row.

    This is what grows with both; the way forward alone holds as much at its end, and no update can do with less.
    """
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    with torch.device("meta"), saved_tensors_hooks(keep, lambda tensor: tensor):
        result = _one_step(network, spec)
        sizes = [storage.nbytes() for key, storage in kept.items() if key not in own]
    del result  # what is kept lives as long as it does
    return sum(sizes)


def _one_step(network: nn.Module, spec: GameSpec) -> object:
    """What is to be learnt from in one step of one row."""

    def window(length: int) -> tuple[Tensor, Tensor]:
        shape = (1, length) if spec.actions.is_discrete else (1, length, spec.actions.size)
        frames = torch.zeros(1, length, 3, *spec.frame_size)
        return frames, torch.zeros(shape, dtype=torch.int64 if spec.actions.is_discrete else torch.uint8)

    if isinstance(network, Denoiser):
        length, factor = network.config.context_frames + 1, network.conditioning.upsampling_factor
        (frames, actions), mask = window(length), torch.ones(1, length, dtype=torch.bool)
        low_res = None if factor == 1 else frames[..., : spec.height // factor, : spec.width // factor]
        return network.loss(frames, actions, mask, torch.randn, low_res=low_res)
    if isinstance(network, RewardEndModel):
        numbers = torch.zeros(1, 2)
        return network.loss(*window(2), numbers, numbers.long(), numbers.bool())
    assert isinstance(network, ActorCritic)
    return network(window(1)[0][:, 0], network.zero_state(1))


def _check(size: int, limit: Limit, needs: str, settings: str) -> None:
    if size > limit.left:
        raise UserError(f"{needs} at least {in_words(size)} of memory, and {limit}: lower {settings}")


def _size(name: str) -> str:
    return f"--{_option(name)}.channels or the size of the frames"


def _option(name: str) -> str:
    return name.replace("_", "-")
