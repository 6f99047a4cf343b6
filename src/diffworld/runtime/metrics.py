"""The record of a run: one JSON line per entry, and the same numbers for TensorBoard, wandb or trackio.

`metrics.jsonl` is the record that everything else is drawn from. Each line is a flat object: `epoch`, then
counters whose names say their unit (`env_steps`, `denoiser_gradient_steps`, `wall_seconds`), then values
whose names say their part (`denoiser/loss`). A value that is not finite is written as null.
"""

import importlib
import json
import math
import os
import re
import secrets
import socket
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

from diffworld.runtime.errors import UserError
from diffworld.runtime.files import append, append_line, whole_lines, without_nan, write_atomic

METRICS_FILE = "metrics.jsonl"
PROJECT = "diffworld"

Numbers = Mapping[str, int | float]
Sink = Callable[[int, Numbers], None]
"""Somewhere else that the numbers of an epoch go."""


class MetricsLog(ExitStack):
    """Appends what a run measures to `folder/metrics.jsonl`, and to the other places asked for, until it is closed.

    Args:
        folder: the run's folder, by whose name wandb and trackio show the run.
        last_epoch: the one that a resumed run goes on from: entries after it, and a torn last line, are forgotten.
        tensorboard: whether to write event files to `folder/tensorboard`.
        log_to: wandb, trackio or both; each needs its extra installed.
        config: the run's configuration, as JSON types, for these to show.

    Raises: UserError if wandb or trackio is asked for and not installed, or the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path | str,
        last_epoch: int | None = None,
        *,
        tensorboard: bool = True,
        log_to: Collection[str] = (),
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        folder = Path(folder)
        self.path = folder / METRICS_FILE
        if last_epoch is not None and self.path.exists():
            kept = [entry for entry in read_metrics(self.path) if entry["epoch"] <= last_epoch]
            write_atomic(self.path, "".join(f"{json.dumps(entry, allow_nan=False)}\n" for entry in kept))
        self._sinks = [_SINKS[name](folder, dict(config or {}), self) for name in log_to]
        if tensorboard:
            self._sinks.append(_tensorboard(folder / "tensorboard", last_epoch))

    def write(self, epoch: int, counters: Numbers, values: Numbers) -> None:
        """Add one entry.

        Args:
            epoch: the epoch these numbers belong to.
            counters: how far the run is, named by unit (`env_steps`, `game_frames`, `wall_seconds`).
            values: what was measured (`denoiser/loss`).

        Raises: ValueError if a name is used twice; UserError if the file cannot be written.
        """
        names = ["epoch", *counters, *values]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"metric names used twice: {', '.join(twice)}")
        numbers = {**counters, **{name: float(value) for name, value in values.items()}}
        append_line(self.path, json.dumps({"epoch": epoch, **without_nan(numbers)}, allow_nan=False))
        for sink in self._sinks:
            sink(epoch, {name: value for name, value in numbers.items() if math.isfinite(value)})


def read_metrics(path: Path | str) -> list[dict[str, Any]]:
    """Return the entries of a `metrics.jsonl` in order; a torn last line, left by a kill, is passed over.

    What the version before called test/... is eval/... here.

    Raises: UserError if there is no such file, or a line before the last is not an entry.
    """
    try:
        lines = whole_lines(Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; give the folder of a run that has begun") from error
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if isinstance(entry, dict) and type(entry.get("epoch")) is int and all(map(_is_number, entry.values())):
            entries.append({re.sub("^test/", "eval/", name): value for name, value in entry.items()})
        elif number < len(lines):  # a power cut can tear the last line in ways other than cutting it short
            raise UserError(f"{path}, line {number}, is no metrics entry; remove that line and try again")
    return entries


def _is_number(value: Any) -> bool:
    """Whether it is a number that can be drawn, or null."""
    return value is None or (type(value) in (int, float) and abs(value) <= sys.float_info.max)


def _tensorboard(folder: Path, last_epoch: int | None) -> Sink:
    """An event file with the epoch as its step; counters under `counters/`.

    Files of earlier sittings stay: TensorBoard is told to hide what they have after `last_epoch`. TensorBoard's own
    writer would write in a thread, whose troubles with a full disk reach nobody in time.
    """
    # Imported here, for a program without TensorBoard need not spend the time.
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    path = folder / f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"  # sorted by time

    def add(**fields: Any) -> None:
        record = BytesIO()
        RecordWriter(record).write(Event(wall_time=time.time(), **fields).SerializeToString())
        append(path, record.getvalue())

    def write(epoch: int, numbers: Numbers) -> None:
        named = {name if "/" in name else f"counters/{name}": value for name, value in numbers.items()}
        values = [Summary.Value(tag=name, simple_value=value) for name, value in named.items()]
        add(step=epoch, summary=Summary(value=values))

    add(file_version="brain.Event:2")
    if last_epoch is not None:
        add(step=last_epoch + 1, session_log=SessionLog(status=SessionLog.START))
    return write


def _wandb(folder: Path, config: dict[str, Any], closing: ExitStack) -> Sink:
    """A wandb run that the run's folder remembers, so that resuming goes on with it.

    What was logged after the checkpoint cannot be taken back there; it is overlaid by what is logged anew.
    """
    wandb, run_id, name = _optional("wandb"), _run_id(folder), folder.resolve().name
    run = wandb.init(project=PROJECT, name=name, id=run_id, resume="allow", config=config, dir=str(folder))
    run.define_metric("*", step_metric="epoch")
    closing.callback(run.finish)
    return lambda epoch, numbers: run.log({"epoch": epoch, **numbers})


def _trackio(folder: Path, config: dict[str, Any], closing: ExitStack) -> Sink:
    """A trackio run, found again by its name and the folder's id; as with wandb, nothing is taken back."""
    trackio, unique = _optional("trackio"), f"{folder.resolve().name}-{_run_id(folder)}"
    run = trackio.init(project=PROJECT, name=unique, resume="allow", config=config)
    closing.callback(run.finish)
    return lambda epoch, numbers: run.log(dict(numbers), step=epoch)


_SINKS = {"wandb": _wandb, "trackio": _trackio}


def _run_id(folder: Path) -> str:
    """Return what tells this run from others of its name, drawn once and kept in its folder."""
    path = folder / "run_id"
    if not path.exists():
        write_atomic(path, secrets.token_hex(8))
    return path.read_text(encoding="utf-8").strip()


def _optional(module: str) -> Any:
    """Import a logger that only an extra installs."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f'{module} is not installed; run: pip install "diffworld[{module}]"') from error
