"""What a training takes of a GPU beside what was foretold.

    python -m benchmarks.memory [--preset csgo] [--updates 3]

Makes a few updates of each network on noise of the right shape, and fails where torch's allocator reserved more or less
than `diffworld train --dry-run` says by over 15 %, or more than 24 GB. On a CPU, where no allocator counts, the tensors
that are alive are counted instead, and compared with what an update takes besides weights and moments; large networks
take hours there, so `--small` makes them small.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
from annotated_types import Ge

from benchmarks.measuring import command, random_data, untrained
from diffworld.config import RECIPE_NETWORKS, Config, preset
from diffworld.envs import EnvironmentConfig
from diffworld.game import GameSpec
from diffworld.runtime.device import resolve_compile
from diffworld.runtime.errors import UserError
from diffworld.runtime.memory import in_words
from diffworld.training.footprint import Rehearsal, Way
from diffworld.training.shapes import Live
from diffworld.training.trainer import Trainer

SHARE, MOST = 0.15, 24 * 10**9
"""How far off the forecast may be, and the bytes that the published shooter may take."""


@dataclass(frozen=True)
class Options:
    """Measure what a few updates of each network of a preset take of memory, beside the forecast."""

    preset: str = "csgo"
    """Whose networks and batches."""
    updates: Annotated[int, Ge(2)] = 3
    """Updates of each."""
    device: str = "auto"
    """cuda or cpu."""
    small: bool = False
    """Narrow networks and small frames, to rehearse."""


def configured(options: Options) -> Config:
    """The preset's training, on noise."""
    config = replace(preset(options.preset), device=options.device)
    shooter = config.recipe == "shooter"
    if shooter:
        config = replace(config, environment=EnvironmentConfig(height=150, width=280))
    else:
        config = replace(config, recipe="world", networks=RECIPE_NETWORKS["world"], data="noise")
    if not options.small:
        return config
    narrow = {"cond_channels": 32, "channels": (16, 32), "depths": (1, 1), "attention": (False, True)}
    size = EnvironmentConfig(height=40, width=60) if shooter else EnvironmentConfig(height=16, width=16)
    denoiser, upsampler = (replace(x, **narrow) for x in (config.denoiser, config.upsampler))  # type: ignore[arg-type]
    return replace(config, environment=size, denoiser=denoiser, upsampler=upsampler, compile="off")


def on_gpu(trainer: Trainer, config: Config, spec: GameSpec, updates: int) -> list[str]:
    """Print what was reserved beside the forecast; what is wrong with it."""
    way = Way("cuda", trainer.dtype, resolve_compile(config.compile, trainer.device))
    found = Rehearsal(config, spec, way).footprint
    for name in trainer.recipe.parts:
        torch.cuda.reset_peak_memory_stats()
        for _ in range(updates):
            trainer.update(name)
        torch.cuda.synchronize()
        taken = in_words(torch.cuda.max_memory_allocated()), in_words(torch.cuda.max_memory_reserved())
        print(f"{name}: {taken[0]} allocated at most, {taken[1]} reserved, foretold {in_words(found.of(name))}")
    reserved = torch.cuda.memory_reserved()
    print(f"together: {in_words(reserved)} reserved, foretold {found} ({way})")
    wrong = off("memory reserved", reserved, found.total)
    if config == replace(preset("csgo"), device=config.device, environment=config.environment) and reserved > MOST:
        wrong.append(f"{in_words(reserved)} are more than 24 GB")
    return wrong


def on_cpu(trainer: Trainer, config: Config, spec: GameSpec, updates: int) -> list[str]:
    """The same of the tensors that are alive in an update."""
    found, wrong = Rehearsal(config, spec, Way("cpu", trainer.dtype, False)).footprint, list[str]()
    for name, part in trainer.recipe.parts.items():
        for _ in range(updates - 1):
            trainer.update(name)
        live = Live()
        with live:
            trainer.update(name)
        foretold = found.updates[name]
        print(f"{name}: {in_words(live.most)} alive at most, foretold {in_words(foretold)}")
        wrong += off(f"what an update of the {name} takes", live.most, foretold) if name != "actor_critic" else []
        assert all(parameter.grad is None for parameter in part.network.parameters())
    return wrong


def off(what: str, taken: int, foretold: int) -> list[str]:
    """What is wrong with a forecast: at most one line."""
    by = foretold / taken - 1
    return [f"{what} was foretold {by:+.0%} off: more than {SHARE:.0%}"] if abs(by) > SHARE else []


def measure(options: Options) -> None:
    """Print what each network's updates take; UserError where the forecast is off."""
    config = configured(options)
    with TemporaryDirectory() as folder, random_data(config, Path(folder)) as dataset:
        trainer = untrained(config, dataset)
        if trainer.device.type == "cpu" and config.compile == "on":
            raise UserError("on a CPU nothing is counted of what the compiler does: leave it out")
        on = on_gpu if trainer.device.type == "cuda" else on_cpu
        wrong = on(trainer, config, dataset.spec, options.updates)
    if wrong:
        raise UserError("; ".join(wrong))
    print(f"foretold within {SHARE:.0%}")


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 2 where the forecast is off."""
    return command(Options, "benchmarks.memory", measure, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
