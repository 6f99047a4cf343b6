"""What a training costs on so many GPUs of which kind, on paper: python -m benchmarks.cost [--json FILE]

A model of three lines, fed with counted arithmetic and with what one H100 was measured to do. It is no measurement.

    an update on N GPUs = max(work / N, floor) + communication that the way back does not hide
    work = measured milliseconds where there are some; else arithmetic / (peak x share of it that is reached)
    communication = 2 (N - 1) / N x bytes of the gradients / bandwidth      (ring all-reduce, Patarasuk and Yuan 2009)

The floor is the kernels of a recorded update, one after another, however few rows they have. docs/scale.md says what
follows.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Gt, Le
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measuring import command, write_compact_json
from diffworld.config import NetworkName, preset
from diffworld.game import ActionSpace, GameSpec
from diffworld.game.counter_strike import counter_strike
from diffworld.models.denoiser import Denoiser
from diffworld.recipes import build_networks
from diffworld.runtime.checked import Count
from diffworld.training.footprint import loss

LAUNCH = 2.5e-6
"""Seconds that a kernel of a recorded update takes at least, about."""
BACK = 2 / 3
"""Of an update the way back, behind which gradients travel."""
ATARI_RUNS = 26 * 5
SIMULTANEOUS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Gpu:
    """A kind of GPU; prices are of hours on demand, without storage and idle time."""

    name: str
    peak: float
    """Dense bfloat16 products, TFLOP/s, by its maker."""
    memory_bandwidth: float
    """TB/s."""
    links: float
    """GB/s that a GPU sends to its neighbour in the machine, about."""
    memory: int
    """GB."""
    price: float
    """US dollars an hour, spring 2026, by mercatus-ai.com, aimultiple.com, gputracker.dev; offers differ twofold."""


GPUS = (
    Gpu("H100 SXM", 989, 3.35, 450, 80, 2.95),
    Gpu("A100 SXM", 312, 2.04, 300, 80, 1.30),
    Gpu("RTX 4090", 165, 1.01, 25, 24, 0.34),
)
NETWORK_CARD = 50.0
"""GB/s between machines: 400 Gbit/s a GPU, as machines of eight H100s have."""


@dataclass(frozen=True)
class Update:
    """One network's update in a run."""

    name: str
    count: int
    """Of them in a run."""
    parameters: int
    milliseconds: float
    """On one GPU, work and floor together."""
    floor: float
    """Milliseconds that no further GPU takes away."""


def update_seconds(update: Update, gpus: int, bandwidth: float) -> float:
    """Of one update on so many GPUs, whose gradients travel at `bandwidth` GB/s."""
    computing = max(update.milliseconds / gpus, update.floor) / 1e3
    travelling = 2 * (gpus - 1) / gpus * 4 * update.parameters / (bandwidth * 1e9)
    return computing + max(0.0, travelling - BACK * computing)


def run_hours(updates: Sequence[Update], gpus: int, gpu: Gpu) -> float:
    """Of a whole run; more than eight GPUs are several machines, and the slowest link counts."""
    bandwidth = gpu.links if gpus <= 8 else min(gpu.links, NETWORK_CARD)
    return sum(each.count * update_seconds(each, gpus, bandwidth) for each in updates) / 3600


ATARI: dict[NetworkName, tuple[int, float, int]] = {
    "denoiser": (410_000, 22.9, 3_755),
    "reward_end": (410_000, 20.4, 3_755),
    "actor_critic": (405_000, 243.0, 26_512),
}
"""Of a run of `atari100k`: updates; milliseconds and kernels of each on an H100 (docs/performance.md), the agent's in
dreams that never end. Kernels of the reward/end model were not counted and are taken to be the denoiser's."""


def atari_updates(gpu: Gpu) -> list[Update]:
    """A run of `atari100k`. Other GPUs take as much longer as their memory is slower: its kernels are small."""
    slower = GPUS[0].memory_bandwidth / gpu.memory_bandwidth
    config = preset("atari100k")
    spec = GameSpec("atari", config.environment.height, config.environment.width, ActionSpace.discrete(18))
    parameters = build_networks(config, spec, torch.device("meta")).parameter_counts()
    return [
        Update(name, count, parameters[name], milliseconds * slower, kernels * LAUNCH * 1e3)
        for name, (count, milliseconds, kernels) in ATARI.items()
    ]


def shooter_updates(gpu: Gpu, share: float) -> list[Update]:
    """A run of `csgo`, whose arithmetic is counted, where `share` of a GPU's peak is reached."""
    config = preset("csgo")
    updates = []
    for name, work in shooter_work().items():
        setting = config.updates(name)
        seconds = work.flops / (gpu.peak * 1e12 * share)
        # Of one batch: those that an update adds up are spread over the GPUs before a batch is divided.
        floor = work.kernels * LAUNCH * 1e3
        updates.append(Update(name, config.epochs * setting.steps, work.parameters, seconds * 1e3, floor))
    return updates


@dataclass(frozen=True)
class Work:
    """What an update of a network is made of."""

    flops: float
    kernels: int
    parameters: int


@cache
def shooter_work() -> dict[NetworkName, Work]:
    """Of the shooter's networks, with all batches that an update adds up. The way back counts as two ways forward."""
    config, spec = preset("csgo"), counter_strike()
    networks = build_networks(config, spec, torch.device("meta"))
    found = {}
    for name, network in networks.items():
        assert isinstance(network, Denoiser)
        settings, steps = config.updates(name), 1 + network.config.autoregressive_steps
        rows = settings.batch_size * settings.accumulate
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            kernels = _CountOperations()
            with kernels, torch.no_grad():
                loss(network, spec, rows=1, steps=1, factor=config.factor)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        found[name] = Work(3.0 * counter.get_total_flops() * rows * steps, 3 * kernels.count * steps, parameters)
    return found


class _CountOperations(torch.utils._python_dispatch.TorchDispatchMode):
    """Operations that would be kernels; views are not."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Options:
    """Reckon what training costs on GPUs, from counted arithmetic and one GPU's measured updates."""

    share: Annotated[float, Gt(0), Le(1)] = 0.11
    """Of a GPU's peak that the shooter's training reaches; the published one did so in its 12 days on an RTX 4090."""
    most: Count = 32
    """GPUs of one run."""
    json: Path | None = None
    """Where to write it, too."""


def rows(options: Options) -> Iterator[dict[str, Any]]:
    """Hours, dollars and efficiency of one run, by what is trained, kind and number of GPUs."""
    for gpu in GPUS:
        for what, updates in (("atari100k", atari_updates(gpu)), ("csgo", shooter_updates(gpu, options.share))):
            alone = run_hours(updates, 1, gpu)
            for count in (each for each in SIMULTANEOUS if each <= options.most):
                hours = run_hours(updates, count, gpu)
                yield {
                    "training": what,
                    "gpu": gpu.name,
                    "gpus": count,
                    "hours": hours,
                    "dollars": hours * count * gpu.price,
                    "efficiency": alone / hours / count,
                }


def run(options: Options) -> None:
    """Say it, and write it."""
    found = list(rows(options))
    print(f"{'training':10} {'GPU':9} {'GPUs':>4} {'hours':>8} {'dollars':>8}  of one GPU's pace for each")
    for row in found:
        print(
            f"{row['training']:10} {row['gpu']:9} {row['gpus']:4d} {row['hours']:8.1f} {row['dollars']:8,.0f}"
            f"  {row['efficiency']:.0%}"
        )
    print(f"\nAtari 100k, {ATARI_RUNS} runs, each on a GPU of its own:")
    for gpu in GPUS:
        hours = run_hours(atari_updates(gpu), 1, gpu) * ATARI_RUNS
        days = ", ".join(f"{hours / 24 / count:.0f} days on {count}" for count in (8, 64))
        print(f"{gpu.name:9} {hours:7,.0f} GPU hours, {hours * gpu.price:7,.0f} dollars: {days}")
    if options.json is not None:
        record = {"share": options.share, "gpus": [asdict(gpu) for gpu in GPUS], "runs": found}
        write_compact_json(options.json, record)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    return command(Options, "python -m benchmarks.cost", run, arguments)


if __name__ == "__main__":
    sys.exit(main())
