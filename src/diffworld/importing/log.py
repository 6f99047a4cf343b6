"""A log beside a video, JSON lines or CSV: a line a frame, a line a tick with its time, or events with their times.

A column is known by its name (the tables below; docs/your-own-game.md has them in words) and by what stands in it.
"""

from __future__ import annotations

import csv
import json
import math
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffworld.importing.controls import Bools, Changes, Floats, Ints, Outcomes, Ticks, filled
from diffworld.importing.keys import plain
from diffworld.importing.recording import BadRecording

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv")
LONGEST_LINE, MOST_COLUMNS, DEEPEST = 2**20, 512, 4

# How a column is called -> seconds of its unit; None: told by its size.
_CLOCKS: dict[str, float | None] = {
    **dict.fromkeys("t time timestamp ts".split()),
    **dict.fromkeys("seconds sec time_s timestamp_s".split(), 1.0),
    **dict.fromkeys("ms milli millis time_ms timestamp_ms".split(), 1e-3),
    **dict.fromkeys("us time_us timestamp_us".split(), 1e-6),
    **dict.fromkeys("ns time_ns timestamp_ns".split(), 1e-9),
}
_UNITS = {1.0: "seconds", 1e-3: "milliseconds", 1e-6: "microseconds", 1e-9: "nanoseconds"}
_DATES = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3), (1e9, 1.0))  # numbers so large are dates, in that unit
_FRAMES = ("frame", "frame_index", "frame_id", "frame_number")
_COUNTERS = ("tick", "step", "index", "line", "server_tick", "servertick", "id", "i", "episode")
_EVENTS = ("event", "event_type", "type", "kind")
_KINDS = {
    **dict.fromkeys("keydown down press pressed keypress keypressed".split(), "down"),
    **dict.fromkeys("keyup up release released keyrelease keyreleased".split(), "up"),
    **dict.fromkeys("mousedown buttondown mousebuttondown mousepress".split(), "button down"),
    **dict.fromkeys("mouseup buttonup mousebuttonup mouserelease".split(), "button up"),
    **dict.fromkeys("click mouseclick".split(), "click"),
    **dict.fromkeys("mousemove move mouse motion mousemotion".split(), "move"),
    **dict.fromkeys("scroll wheel mousewheel mousescroll".split(), "wheel"),
    **dict.fromkeys("start recordstart recordingstart videostart begin".split(), "start"),
}
_HELD = ("keys", "pressed", "held", "keyboard", "buttons", "keys_pressed")
_MOVEMENTS = {
    **dict.fromkeys("dx mouse_dx mouse.dx mouse_delta_x delta_x movementx".split(), "mouse x"),
    **dict.fromkeys("dy mouse_dy mouse.dy mouse_delta_y delta_y movementy".split(), "mouse y"),
    **dict.fromkeys("wheel dwheel mouse.dwheel mouse.wheel scroll".split(), "wheel"),
}
_OUTCOMES = {
    **dict.fromkeys("reward rewards".split(), "reward"),
    **dict.fromkeys("terminated done terminal".split(), "terminated"),
    **dict.fromkeys("truncated timeout".split(), "truncated"),
}
_IGNORED = ("mouse.newbuttons", "keyboard.newkeys", "keyboard.chars")


def records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, fields) of each line; a last line that a kill tore is left out. BadRecording for what is no log."""
    try:
        with path.open(encoding="utf-8-sig", errors="strict", newline="") as file:
            yield from _json_lines(file) if path.suffix in (".jsonl", ".ndjson") else _csv_lines(file, path.suffix)
    except UnicodeDecodeError as error:
        raise BadRecording(f"its log {path.name} is no text") from error
    except OSError as error:
        raise BadRecording(f"its log {path.name} cannot be read ({error.strerror})") from error


def _json_lines(file: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise BadRecording(f"line {number} of its log is longer than a megabyte")
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            if not line.endswith("\n"):
                return
            raise BadRecording(f"line {number} of its log is no JSON") from None
        if not isinstance(fields, dict):
            raise BadRecording(f"line {number} of its log is no JSON object with names")
        yield number, fields


def _csv_lines(file: Any, suffix: str) -> Iterator[tuple[int, dict[str, Any]]]:
    head = file.readline(LONGEST_LINE)
    delimiter = "\t" if suffix == ".tsv" else max(",;\t", key=head.count)
    names = [name.strip() for name in next(csv.reader([head], delimiter=delimiter), [])]
    if all(not isinstance(_parsed(name), str) for name in names):
        raise BadRecording("the first line of its log has no names of columns")
    if len(names) > MOST_COLUMNS:
        raise BadRecording(f"its log has more than {MOST_COLUMNS} columns")
    try:
        for number, values in enumerate(csv.reader(file, delimiter=delimiter), 2):
            if len(values) > len(names):
                raise BadRecording(f"line {number} of its log has {len(values)} columns, not {len(names)}")
            if values or len(names) == 1:
                yield number, {name: _parsed(value) for name, value in zip(names, values, strict=False)}
    except csv.Error as error:
        raise BadRecording(f"its log is no CSV: {error}") from error


def _parsed(text: str) -> Any:
    """What stands in a field of a CSV file."""
    text = text.strip()
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return int(text) if re.fullmatch(r"[+-]?\d{1,18}", text) else float(text)
    except ValueError:
        return text or None


class Columns:
    """Lines of states, gathered column by column; of each column only the lines that have something in it.

    held: the lines in which a key is down. numbers, words: the lines of a column, and what stands there, words by their
    number in `known`.
    """

    def __init__(self) -> None:
        self.lines = 0
        self.held: dict[str, array[int]] = {}
        self.numbers: dict[str, tuple[array[int], array[float]]] = {}
        self.words: dict[str, tuple[array[int], array[float]]] = {}
        self.known: dict[str, dict[str, int]] = {}

    def hold(self, name: str) -> None:
        """The key is down in this line."""
        self.held.setdefault(name, array("q")).append(self.lines)

    def number(self, name: str, value: float) -> None:
        """A column's number in this line."""
        lines, values = self.numbers.setdefault(name, (array("q"), array("d")))
        lines.append(self.lines)
        values.append(value)

    def word(self, name: str, word: str) -> None:
        """A column's word in this line."""
        known = self.known.setdefault(name, {})
        lines, values = self.words.setdefault(name, (array("q"), array("d")))
        lines.append(self.lines)
        values.append(known.setdefault(word[:100], len(known)))

    def end_line(self) -> None:
        """Begin the next line; BadRecording if there are more columns than any log has."""
        self.lines += 1
        if len(self.held) + len(self.numbers) + len(self.words) > MOST_COLUMNS:
            raise BadRecording(f"its log has more than {MOST_COLUMNS} columns")

    def down(self, name: str) -> Bools:
        """(lines,) whether the key is down."""
        return np.isin(np.arange(self.lines), np.asarray(self.held[name]))

    def column(self, name: str) -> Floats:
        """(lines,) numbers, nan where there is none."""
        return self._dense(*self.numbers[name])

    def choice(self, name: str) -> tuple[Ints, tuple[str, ...]]:
        """(lines,) words by number, where there is none the one before; and all words."""
        return filled(self._dense(*self.words[name])).astype(np.int64), tuple(self.known[name])

    def _dense(self, lines: array[int], values: array[float]) -> Floats:
        found = np.full(self.lines, np.nan)
        found[np.asarray(lines)] = values
        return found


class StateLog:
    """A log whose lines say what was held and where things stood."""

    def __init__(self) -> None:
        self.columns, self.clock, self.frame = Columns(), "", ""

    def add(self, number: int, fields: Mapping[str, Any]) -> None:
        """Take one line."""
        for name, value in fields.items():
            self._field(name, value, 0)
        self.columns.end_line()

    def _field(self, name: str, value: Any, depth: int) -> None:
        low, columns = name.lower(), self.columns
        if value is None or low in _COUNTERS or low in _IGNORED or depth > DEEPEST:
            return
        if low.rpartition(".")[2] in _HELD and isinstance(value, list | str | dict):
            for key in _listed(value):
                columns.hold(_button(key, low.startswith("mouse")))
        elif isinstance(value, dict):
            for inner, part in value.items():
                self._field(inner if low in ("action", "actions", "keyboard") else f"{name}.{inner}", part, depth + 1)
        elif isinstance(value, list):
            for place, part in enumerate(value[: MOST_COLUMNS + 1]):
                self._field(f"{name} {place}", part, depth + 1)
        elif (low in ("action", "actions") and not isinstance(value, float)) or isinstance(value, str):
            columns.word(name, str(value))
        elif isinstance(value, bool | int | float):
            if low in _CLOCKS or low in _FRAMES:
                self.clock = self.clock or (name if low in _CLOCKS else "")
                self.frame = self.frame or (name if low in _FRAMES else "")
            columns.number(name, _finite(value))

    def controls(self, frames: Floats, clock: bool = True) -> tuple[Ticks, list[str]]:
        """What it says of frames that are shown at those seconds; and how its lines were told to belong to them.

        Without a `clock`, frames are 0, 1, 2 and so on, and times in the log mean nothing.
        """
        columns = self.columns
        times, order, said = self._times(frames, clock)
        held = {name: columns.down(name)[order] for name in columns.held}
        axes, moves, outcomes = dict[str, Floats](), set[str](), dict[str, Floats]()
        cursor = {name.lower() for name in columns.numbers} & {"mouse.dx", "dx"}
        for name in columns.numbers:
            low, values = name.lower(), columns.column(name)[order]
            if low in _CLOCKS or low in _FRAMES or (cursor and low in ("mouse.x", "mouse.y", "x", "y")):
                continue
            if low in _OUTCOMES:
                outcomes[_OUTCOMES[low]] = values
            elif low in _MOVEMENTS:
                axes[_MOVEMENTS[low]] = values
                moves.add(_MOVEMENTS[low])
            elif np.isin(values[np.isfinite(values)], (0, 1)).all():
                held[_button(name, False)] = values == 1
            else:
                axes[name.replace(".", " ")] = values
        ends = {name: np.nan_to_num(outcomes[name]) > 0 for name in ("terminated", "truncated") if name in outcomes}
        choices = {name: columns.choice(name) for name in columns.words}
        ticks = Ticks(
            times,
            Outcomes(outcomes.get("reward"), ends.get("terminated"), ends.get("truncated")),
            buttons=held,
            axes=axes,
            moves=frozenset(moves),
            choices={name: numbers[order] for name, (numbers, _) in choices.items()},
            labels={name: words for name, (_, words) in choices.items()},
        )
        return ticks, [said]

    def _times(self, frames: Floats, clock: bool) -> tuple[Floats, Ints, str]:
        """Seconds of each line that has a place, in order; those lines; and in words how they were told."""
        lines, count = self.columns.lines, len(frames)
        if self.frame:
            places = self.columns.column(self.frame)
            good = np.flatnonzero((places >= 0) & (places < count))
            order = good[np.argsort(places[good], kind="stable")]
            return frames[places[order].astype(np.int64)], order, f"lines name their frames ('{self.frame}')"
        if not self.clock or not clock or abs(lines - count) <= 1:
            step, last = (float(np.median(np.diff(frames))), frames[-1]) if count > 1 else (1.0, 0.0)
            times = np.concatenate([frames[:lines], last + step * np.arange(1, max(0, lines - count) + 1)])
            return times, np.arange(lines), f"a line a frame: {lines:,} lines, {count:,} frames"
        times, said = in_seconds(self.columns.column(self.clock), self.clock, frames)
        order = np.flatnonzero(np.isfinite(times))
        order = order[np.argsort(times[order], kind="stable")]
        return times[order], order, f"lines have times ('{self.clock}', {said})"


class EventLog:
    """A log whose lines say what changed, and when."""

    def __init__(self) -> None:
        self.times, self.changes = array("d"), Changes()
        self.clock, self.start, self.cursor = "", math.nan, dict[str, float]()
        self.unknown: Counter[str] = Counter()

    def add(self, number: int, fields: Mapping[str, Any]) -> None:
        """Take one line; BadRecording if it has no time."""
        low = {name.lower(): value for name, value in fields.items()}
        self.clock = self.clock or next((name for name in low if name in _CLOCKS), "")
        time = low.get(self.clock)
        if not isinstance(time, int | float):
            raise BadRecording(f"line {number} of its log is an event without a time ('t' or 'timestamp')")
        kind = event_kind(low)
        key = next((low[name] for name in ("key", "button", "code", "name") if low.get(name) is not None), None)
        if kind == "start":
            self.start = _finite(time)
        elif kind in ("move", "wheel"):
            self._move(kind, low)
        elif kind is not None and key is not None:
            down = bool(low.get("pressed", True)) if kind == "click" else kind.endswith("down")
            self.changes.key(_button(key, "button" in low and "key" not in low), down)
        else:
            self.unknown[str(next((low[name] for name in _EVENTS if name in low), "?"))[:40]] += 1
        self.times.extend([_finite(time)] * (len(self.changes) - len(self.times)))

    def _move(self, kind: str, low: Mapping[str, Any]) -> None:
        for side in "xy":
            amount, axis = low.get(f"d{side}"), f"mouse {side}" if kind == "move" else "wheel"
            if amount is None and isinstance(low.get(side), int | float):  # a place, not a way
                place = _finite(low[side])
                amount = place - self.cursor.get(axis, place)
                self.cursor[axis] = place
            if isinstance(amount, int | float):
                self.changes.move(axis, _finite(amount))

    def controls(self, frames: Floats, clock: bool = True) -> tuple[Ticks, list[str]]:
        """As `StateLog.controls`."""
        if not clock:
            raise BadRecording("its log has events with times, and its frames have none: give a line a frame")
        if not self.times:
            raise BadRecording("its log has no event that is known: key down, key up, mouse move")
        times, said = in_seconds(np.asarray(self.times), self.clock, frames, self.start)
        notes = [f"events with times ('{self.clock}', {said})"]
        if self.unknown:
            kinds = ", ".join(list(self.unknown)[:5])
            notes.append(f"events of other kinds ({kinds}), left out: {sum(self.unknown.values()):,}")
        return self.changes.ticks(times), notes


def read_log(path: Path, log: StateLog | EventLog | None = None) -> StateLog | EventLog:
    """A log as a whole, of the kind given or found; BadRecording if it is empty or no log."""
    number = 0
    for number, fields in records(path):
        if log is None:
            log = EventLog() if event_kind({k.lower(): v for k, v in fields.items()}) else StateLog()
        log.add(number, fields)
    if log is None or not number:
        raise BadRecording(f"its log {path.name} is empty")
    return log


def event_kind(low: Mapping[str, Any]) -> str | None:
    """What kind of event a line tells; None if it is none that is known."""
    word = next((low[name] for name in _EVENTS if name in low), None)
    return _KINDS.get(re.sub(r"[^a-z]", "", word.lower())) if isinstance(word, str) else None


def in_seconds(raw: Floats, name: str, frames: Floats, start: float = math.nan) -> tuple[Floats, str]:
    """Times of a column as seconds of the video, and in words how that was told.

    The unit is the one in the column's name, else that of a date, else the one that fits the video's length. Dates,
    and clocks that begin after the video's end, are counted from `start` or from the first line.
    """
    good = raw[np.isfinite(raw)]
    if not len(good):
        raise BadRecording(f"its log has no times in '{name}'")
    first, span = float(good.min()), float(good.max() - good.min())
    length = float(frames[-1]) if len(frames) else 0.0

    def misfit(unit: float) -> float:
        return abs(math.log(max(span * unit, 1e-9) / max(length, 1e-9)))

    unit = _CLOCKS[name.lower()] or next((unit for size, unit in _DATES if first >= size), None)
    if unit is None:
        unit = 1.0 if span <= 3 * length or not length else min(_UNITS, key=misfit)
    if math.isfinite(start):
        return (raw - start) * unit, f"{_UNITS[unit]} since its start event"
    if first * unit > length:
        return (raw - first) * unit, f"{_UNITS[unit]} since its first line, taken as the first frame"
    return raw * unit, f"{_UNITS[unit]} since the first frame"


def _listed(value: list[Any] | str | dict[str, Any]) -> list[Any]:
    """The keys that a field says are held."""
    if isinstance(value, dict):
        if "keys" in value:
            return _listed(value["keys"]) if isinstance(value["keys"], list | str | dict) else []
        return [name for name, down in value.items() if down is True or down == 1]
    return value if isinstance(value, list) else [part for part in re.split(r"[+,;|\s]+", value) if part]


def _button(key: Any, mouse: bool) -> str:
    """The one name of a key or a mouse button."""
    if isinstance(key, bool | int | float):
        return f"{'mouse' if mouse else 'key'} {int(key) if float(key).is_integer() else key}"
    name = plain(str(key)[:100].replace(".", " ") if mouse else str(key)[:100])
    return f"mouse {name}" if mouse and not name.startswith("mouse") else name


def _finite(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
