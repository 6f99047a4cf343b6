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

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measuring import machine, random_data, seconds, untrained
from diffworld.config import NETWORKS, Config, preset
from diffworld.data import Dataset
from diffworld.models.denoiser import Denoiser
from diffworld.models.reward_end import RewardEndModel
from diffworld.models.sampler import SamplerConfig, sample
from diffworld.play.compiling import compiled_copy
from diffworld.runtime.files import write_json
from diffworld.runtime.malloc import keep_memory
from diffworld.training.trainer import Trainer
from diffworld.world import FrameStack

Way = Literal["published", "ours"]
SHORTEST = 0.5
"""Seconds that a measurement should last; what is shorter is repeated."""


@dataclass(frozen=True)
class Row:
    """One kind of work, and how to do it with a trainer."""

    name: str
    work: Callable[[Trainer], object]


def rows(config: Config) -> list[Row]:
    """What the time of a run goes into."""
    steps = config.sampler.denoising_steps
    return [
        Row("denoiser update", lambda t: t.update("denoiser")),
        Row(f"imagined frame, {config.actor_critic_updates.batch_size} rows, {steps} denoising steps", imagine),
        Row(f"player's frame, {steps} denoising steps", play),
        Row("reward/end update", lambda t: t.update("reward_end")),
        Row(f"actor-critic update, {config.horizon} imagined steps", lambda t: t.update("actor_critic")),
    ]


def imagine(trainer: Trainer) -> None:
    """Draw the next frame of a batch of dreams."""
    draw(trainer, trainer.networks.denoiser, trainer.recipe.parts["actor_critic"].updates.batch_size)


def play(trainer: Trainer) -> None:
    """Draw the next frame of one dream, as `diffworld play` does once its compiled drawing is ready."""
    draw(trainer, getattr(trainer, "player", trainer.networks.denoiser), 1)


def draw(trainer: Trainer, denoiser: Denoiser, count: int) -> torch.Tensor:
    """The next frames (count, 3, H, W) after random ones."""
    world = FrameStack(denoiser, None, trainer.recipe.world.sampler, trainer.dtype)
    n, generator = world.context_frames, torch.Generator().manual_seed(0)
    frames = torch.rand(count, n, *trainer.given.spec.frame_shape, generator=generator).to(trainer.device) * 2 - 1
    actions = torch.zeros(count, n, dtype=torch.int64, device=trainer.device)
    _, prediction = world.step(world.start(frames.movedim(-1, -3), actions), actions[:, -1], trainer.given.randn)
    return prediction.frames


class PublishedDenoiser(Denoiser):
    """Encodes the context anew at each denoising step, and keeps noisy frames channel-first."""

    compiler: Callable[[Any], Any] = staticmethod(lambda predict: predict)
    """What the prediction of a frame is compiled with."""
    compiled: dict[SamplerConfig, Any]

    def network_output(self, noisy, sigma, context, modulated=None):  # type: ignore[no-untyped-def]
        return super().network_output(noisy.contiguous(), sigma, context)

    def sample(self, frames, actions, config, randn, *, low_res=None):  # type: ignore[no-untyped-def]
        def predict(frames: torch.Tensor, actions: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
            def denoise(x: torch.Tensor, sigma: float, step: int) -> torch.Tensor:
                return self.denoise(x, x.new_full((len(x),), sigma), self.encode(frames, actions))

            return sample(denoise, noise, config, randn)[0]

        if config not in self.compiled:
            self.compiled[config] = self.compiler(predict)
        with torch.no_grad():
            return self.compiled[config](frames, actions, randn((len(frames), *frames.shape[2:]))).clone(), []


def compile_predictions(denoiser: PublishedDenoiser, model: RewardEndModel, compiler: Callable[[Any], Any]) -> None:
    """Compile both predictions of a dream's step; what is learnt from stays as it is."""
    denoiser.compiler = compiler  # type: ignore[method-assign]
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
    denoiser = trainer.networks.denoiser
    denoiser.__class__, denoiser.compiled = PublishedDenoiser, {}
    if trainer.device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        compile_predictions(denoiser, trainer.networks.reward_end, partial(torch.compile, mode="reduce-overhead"))
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
    """A trainer as `diffworld train` makes it, and the copy of its denoiser that `diffworld play` would draw with."""
    trainer = untrained(config, dataset)
    if config.compile != "off":
        trainer.player = compiled_copy(trainer.networks.denoiser)  # type: ignore[attr-defined]
    return trainer


def serve(way: Way, config: Config, row: int, work: Connection) -> None:
    """The process of one way: does the row as many times as it is sent, counts FLOP at 0, and ends at None.

    Answers with seconds each time, and FLOP.
    """
    if way == "ours":
        keep_memory()
    with tempfile.TemporaryDirectory() as folder, random_data(config, Path(folder)) as dataset:
        trainer = (our_way if way == "ours" else published_way)(config, dataset)
        do = partial(rows(config)[row].work, trainer)
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

    def __init__(self, config: Config, row: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.ends: dict[Way, Any] = {}
        self.processes = []
        for way in get_args(Way):
            self.ends[way], theirs = context.Pipe()
            self.processes.append(context.Process(target=serve, args=(way, config, row, theirs), daemon=True))
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


def measure(config: Config, row: int, repetitions: int) -> dict[str, Any]:
    """Both medians of a row, taken in turn, after warm-ups: the first compiles, and memory levels within three."""
    with Workers(config, row) as workers:
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
        "name": rows(config)[row].name,
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
    config = replace(preset("atari100k"), compile=options.compile, precision=options.precision)
    if options.quick:
        small = {f"{name}_updates": replace(config.updates(name), batch_size=4) for name in NETWORKS}
        config = replace(config, horizon=3, **small)  # type: ignore[arg-type]
    results: list[dict[str, Any]] = []
    for number, row in enumerate(rows(config)):
        if not any(word in row.name for word in options.rows.split(",")):
            continue
        result = measure(config, number, 1 if options.quick else options.repetitions)
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
