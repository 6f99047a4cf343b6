"""The record of a run: one JSON line per entry, and the same numbers for TensorBoard, wandb or trackio.

`metrics.jsonl` is the record that everything else is drawn from. Each line is a flat object: `epoch`, then
counters whose names say their unit (`env_steps`, `denoiser_gradient_steps`, `wall_seconds`), then values
whose names say their part (`denoiser/loss`). A value that is not finite is written as null.
"""

import importlib
import json
import math
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from diffworld.runtime.errors import UserError
from diffworld.runtime.files import append_line, whole_lines, without_nan, write_atomic, write_error

METRICS_FILE = "metrics.jsonl"
PROJECT = "diffworld"

Numbers = Mapping[str, int | float]


class _Sink(Protocol):
    """Somewhere else that the same numbers go."""

    def write(self, epoch: int, numbers: Numbers) -> None: ...
    def cut(self, epoch: int) -> None: ...
    def close(self) -> None: ...


class MetricsLog:
    """Appends what a run measures to `folder/metrics.jsonl`, and to the other places asked for.

    Args:
        folder: the run's folder; TensorBoard's event files go to `folder/tensorboard`.
        tensorboard, wandb, trackio: where else to write. The latter two need their extra installed.
        run_name: the name shown there; the folder's name if empty.
        config: the run's configuration, as JSON types, for wandb and trackio to show.

    Raises: UserError if wandb or trackio is asked for and not installed, or the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path | str,
        tensorboard: bool = True,
        wandb: bool = False,
        trackio: bool = False,
        run_name: str = "",
        config: Mapping[str, Any] | None = None,
    ) -> None:
        folder = Path(folder)
        name, settings = run_name or folder.resolve().name, dict(config or {})
        self.path = folder / METRICS_FILE
        self._sinks: list[_Sink] = []
        if wandb:
            self._sinks.append(_Wandb(folder, name, settings))
        if trackio:
            self._sinks.append(_Trackio(folder, name, settings))
        if tensorboard:
            self._sinks.append(_TensorBoard(folder / "tensorboard"))

    def write(self, epoch: int, counters: Numbers, values: Numbers) -> None:
        """Add one entry.

        Args:
            epoch: the epoch these numbers belong to; `cut` goes by it.
            counters: how far the run is, named by unit (`env_steps`, `game_frames`, `wall_seconds`).
            values: what was measured (`denoiser/loss`).

        Raises: ValueError if a name is used twice; UserError if the file cannot be written.
        """
        if twice := [name for name in values if name in counters] + [
            name for name in (*counters, *values) if name == "epoch"
        ]:
            raise ValueError(f"metric names used twice: {', '.join(twice)}")
        numbers = {**counters, **{name: float(value) for name, value in values.items()}}
        append_line(self.path, json.dumps({"epoch": epoch, **without_nan(numbers)}, allow_nan=False))
        for sink in self._sinks:
            sink.write(epoch, {name: value for name, value in numbers.items() if math.isfinite(value)})

    def cut(self, epoch: int) -> None:
        """Forget every entry after `epoch`, the one that a resumed run goes on from, and a torn last line."""
        if self.path.exists():
            kept = [entry for entry in read_metrics(self.path) if entry["epoch"] <= epoch]
            write_atomic(self.path, "".join(f"{json.dumps(entry, allow_nan=False)}\n" for entry in kept))
        for sink in self._sinks:
            sink.cut(epoch)

    def close(self) -> None:
        """Flush and close; nothing may be written after."""
        for sink in self._sinks:
            sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
        except ValueError:
            entry = None
        if isinstance(entry, dict) and isinstance(entry.get("epoch"), int):
            entries.append({re.sub("^test/", "eval/", name): value for name, value in entry.items()})
        elif number < len(lines):  # a power cut can tear the last line in ways other than cutting it short
            raise UserError(f"{path}, line {number}, is no metrics entry; remove that line and try again")
    return entries


class _TensorBoard:
    """Event files with the epoch as their step; counters under `counters/`."""

    def __init__(self, folder: Path) -> None:
        # Imported here, for it takes seconds that a run without TensorBoard need not spend.
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        self._make = SummaryWriter
        self._writer = self._open(None)

    def _open(self, purge_step: int | None) -> Any:
        try:
            return self._make(log_dir=str(self._folder), purge_step=purge_step)
        except OSError as error:
            raise write_error(self._folder, error) from error

    def write(self, epoch: int, numbers: Numbers) -> None:
        try:
            for name, value in numbers.items():
                self._writer.add_scalar(name if "/" in name else f"counters/{name}", value, epoch)
            self._writer.flush()
        except OSError as error:
            raise write_error(self._folder, error) from error

    def cut(self, epoch: int) -> None:
        """Have TensorBoard hide what was written after `epoch`; event files are only ever appended to."""
        self._writer.close()
        self._writer = self._open(epoch + 1)

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    """A wandb run that the run's folder remembers, so that resuming goes on with it.

    What was logged after the checkpoint cannot be taken back there; it is overlaid by what is logged anew.
    """

    def __init__(self, folder: Path, name: str, config: dict[str, Any]) -> None:
        wandb = _optional("wandb")
        self._run = wandb.init(
            project=PROJECT, name=name, id=_run_id(folder), resume="allow", config=config, dir=str(folder)
        )
        self._run.define_metric("*", step_metric="epoch")

    def write(self, epoch: int, numbers: Numbers) -> None:
        self._run.log({"epoch": epoch, **numbers})

    def cut(self, epoch: int) -> None:
        pass

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    """A trackio run, found again by its name and the folder's id; as with wandb, nothing is taken back."""

    def __init__(self, folder: Path, name: str, config: dict[str, Any]) -> None:
        trackio = _optional("trackio")
        unique = f"{name}-{_run_id(folder)}"
        self._run = trackio.init(project=PROJECT, name=unique, resume="allow", config=config)

    def write(self, epoch: int, numbers: Numbers) -> None:
        self._run.log(dict(numbers), step=epoch)

    def cut(self, epoch: int) -> None:
        pass

    def close(self) -> None:
        self._run.finish()


def _run_id(folder: Path) -> str:
    """Return what tells this run from others of its name, drawn once and kept in its folder."""
    path = folder / "run_id"
    if not path.exists():
        write_atomic(path, secrets.token_hex(8))
    return path.read_text().strip()


def _optional(module: str) -> Any:
    """Import a logger that only an extra installs."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f'{module} is not installed; run: pip install "diffworld[{module}]"') from error
