"""How much faster than the published way: the same networks both ways, in turn.

    python -m benchmarks.speed [--json FILE] [--quick]

Published way: float32, channel-first, the context convolved and the norms conditioned anew at each denoising step,
AdamW not fused. On CUDA as its users run it: TF32, and both predictions of a dream's step compiled with CUDA graphs
(its `training.compile_wm`), outputs cloned, without which today's torch refuses. Elsewhere not compiled.
Ours: what `diffworld train` and `diffworld play` do here (number format, memory format, allocator, compiler). Both are
paper size, with batch 32 and the same data. `--quick` takes batch 4, dreams of 3 steps and one repetition: to see that
all runs, not to quote.

Each way of each row has a process of its own, and the two take turns, one idle while the other works. How the C
library treats freed memory holds for a whole process, so one could not do both. It also depends on what a process
did before: the published way draws an imagined frame in 5 s in a fresh process, in 2 s after a denoiser update. So the
first time in each process (ours may compile in it) is reported too.
Share of peak: arithmetic of the networks' convolutions and matrix products, as torch counts it, over time, over the
fastest matrix product measured in the same number format.
"""

import argparse
import json
import multiprocessing
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measuring import machine, random_data, seconds, untrained
from diffworld.config import NETWORKS, Config, preset
from diffworld.data import Dataset
from diffworld.data.episodes import widen
from diffworld.envs import EnvironmentConfig
from diffworld.models.denoiser import Denoiser
from diffworld.models.sampler import SamplerConfig, sample
from diffworld.play.compiling import compiled_copy
from diffworld.recipes import Networks
from diffworld.runtime.files import write_json
from diffworld.runtime.malloc import keep_memory
from diffworld.training.trainer import Trainer
from diffworld.world import WorldModel

Way = Literal["published", "ours"]
SHORTEST = 0.5
"""Seconds that a measurement should last; what is shorter is repeated."""


@dataclass(frozen=True)
class Row:
    """One kind of work, and how to do it with a trainer of that configuration."""

    name: str
    work: Callable[[Trainer], object]
    config: Config


def rows(config: Config, shooter: Config) -> list[Row]:
    """What the time of a run goes into, and a frame of the shooter in both ways that it is played."""
    steps = config.sampler.denoising_steps
    return [
        Row("denoiser update", lambda t: t.update("denoiser"), config),
        Row(f"imagined frame, {config.actor_critic_updates.batch_size} rows, {steps} denoising steps", imagine, config),
        Row(f"player's frame, {steps} denoising steps", play, config),
        Row("reward/end update", lambda t: t.update("reward_end"), config),
        Row(f"actor-critic update, {config.horizon} imagined steps", lambda t: t.update("actor_critic"), config),
        Row("shooter's frame, fast: 1 and 1 denoising steps", partial(shoot, steps=(1, 1)), shooter),
        Row("shooter's frame, quality: 3 and 10 denoising steps", partial(shoot, steps=(3, 10)), shooter),
    ]


def imagine(trainer: Trainer) -> None:
    """Draw the next frame of a batch of dreams."""
    draw(trainer, trainer.recipe.world, trainer.recipe.parts["actor_critic"].updates.batch_size)


def play(trainer: Trainer) -> None:
    """Draw the next frame of one dream, as `diffworld play` does once its compiled drawing is ready."""
    draw(trainer, getattr(trainer, "player", trainer.recipe.world), 1)


def shoot(trainer: Trainer, steps: tuple[int, int]) -> None:
    """The same of a world in two stages, which take so many denoising steps."""
    world = getattr(trainer, "player", trainer.recipe.world)
    samplers = tuple(replace(s, denoising_steps=n) for s, n in zip(world.samplers, steps, strict=True))
    draw(trainer, world.with_samplers(samplers), 1)


def draw(trainer: Trainer, world: WorldModel[Any], count: int) -> torch.Tensor:
    """The next frames (count, 3, H, W) after random ones; rewards and ends are not asked for."""
    spec, n, generator = trainer.given.spec, world.context_frames, torch.Generator().manual_seed(0)
    frames = torch.rand(count, n, *spec.frame_shape, generator=generator).to(trainer.device) * 2 - 1
    idle = torch.from_numpy(widen(np.array([[spec.actions.idle] * n] * count))).to(trainer.device)
    world = world.frames_alone(trainer.dtype)
    _, prediction = world.step(world.start(frames.movedim(-1, -3), idle), idle[:, -1], trainer.given.randn)
    return prediction.frames


class PublishedDenoiser(Denoiser):
    """Encodes the context anew at each denoising step, and keeps noisy frames channel-first."""

    compiler: Callable[[Any], Any] = staticmethod(lambda predict: predict)
    """What the prediction of a frame is compiled with."""
    compiled: dict[SamplerConfig, Any]

    def network_output(self, noisy, sigma, context, modulated=None):  # type: ignore[no-untyped-def]
        return super().network_output(noisy.contiguous(), sigma, context)

    def sample(self, frames, actions, config, randn, *, low_res=None):  # type: ignore[no-untyped-def]
        def predict(frames: Tensor, actions: Tensor | None, low_res: Tensor | None, noise: Tensor) -> Tensor:
            b, n, c, h, w = frames.shape
            sigma_context = frames.new_full((b,), config.sigma_context) if config.sigma_context else None

            def denoise(x: Tensor, sigma: float, step: int) -> Tensor:
                nonlocal frames
                if sigma_context is not None:  # noised a little more at each step
                    randn((b, n * c, 1, 1))
                    frames = frames + config.sigma_context * randn((b, n * c, h, w)).unflatten(1, (n, c))
                context = self.encode(frames, actions, low_res=low_res, sigma_context=sigma_context)
                return self.denoise(x, x.new_full((b,), sigma), context)

            return sample(denoise, noise, config, randn)[0]

        if config not in self.compiled:
            self.compiled[config] = self.compiler(predict)
        with torch.no_grad():
            noise = randn((len(frames), *frames.shape[2:]))
            return self.compiled[config](frames, actions, low_res, noise).clone(), []


def compile_predictions(networks: Networks, compiler: Callable[[Any], Any]) -> None:
    """Compile the predictions of a dream's step; what is learnt from stays as it is."""
    for denoiser in (networks.denoiser, networks.upsampler):
        if isinstance(denoiser, PublishedDenoiser):
            denoiser.compiler = compiler  # type: ignore[method-assign]
    if (model := networks.reward_end) is None:
        return
    plain, compiled = model.forward, compiler(model.forward)

    def forward(*inputs: Any) -> Any:
        if torch.is_grad_enabled():
            return plain(*inputs)
        rewards, ends, (h, c) = compiled(*inputs)
        return rewards.clone(), ends.clone(), (h.clone(), c.clone())

    model.forward = forward  # type: ignore[method-assign]


def published_way(config: Config, dataset: Dataset) -> Trainer:
    """A trainer that computes as the published code does."""
    trainer = untrained(replace(config, precision="float32", compile="off"), dataset)
    for denoiser in (trainer.networks.denoiser, trainer.networks.upsampler):
        if denoiser is not None:
            denoiser.__class__, denoiser.compiled = PublishedDenoiser, {}
    if trainer.device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        compile_predictions(trainer.networks, partial(torch.compile, mode="reduce-overhead"))
    for name, module in trainer.networks.items():
        module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        for convolution in (m for m in module.modules() if isinstance(m, torch.nn.Conv2d)):
            convolution.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))
        groups = [
            {"params": g["params"], "weight_decay": g["weight_decay"]}
            for g in trainer.optimisers[name].adamw.param_groups
        ]
        trainer.optimisers[name].adamw = torch.optim.AdamW(groups, lr=1e-4, eps=1e-8)
    return trainer


def our_way(config: Config, dataset: Dataset) -> Trainer:
    """A trainer as `diffworld train` makes it, and the world that `diffworld play` would draw with."""
    trainer = untrained(config, dataset)
    if config.compile != "off" and trainer.recipe.world is not None:
        trainer.player = trainer.recipe.world.with_denoisers(compiled_copy)  # type: ignore[attr-defined]
        if trainer.device.type == "cuda":
            trainer.player.record()  # type: ignore[attr-defined]
    return trainer


def serve(way: Way, configs: tuple[Config, Config], number: int, work: Connection) -> None:
    """The process of one way: does the row as many times as it is sent, counts FLOP at 0, and ends at None.

    Answers with seconds each time, and FLOP.
    """
    if way == "ours":
        keep_memory()
    row = rows(*configs)[number]
    config = row.config
    with tempfile.TemporaryDirectory() as folder, random_data(config, Path(folder)) as dataset:
        trainer = (our_way if way == "ours" else published_way)(config, dataset)
        do = partial(row.work, trainer)
        if way == "ours":
            on_cuda = trainer.device.type == "cuda"
            ran = "TF32, predictions compiled with CUDA graphs" if on_cuda else "float32, not compiled"
            work.send({**machine(config), "published": ran})
        while (times := work.recv()) is not None:
            if times == 0:
                with FlopCounterMode(display=False) as counter:
                    taken = seconds(do, trainer.device)
                work.send((taken, counter.get_total_flops()))
            else:
                work.send((seconds(lambda: [do() for _ in range(times)], trainer.device) / times, 0))


class Workers:
    """Both ways of a row, each in a process of its own, so that no other row's memory is lying about."""

    def __init__(self, configs: tuple[Config, Config], row: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.ends: dict[Way, Any] = {}
        self.processes = []
        for way in get_args(Way):
            self.ends[way], theirs = context.Pipe()
            self.processes.append(context.Process(target=serve, args=(way, configs, row, theirs), daemon=True))
            self.processes[-1].start()
            theirs.close()
        self.machine: dict[str, Any] = self.ends["ours"].recv()

    def time(self, way: Way, times: int) -> tuple[float, int]:
        """Seconds that the row takes one way, a mean over so many; with 0 it is done once and its FLOP counted."""
        self.ends[way].send(times)
        taken: tuple[float, int] = self.ends[way].recv()
        return taken

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for end in self.ends.values():
            end.send(None)
        for process in self.processes:
            process.join()


def measure(configs: tuple[Config, Config], row: int, repetitions: int) -> dict[str, Any]:
    """Both medians of a row, taken in turn, after warm-ups: the first compiles, and memory levels within three."""
    with Workers(configs, row) as workers:
        published_first_s, flops = workers.time("published", 0)
        ours_first_s = workers.time("ours", 1)[0]
        for _ in range(2):
            workers.time("ours", 1)
        times = max(1, round(SHORTEST / workers.time("published", 1)[0]))
        taken: dict[Way, list[float]] = {"published": [], "ours": []}
        for _ in range(repetitions):
            for way in taken:
                taken[way].append(workers.time(way, times)[0])
    published_s, ours_s = statistics.median(taken["published"]), statistics.median(taken["ours"])
    return {
        "name": rows(*configs)[row].name,
        "published_s": published_s,
        "ours_s": ours_s,
        "published_first_s": published_first_s,
        "ours_first_s": ours_first_s,
        "ratio": published_s / ours_s,
        "peak_share": flops / ours_s / (workers.machine["matrix_product_gflops"] * 1e9),
        "machine": workers.machine,
    }


def epoch(config: Config, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The updates of an epoch after the first, added up from the rows of updates; printed, if all three are there."""
    counts = {"denoiser": "denoiser update", "reward_end": "reward/end update", "actor_critic": "actor-critic update"}
    rows = [
        (config.updates(name).steps, result)  # type: ignore[arg-type]
        for name, row in counts.items()
        for result in results
        if result["name"].startswith(row)
    ]
    if len(rows) < len(counts):
        return []
    published, ours = (sum(steps * row[f"{way}_s"] for steps, row in rows) for way in get_args(Way))
    name = f"updates of an epoch, {', '.join(str(steps) for steps, _ in rows)}"
    print(f"{name:46} {published:>8.1f} s {ours:>8.1f} s {published / ours:>6.2f}x")
    return [{"name": name, "published_s": published, "ours_s": ours, "ratio": published / ours, "added_up": True}]


def benchmarked(compile: Any, precision: Any, quick: bool) -> tuple[Config, Config]:
    """The configurations that are timed, of Atari and of the shooter, at paper size unless it is only to be quick."""
    config = replace(preset("atari100k"), compile=compile, precision=precision)
    frames = EnvironmentConfig(height=150, width=280)
    shooter = replace(preset("csgo"), compile=compile, precision=precision, environment=frames)
    if quick:
        small = {f"{name}_updates": replace(config.updates(name), batch_size=4) for name in NETWORKS}
        config = replace(config, horizon=3, **small)  # type: ignore[arg-type]
        narrow: dict[str, Any] = {"cond_channels": 64, "channels": (32, 32, 32, 32)}
        shooter = replace(
            shooter,
            denoiser=replace(shooter.denoiser, **narrow),
            upsampler=replace(shooter.upsampler, **narrow),
        )
    return config, shooter


def main() -> None:
    """Measure every row and print as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--quick", action="store_true", help="batch 4, one repetition")
    parser.add_argument("--compile", choices=("auto", "on", "off"), default="auto")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument(
        "--rows", default="", help="only rows with one of these words in their names, as in: player,reward"
    )
    options = parser.parse_args()
    config, shooter = configs = benchmarked(options.compile, options.precision, options.quick)
    results: list[dict[str, Any]] = []
    for number, row in enumerate(rows(config, shooter)):
        if not any(word in row.name for word in options.rows.split(",")):
            continue
        result = measure(configs, number, 1 if options.quick else options.repetitions)
        if not results:
            print(json.dumps(result["machine"], indent=2))
            print(f"{'work':46} {'published':>10} {'ours':>10} {'ratio':>7} {'of peak':>8} {'first time':>18}")
        results.append(result | {"quick": options.quick})
        print(
            f"{result['name']:46} {result['published_s']:>8.3f} s {result['ours_s']:>8.3f} s"
            f" {result['ratio']:>6.2f}x {result['peak_share']:>7.0%}"
            f" {result['published_first_s']:>8.3f}, {result['ours_first_s']:>6.3f} s",
            flush=True,
        )
    results += epoch(config, results)
    if options.json:
        write_json(options.json, results)


if __name__ == "__main__":
    main()
