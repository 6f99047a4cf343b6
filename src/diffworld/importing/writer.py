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
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from diffworld.data import Dataset, Links, Packed
from diffworld.data.schema import DESCRIPTION
from diffworld.importing.controls import Ints
from diffworld.importing.plan import Rows
from diffworld.importing.recording import BadRecording, Recording, damage
from diffworld.importing.sizes import fitted, padded
from diffworld.importing.survey import Settings, Survey, ahead, planned, survey
from diffworld.runtime.checked import read_as
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import append_line, read_json, whole_lines, without_nan, write_json
from diffworld.runtime.frames import Frame
from diffworld.runtime.progress import Display

STATE, DONE, KEYMAP = "import.json", "imported.jsonl", "keymap.json"
_FEW = 16  # frames of each recording that wait for the writer
_AGAIN = "delete the folder and import again"


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

    `name` is the game's; without, what the format calls it, or the folder. UserError for what cannot be imported, and
    where `out` holds something else.
    """
    if settings.outcomes:
        recordings = [each.with_outcomes() for each in recordings]
    game = recordings[0].game
    name = name or (game.name if game else out.resolve().name)
    workers = 1 if any(recording.alone for recording in recordings) else os.cpu_count() or 1
    asked = {"settings": _as_json(settings), "recordings": [recording.name for recording in recordings]}
    found = resumed = _resumed(out, asked)
    if found is None:
        with display.bar("look", "recording", len(recordings)) as advance:
            found = survey(name, recordings, settings, workers, advance)
        write_json(out / STATE, {**asked, "survey": _as_json(found)})
        write_json(out / KEYMAP, found.actions.keymap())
    for line in found.said:
        display.line(line)
    with ExitStack() as stack:
        dataset = stack.enter_context(_dataset(out, recordings, found, settings))
        done = _done(out)
        finished = {line["recording"] for line in done}
        left = [each for each in recordings if each.name in found.steps and each.name not in finished]
        if resumed:
            display.line(f"going on with the import in {out}" if left else f"{out} has all of this already")
        written = dataset.num_rows - (done[-1]["rows"] if done else 0)
        if written < 0:
            raise UserError(f"{out} has fewer rows than {DONE} says: {_AGAIN}")
        stopped = threading.Event()
        stack.callback(stopped.set)
        total = sum(found.steps.values())
        advance = stack.enter_context(display.bar("import", "step", total, min(dataset.num_steps, total)))
        skips = [written, *(0 for _ in left[1:])]
        pack = _Packing(dataset, stack.enter_context(ThreadPoolExecutor(workers)))
        read = (
            (each, skip, _made(each, skip, found, settings, stopped, pack))
            for each, skip in zip(left, skips, strict=False)
        )
        for recording, skip, items in ahead(read, workers):
            aside = recording.name in settings.split
            done_line = {"recording": recording.name, **_write(dataset, items, skip, aside, advance)}
            dataset.sync()  # a line must never be on the disk without its rows
            append_line(
                out / DONE, json.dumps(without_nan({**done_line, "rows": dataset.num_rows}), ensure_ascii=False)
            )
        return _summary(dataset, found, _done(out))


def _dataset(out: Path, recordings: Sequence[Recording], found: Survey, settings: Settings) -> Dataset:
    """The data set of an import, begun or gone on with."""
    if (out / DESCRIPTION).exists():
        return Dataset.open(out, writable=True)
    links = None
    if settings.link:
        files = dict.fromkeys(each.file for each in recordings if each.name in found.steps and each.file)
        links = Links.of(files, recordings[0].channels)
    return Dataset.create(out, found.game, {"imported": _as_json(settings)}, settings.compress, links)


class _Packing:
    """Makes of frames what a data set stores: by several threads where they are compressed, in the same order."""

    def __init__(self, dataset: Dataset, pool: ThreadPoolExecutor) -> None:
        self._pack, self._pool = dataset.pack, pool
        self._pays = dataset.schema.frames == "webp"
        linked = Links.read(dataset.path).files if dataset.schema.frames == "linked" else ()
        self._files = {file.path: number for number, file in enumerate(linked)}

    def frames(self, frames: Iterable[Frame]) -> Iterator[Packed]:
        """Each frame, packed."""
        if not self._pays:
            yield from map(self._pack, frames)
            return
        for packed in ahead((self._pool.submit(self._pack, frame) for frame in frames), _FEW):
            yield packed.result()

    def links(self, recording: Recording, places: Ints) -> Iterator[Packed]:
        """Each place in a recording's file."""
        path = os.path.abspath(recording.file or "")
        if (file := self._files.get(path)) is None:
            raise UserError(f"{path} is not among the files that the import began with: give the same paths as then")
        return (Packed(b"", file, place) for place in places.tolist())


def _made(
    recording: Recording,
    skip: int,
    found: Survey,
    settings: Settings,
    stopped: threading.Event,
    pack: _Packing,
) -> Iterator[Any]:
    """What a recording has: its rows, the action of each, how many values of each axis were wild; then the frames of
    its rows, packed, without the first `skip`, fewer where it is damaged. Read in a thread that is never far ahead."""

    def read() -> Iterator[Any]:
        footage, rows = planned(recording, found.game.steps_per_second, settings)
        steps = settings.keymap.named(rows.steps, recording.name)
        yield rows, found.actions.encode(steps), found.actions.wild(steps)
        size, picks = found.game.frame_size, rows.picks[skip:]
        if settings.link and footage.places is not None:
            yield from pack.links(recording, footage.places[picks])
            return
        with damage():
            frames = footage.read(picks, fitted(footage.size, size)) if len(picks) else ()
            yield from pack.frames(padded(frame, size) for frame in frames)

    return _in_a_thread(read(), stopped)


def _in_a_thread(items: Iterable[Any], stopped: threading.Event) -> Iterator[Any]:
    """The same items, made in a thread of their own until somebody says to stop; what it raises is raised here."""
    made: queue.Queue[tuple[str, Any]] = queue.Queue(_FEW)

    def put(kind: str, item: Any = None) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                made.put((kind, item), timeout=0.2)
                break

    def make() -> None:
        try:
            for item in items:
                put("item", item)
                if stopped.is_set():
                    return
            put("end")
        except BaseException as error:
            put("error", error)

    def take() -> Iterator[Any]:
        while (got := made.get())[0] == "item":
            yield got[1]
        if got[0] == "error":
            raise got[1]

    threading.Thread(target=make, daemon=True).start()
    return take()


def _write(
    dataset: Dataset, items: Iterator[Any], skip: int, aside: bool, advance: Callable[[int], None]
) -> dict[str, Any]:
    """Write the rows of one recording, after the `skip` that are there; what to remember of it.

    `aside`: its episodes are set aside to measure on. A recording that breaks off ends with an open episode.
    """
    try:
        plan: tuple[Rows, NDArray[Any], dict[str, int]] = next(items)
    except BadRecording as error:
        return {"skipped": str(error)}
    rows, actions, wild = plan
    if skip > len(rows):
        raise UserError(f"{dataset.path} has more rows than {DONE} tells of: {_AGAIN}")
    growing = _open_episode(dataset) if skip else None
    count, broken, held = skip, "", list[Packed]()

    def step(row: int, final: Packed | None) -> None:
        nonlocal growing
        growing = dataset.new_episode(aside) if growing is None else growing
        over = bool(rows.terminated[row])
        ends = (over, not over) if final is not None else (False, False)
        dataset.append(growing, held.pop(), actions[row], float(rows.rewards[row]), *ends, final)
        growing = growing if final is None else None
        advance(1)

    try:
        for count, frame in enumerate(items, skip + 1):
            last = rows.last[count - 1]
            if held:
                step(count - 2, frame if last else None)
            if not last:
                held.append(frame)
    except BadRecording as error:
        broken = f": {error}"
    line: dict[str, Any] = {"lost": rows.lost, "wild": wild}
    if count < len(rows):
        if held:
            step(count - 1, None)
        line["damaged"] = f"only {count:,} of its {len(rows):,} frames can be read{broken}"
    return line


def _open_episode(dataset: Dataset) -> int | None:
    """The episode that the last row belongs to, unless it has ended."""
    episodes = dataset.episodes
    return int(episodes.ids[-1]) if len(episodes) and not episodes.ended[-1] else None


def _as_json(value: Any) -> Any:
    """A dataclass as JSON has it."""
    return json.loads(json.dumps(asdict(value)))


def _resumed(out: Path, asked: dict[str, Any]) -> Survey | None:
    """What an earlier call with the same command found; None if there was none. UserError if it was another command."""
    path, advice = out / STATE, "choose another --out, or delete the folder"
    if not path.exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"{out} is there, and no import began it: {advice}")
        return None
    state = read_json(path, advice)
    try:
        settings, names = dict(state["settings"]), sorted(state["recordings"])
        found = read_as(Survey, state["survey"], "its survey")
    except (KeyError, TypeError, ValueError, UserError) as error:
        raise UserError(f"{path} is damaged ({error}): {advice}") from error
    settings = _as_json(Settings()) | settings  # another version may have asked for less
    if changed := [name for name, value in asked["settings"].items() if value != settings[name]]:
        raise UserError(f"{out} was begun with another --{changed[0]}: {advice}")
    if names != sorted(asked["recordings"]):
        raise UserError(
            f"{out} was begun with other recordings ({len(names):,}, now {len(asked['recordings']):,}): {advice}"
        )
    return found


def _done(out: Path) -> list[dict[str, Any]]:
    """A line for each recording that is done; UserError if one is damaged."""
    path = out / DONE
    try:
        lines = [json.loads(line) for line in whole_lines(path.read_bytes())] if path.exists() else []
        if any(not isinstance(line["rows"], int) or not isinstance(line["recording"], str) for line in lines):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {_AGAIN}") from error
    return lines


def _summary(dataset: Dataset, found: Survey, done: list[dict[str, Any]]) -> Summary:
    skipped = found.skipped | {line["recording"]: line["skipped"] for line in done if "skipped" in line}
    lost, wild = Counter[str](), Counter[str]()
    for line in done:
        lost.update(line.get("lost", {}))
        wild.update(line.get("wild", {}))
    damaged = [f"{line['recording']}: {line['damaged']}" for line in done if "damaged" in line]
    return Summary(dataset.num_steps, dataset.num_episodes, skipped, lost, +wild, damaged)
