"""An import from the first look to the last row; killed at any moment, the same command goes on with it.

`import.json` in the data set's folder has what was asked for and found, `imported.jsonl` a line for each recording that
is done. The rows of the one that was being written when a kill came are kept, and it goes on after them.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from diffworld.data.dataset import Dataset
from diffworld.data.schema import DESCRIPTION
from diffworld.importing.plan import Rows, plan_rows
from diffworld.importing.recording import BadRecording, Recording
from diffworld.importing.sizes import fitted, padded
from diffworld.importing.survey import Settings, Survey, as_recorded, opened, survey
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import append_line, whole_lines, without_nan, write_json
from diffworld.runtime.frames import Frame
from diffworld.runtime.progress import Display

STATE, DONE, KEYMAP = "import.json", "imported.jsonl", "keymap.json"
FORMAT = 1
_BLOCK, _BLOCKS = 16, 4  # frames that travel together, and how many such blocks wait for the writer


@dataclass
class Summary:
    """What an import came to."""

    steps: int
    episodes: int
    skipped: dict[str, str]
    lost: Counter[str]
    wild: Counter[str]
    damaged: list[str]


def import_data(name: str, recordings: Sequence[Recording], settings: Settings, out: Path, display: Display) -> Summary:
    """Make the data set `out` of the recordings, or go on where an earlier import with the same settings stopped.

    UserError for what cannot be imported, and where `out` holds something else.
    """
    workers = 1 if any(getattr(recording, "alone", False) for recording in recordings) else os.cpu_count() or 1
    found = _resumed(out, recordings, settings)
    if found is None:
        with display.bar("look", "recording", len(recordings)) as advance:
            found = survey(name, recordings, settings, workers, advance)
        names = [recording.name for recording in recordings]
        state = {"format": FORMAT, "settings": _asked(settings), "recordings": names, "survey": found.to_json()}
        write_json(out / STATE, state)
        write_json(out / KEYMAP, found.coder.keymap())
    else:
        display.line(f"going on with the import in {out}")
    for line in found.said:
        display.line(line)
    with ExitStack() as stack:
        if (out / DESCRIPTION).exists():
            dataset = stack.enter_context(Dataset.open(out, writable=True))
        else:
            dataset = stack.enter_context(Dataset.create(out, found.spec, info={"imported": _asked(settings)}))
        done = _done(out)
        if done and done[-1]["rows"] > dataset.num_rows:
            raise UserError(f"{out} has fewer rows than {DONE} says: delete the folder and import again")
        finished = {line["recording"] for line in done}
        left = [each for each in recordings if each.name in found.steps and each.name not in finished]
        total = sum(found.steps.values())
        with display.bar("import", "step", total, min(dataset.num_steps, total)) as advance:
            _write(dataset, left, found, settings, workers, out, done[-1]["rows"] if done else 0, advance)
        return _summary(dataset, found, _done(out))


def _write(
    dataset: Dataset,
    recordings: Sequence[Recording],
    found: Survey,
    settings: Settings,
    workers: int,
    out: Path,
    begun: int,
    advance: Callable[[int], None],
) -> None:
    """All recordings in order, while the next ones are being read; `begun` rows are of those done before."""
    waiting = list(recordings)
    reading: list[_Reader] = []
    try:
        while waiting or reading:
            while waiting and len(reading) < workers:
                skip = dataset.num_rows - begun if len(waiting) == len(recordings) else 0
                reading.append(_Reader(waiting.pop(0), found, settings, skip))
            reader = reading.pop(0)
            line = {"recording": reader.recording.name, **_write_one(dataset, reader, advance)}
            dataset.sync()  # a line must never be on the disk without its rows
            append_line(out / DONE, json.dumps(without_nan({**line, "rows": dataset.num_rows}), ensure_ascii=False))
    finally:
        for reader in reading:
            reader.stop()


def _write_one(dataset: Dataset, reader: _Reader, advance: Callable[[int], None]) -> dict[str, Any]:
    """Write the rows of one recording, after those that are there; what to remember of it.

    A recording that breaks off ends with an open episode.
    """
    count, broken = reader.skip, ""
    held: Frame | None = None
    growing = _open_episode(dataset) if reader.skip else None
    try:
        rows, actions, wild = reader.plan()
    except BadRecording as error:
        return {"skipped": str(error)}
    if count > len(rows):
        raise UserError(f"{dataset.path} has more rows than {DONE} tells of: delete the folder and import again")

    def step(frame: Frame, final: Frame | None) -> None:
        nonlocal growing
        growing = dataset.new_episode() if growing is None else growing
        row, over = count - 1, bool(rows.terminated[count - 1])
        ends = (over, not over) if final is not None else (False, False)
        dataset.append(growing, frame, actions[row], float(rows.rewards[row]), *ends, final)
        advance(1)

    try:
        for frame in reader.frames():
            if held is not None:
                step(held, frame if rows.last[count] else None)
            held = None if rows.last[count] else frame
            growing = None if rows.last[count] else growing
            count += 1
    except BadRecording as error:
        broken = f": {error}"
    if count == len(rows):
        return {"lost": rows.lost, "wild": wild}
    if held is not None:
        step(held, None)
    return {
        "lost": rows.lost,
        "wild": wild,
        "damaged": f"only {count:,} of its {len(rows):,} frames can be read{broken}",
    }


def _open_episode(dataset: Dataset) -> int | None:
    """The episode that the last row belongs to, unless it has ended."""
    episodes = dataset.episodes
    return int(episodes.ids[-1]) if len(episodes) and not episodes.ended[-1] else None


class _Reader:
    """Reads one recording in a thread of its own, never far ahead of the writer."""

    def __init__(self, recording: Recording, found: Survey, settings: Settings, skip: int) -> None:
        self.recording, self.skip = recording, skip
        self._found, self._settings = found, settings
        self._queue: queue.Queue[Any] = queue.Queue(_BLOCKS)
        self._stopped = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def plan(self) -> tuple[Rows, NDArray[Any], dict[str, int]]:
        """Its rows, the action of each, and how many wild values each axis had; BadRecording if it cannot be used."""
        plan: tuple[Rows, NDArray[Any], dict[str, int]] = self._next()
        return plan

    def frames(self) -> Iterator[Frame]:
        """The frames of its rows, without the first `skip`; fewer, or BadRecording, where it is damaged."""
        while (block := self._next()) is not None:
            yield from block

    def stop(self) -> None:
        """Read no more."""
        self._stopped.set()

    def _next(self) -> Any:
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def _put(self, item: Any) -> None:
        while not self._stopped.is_set():
            try:
                return self._queue.put(item, timeout=0.2)
            except queue.Full:
                pass
        raise _Stopped

    def _run(self) -> None:
        try:
            self._read()
        except _Stopped:
            pass
        except BaseException as error:
            with suppress(_Stopped):
                self._put(error)

    def _read(self) -> None:
        found, settings, name = self._found, self._settings, self.recording.name
        footage = opened(self.recording)
        rows = plan_rows(name, footage, found.spec.steps_per_second, settings.shift, settings.cuts)
        steps = settings.keymap.named(rows.steps, name)
        self._put((rows, found.coder.encode(steps), found.coder.wild(steps)))
        size = found.spec.frame_size
        picks, block = rows.picks[self.skip :], list[Frame]()
        frames = footage.read(picks, fitted(footage.size, size)) if len(picks) else iter(())
        try:
            for frame in as_recorded(frames):
                block.append(padded(frame, size))
                if len(block) == _BLOCK:
                    self._put(block)
                    block = []
        finally:
            self._put(block)  # of a recording that is damaged, too
        self._put(None)


class _Stopped(Exception):
    """The writer wants no more."""


def _asked(settings: Settings) -> dict[str, Any]:
    """What was asked for, as JSON types."""
    return {
        "size": list(settings.size) if settings.size else None,
        "fps": settings.fps,
        "shift": settings.shift,
        "cuts": [cut.text for cut in settings.cuts],
        "keymap": json.loads(json.dumps(asdict(settings.keymap))),
    }


def _resumed(out: Path, recordings: Sequence[Recording], settings: Settings) -> Survey | None:
    """What an earlier call with the same command found; None if there was none. UserError if it was another command."""
    path, advice = out / STATE, "choose another --out, or delete the folder"
    if not path.exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"{out} is there, and no import began it: {advice}")
        return None
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        asked, names, begun = state["settings"], state["recordings"], state["survey"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {advice}") from error
    mine = _asked(settings)
    if changed := [name for name in mine if mine[name] != asked.get(name)]:
        raise UserError(f"{out} was begun with another --{changed[0].replace('cuts', 'cut')}: {advice}")
    if sorted(names) != sorted(recording.name for recording in recordings):
        raise UserError(f"{out} was begun with other recordings ({len(names):,}, now {len(recordings):,}): {advice}")
    return Survey.from_json(begun, path)


def _done(out: Path) -> list[dict[str, Any]]:
    """A line for each recording that is done; UserError if one is damaged."""
    path = out / DONE
    try:
        lines = [json.loads(line) for line in whole_lines(path.read_bytes())] if path.exists() else []
        if any(not isinstance(line["rows"], int) or not isinstance(line["recording"], str) for line in lines):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: delete the folder and import again") from error
    return lines


def _summary(dataset: Dataset, found: Survey, done: list[dict[str, Any]]) -> Summary:
    skipped = dict(found.skipped) | {line["recording"]: line["skipped"] for line in done if "skipped" in line}
    lost, wild = Counter[str](), Counter[str]()
    for line in done:
        lost.update(line.get("lost", {}))
        wild.update(line.get("wild", {}))
    damaged = [f"{line['recording']}: {line['damaged']}" for line in done if "damaged" in line]
    return Summary(dataset.num_steps, dataset.num_episodes, skipped, lost, +wild, damaged)
