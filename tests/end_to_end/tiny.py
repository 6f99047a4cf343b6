"""A run small enough for a test, on a real game, given as the user would: as options of `diffworld train`."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import safetensors.numpy
import torch

from diffworld.cli import main

OPTIONS = """
--preset demo --env minatar/breakout --environment.height 20 --environment.width 16
--denoiser.channels 8 8 --denoiser.depths 1 1 --denoiser.attention False False --denoiser.cond-channels 16
--reward-end.channels 8 8 --reward-end.depths 1 1 --reward-end.attention False False
--reward-end.lstm-channels 16 --reward-end.cond-channels 8
--actor-critic.channels 8 8 --actor-critic.pool True True --actor-critic.lstm-channels 16
--denoiser-updates.first-steps 6 --denoiser-updates.steps 4 --denoiser-updates.batch-size 4
--reward-end-updates.first-steps 6 --reward-end-updates.steps 4 --reward-end-updates.batch-size 4
--actor-critic-updates.first-steps 4 --actor-critic-updates.steps 3 --actor-critic-updates.batch-size 4
--collection.total-steps 240 --collection.first-steps 60
--collection.steps-per-epoch 60 --epochs 1 --horizon 4 --reward-end.window 4
--evaluation.every-epochs 2 --evaluation.episodes 2 --evaluation.final-episodes 2
--evaluation.num-envs 2 --environment.max-steps 60 --checkpoint-seconds 0.05
"""
TINY = OPTIONS.split()
LIMIT = 3600
"""Seconds; only to end what hangs, however busy the machine is."""


def command(out: Path, *options: str) -> list[str]:
    """The command line of a tiny run; later options win."""
    return [sys.executable, "-m", "diffworld.cli", "train", *TINY, "--out", str(out), *options]


def environment() -> dict[str, str]:
    """As installed, or from the source tree; one thread, for other tests run beside."""
    source = str(Path(__file__).parents[2] / "src")
    return {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}


class Done(NamedTuple):
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def run_command(*arguments: str) -> Done:
    """Run a command to its end in this process: that spares the seconds of the imports."""
    out, err = io.StringIO(), io.StringIO()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in `environment`: with other numbers sums come out otherwise
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = main(list(arguments))
    finally:
        torch.set_num_threads(threads)
    return Done(code, out.getvalue(), err.getvalue())


def train(out: Path, *options: str) -> Done:
    """Train a tiny run to its end."""
    seldom = ("--checkpoint-seconds", "0.5")  # when a run is saved changes nothing, and takes its time
    return run_command(*command(out, *options, *seldom)[3:])


def final_weights(run: Path) -> dict[str, bytes]:
    """Every weight of the last checkpoint, as bytes."""
    last = sorted((run / "checkpoints").glob("[0-9]*"))[-1]
    return {k: v.tobytes() for k, v in safetensors.numpy.load_file(last / "weights.safetensors").items()}


def saves(run: Path) -> int:
    """Number of the last checkpoint."""
    return max((int(p.name) for p in (run / "checkpoints").glob("[0-9]*")), default=0)


def results(run: Path) -> dict[str, object]:
    """All that a run measured, but for what depends on the clock."""
    summary = json.loads((run / "summary.json").read_text())
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timeless = [{k: v for k, v in line.items() if "seconds" not in k} for line in metrics]
    return {"agent": summary.get("agent"), "held_out": summary["held_out"], "metrics": timeless}


def kill_after(process: subprocess.Popen[bytes], out: Path, wanted: int, delay: float = 0.0) -> bool:
    """Kill a training once it has saved so often; whether it was still alive."""
    while process.poll() is None and saves(out) < wanted:
        time.sleep(0.01)
    time.sleep(delay)
    process.kill()
    _, errors = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), errors.decode()
    return process.returncode != 0
