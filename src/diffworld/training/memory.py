"""The least memory that a training can do with, worked out from shapes alone before it begins."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from diffworld.config import Config
from diffworld.game import GameSpec
from diffworld.models.denoiser import Denoiser
from diffworld.recipes import build_networks, small_size
from diffworld.runtime.device import resolve_compile, resolve_precision
from diffworld.runtime.errors import UserError
from diffworld.runtime.memory import Limit, in_words, memory_limit
from diffworld.training.footprint import Way, loss
from diffworld.training.shapes import META, AsOn

BYTES_A_PARAMETER = 16
"""Weight, gradient and AdamW's two moments."""


def check_memory(config: Config, spec: GameSpec, device: torch.device) -> int:
    """The bytes that a training needs at least; UserError, which names the settings to lower, where it cannot fit into
    the memory there is."""
    try:
        with META:  # shapes alone, without numbers
            networks = build_networks(config, spec, META)
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
    way = Way(device.type, resolve_precision(config.precision, device), resolve_compile(config.compile, device))
    of_setting = {"reward_end": "--reward-end.window", "actor_critic": "--horizon"}
    height, width = small_size(spec, config.factor)
    of_stage, most = replace(spec, height=height, width=width), 0
    for name, network in networks.items():
        rows, setting = config.updates(name).batch_size, of_setting.get(name)
        count = 1 if isinstance(network, Denoiser) else config.steps(name)  # a denoiser's go one at a time
        kept = kept_bytes(network, spec if name == "upsampler" else of_stage, way)
        _check(weights + kept, limit, f"a single step of the {name} needs", _size(name))
        settings = f"--{_option(name)}-updates.batch-size ({rows}){f' or {setting}' if setting else ''}"
        _check(weights + rows * count * kept, limit, f"an update of the {name} needs", settings)
        most = max(most, weights + rows * count * kept)
    return most


def kept_bytes(network: nn.Module, spec: GameSpec, way: Way) -> int:
    """Bytes that an update keeps for its way back of each step of each row, at least.

    This is what grows with both; the way forward alone holds as much at its end, and no update can do with less.
    """
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    with META, AsOn(way.device, way.dtype) as mode, saved_tensors_hooks(keep, lambda tensor: tensor):
        result = loss(network, spec, 1, 1)
        own = {weight.untyped_storage()._cdata for weight in (*network.parameters(), *mode.cast.values())}
        sizes = [storage.nbytes() for key, storage in kept.items() if key not in own]
    del result  # what is kept lives as long as it does
    return sum(sizes) // (4 if way.compiled else 1)  # compiled, most is computed anew; see shapes.py


def _check(size: int, limit: Limit, needs: str, settings: str) -> None:
    if size > limit.left:
        raise UserError(f"{needs} at least {in_words(size)} of memory, and {limit}: lower {settings}")


def _size(name: str) -> str:
    return f"--{_option(name)}.channels or the size of the frames"


def _option(name: str) -> str:
    return name.replace("_", "-")
