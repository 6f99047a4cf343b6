"""Frames a second that the Gymnasium environment dreams, by the number of rows.

    python -m benchmarks.dream_env                       # the package's model, 1, 8 and 64 rows
    python -m benchmarks.dream_env --model RUN --rows 1,32 --device cuda --out FILE.json

Rows are reset in the same step as they end, actions are random, and everything between two frames counts, the frames'
way to numpy too. After a warm-up, steps are timed in blocks; reported is the median block.
"""

import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import torch

import diffworld
from benchmarks.measuring import command
from diffworld.runs import Model
from diffworld.runtime.checked import Count, Positive
from diffworld.runtime.files import write_json

BLOCKS = 9
WARM_UP_STEPS = 5


@dataclass(frozen=True)
class Options:
    """What to measure."""

    model: str = "demo"
    """A run folder, or demo."""
    rows: tuple[Count, ...] = (1, 8, 64)
    """Numbers of dreams in a batch."""
    seconds: Positive = 10.0
    """How long each number of rows is timed, about."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    out: Path | None = None
    """JSON file to write."""


def measure(model: Model, rows: int, seconds: float) -> dict[str, float]:
    """Frames a second of so many rows."""
    envs = gymnasium.make_vec("diffworld/Dream-v0", rows, model=model, autoreset_mode="SameStep")
    envs.reset(seed=0)
    envs.action_space.seed(0)
    for _ in range(WARM_UP_STEPS):
        envs.step(envs.action_space.sample())
    step = _block(envs, WARM_UP_STEPS)
    steps = max(1, round(seconds / BLOCKS / step))
    times = [_block(envs, steps) for _ in range(BLOCKS)]
    middle = statistics.median(times)
    envs.close()
    return {"rows": rows, "frames_per_second": rows / middle, "step_ms": middle * 1000, "slowest_ms": max(times) * 1000}


def _block(envs: Any, steps: int) -> float:
    """Seconds a step; frames are on the CPU when a step returns."""
    began = time.perf_counter()
    for _ in range(steps):
        envs.step(envs.action_space.sample())
    return (time.perf_counter() - began) / steps


def run(options: Options) -> None:
    """Measure, print a line for each number of rows, and write the JSON where one is asked for."""
    model = diffworld.load(options.model, options.device)
    on = torch.cuda.get_device_name() if model.device.type == "cuda" else f"threads: {model.threads}"
    print(f"{model.title} ({model.spec.name}) on {model.device.type}, {on}", flush=True)
    measured = []
    for rows in options.rows:
        measured.append(measure(model, rows, options.seconds))
        print("{rows:5} rows {frames_per_second:9.1f} frames/s {step_ms:9.2f} ms a step".format(**measured[-1]))
        sys.stdout.flush()
    if options.out is not None:
        versions = {"torch": torch.__version__, "gymnasium": gymnasium.__version__}
        about = {"model": model.title, "game": model.spec.name, "device": model.device.type, "on": on, **versions}
        write_json(options.out, {**about, "rows": measured})


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit code."""
    return command(Options, "python -m benchmarks.dream_env", run, arguments)


if __name__ == "__main__":
    sys.exit(main())
