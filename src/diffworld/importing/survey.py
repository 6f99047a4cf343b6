"""The first look at all recordings: what size, speed and actions the data set will have."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from diffworld.importing.actions import Coder, KeyMap, Usage, find_actions
from diffworld.importing.controls import Ticks, pace
from diffworld.importing.plan import Cut, Rows, plan_rows
from diffworld.importing.recording import BadRecording, Footage, Recording
from diffworld.importing.sizes import USUAL_SPEED, choose_size, choose_speed
from diffworld.runtime.errors import UserError
from diffworld.runtime.frames import Frame
from diffworld.spec import GameSpec

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Settings:
    """What an import was asked for; `size` and `fps` None: to be found."""

    size: tuple[int, int] | None = None
    fps: float | None = None
    shift: int = 0
    cuts: tuple[Cut, ...] = ()
    keymap: KeyMap = field(default_factory=KeyMap)


@dataclass(frozen=True)
class Survey:
    """What was found. `steps` are those to come of each good recording, `skipped` says why of each bad one."""

    spec: GameSpec
    coder: Coder
    steps: Mapping[str, int]
    skipped: Mapping[str, str]
    said: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "game": self.spec.to_json(),
            "actions": asdict(self.coder),
            "steps": dict(self.steps),
            "skipped": dict(self.skipped),
            "said": list(self.said),
        }

    @classmethod
    def from_json(cls, data: Any, path: Path) -> Survey:
        """What `to_json` gave; UserError for anything else."""
        try:
            coder = Coder.from_json(data["actions"])
            spec = GameSpec.from_json(data["game"])
            return cls(spec, coder, dict(data["steps"]), dict(data["skipped"]), tuple(data["said"]))
        except (KeyError, TypeError, ValueError, UserError) as error:
            raise UserError(f"{path} is damaged: delete the data set's folder and import again") from error


def opened(recording: Recording) -> Footage:
    """The recording, opened; BadRecording for whatever is wrong with a file that somebody else wrote."""
    with _damage():
        return recording.open()


def as_recorded(frames: Iterator[Frame]) -> Iterator[Frame]:
    """The same frames; BadRecording for whatever is wrong with them."""
    with _damage():
        yield from frames


@contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except UserError:  # among them BadRecording
        raise
    except Exception as error:
        raise BadRecording(f"it is damaged ({' '.join(f'{type(error).__name__}: {error}'.split())[:120]})") from error


def survey(
    name: str, recordings: Sequence[Recording], settings: Settings, workers: int, advance: Callable[[int], None]
) -> Survey:
    """Look at every recording's log. UserError if none can be used."""
    skipped, said = dict[str, str](), list[str]()
    size, fps, about = _size_and_speed(recordings, settings)
    usage, steps = Usage(), dict[str, int]()
    rewards = ends = True

    def look(recording: Recording) -> tuple[str, Rows, Usage] | tuple[str, BadRecording]:
        try:
            rows = plan_rows(recording.name, opened(recording), fps, settings.shift, settings.cuts)
        except BadRecording as error:
            return recording.name, error
        named = settings.keymap.named(rows.steps.take(~rows.last), recording.name)
        return recording.name, rows, Usage.of(named)

    with ThreadPoolExecutor(workers) as pool:
        for found in in_order(pool, look, recordings, ahead=2 * workers):
            advance(1)
            if len(found) == 2:
                skipped[found[0]] = str(found[1])
                continue
            steps[found[0]] = int((~found[1].last).sum())
            usage.add(found[2])
            rewards, ends = rewards and found[1].knows_rewards, ends and found[1].knows_ends
    if not steps:
        first, reason = next(iter(skipped.items()))
        raise UserError(f"none of the {len(recordings)} recordings can be used; {first}: {reason}")
    coder, left_out = find_actions(usage, settings.keymap)
    said += [*about, *_described(coder, usage)]
    said += [f"left out: {', '.join(left_out)}"] if left_out else []
    spec = GameSpec(name, *size, coder.space, fps, coder.play, rewards=rewards, ends=ends)
    return Survey(spec, coder, steps, skipped, tuple(said))


def in_order(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
    """The results of `work` in the order of the items, at most `ahead` of them begun before they are wanted."""
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _size_and_speed(recordings: Sequence[Recording], settings: Settings) -> tuple[tuple[int, int], float, list[str]]:
    """(height, width) and steps a second for all, as the first good recording suggests; and in words."""
    reason = ""
    for recording in recordings:
        try:
            footage = opened(recording)
        except BadRecording as error:
            reason = reason or f"{recording.name}: {error}"
            continue
        size, why = (settings.size, "as told") if settings.size else choose_size(*footage.size)
        fps, pace = _speed(footage, settings)
        said = [f"{recording.name}: {'; '.join(footage.notes)}"] if footage.notes else []
        said += [
            f"frames: {size[0]}x{size[1]} ({why})",
            f"speed: {fps:g} steps a second ({pace})",
        ]
        return size, fps, said
    raise UserError(f"none of the {len(recordings)} recordings can be opened; {reason}")


def _speed(footage: Footage, settings: Settings) -> tuple[float, str]:
    rate = footage.rate
    if rate is None:
        fps = settings.fps or footage.speed or USUAL_SPEED
        return fps, "each frame is a step; at this speed people will play"
    if settings.fps is not None:
        more = ": more than it has, so that frames repeat" if settings.fps > 1.05 * rate else ""
        return settings.fps, f"as told, from {rate:.4g} frames a second{more}"
    controls = footage.controls
    ticks, steady = pace(controls.times) if isinstance(controls, Ticks) and len(controls.times) > 2 else (0.0, False)
    return choose_speed(rate, ticks if steady else None)


def _described(coder: Coder, usage: Usage) -> list[str]:
    """The actions in words, a line a part, with how often each key is down."""
    lines = []
    if coder.keys:
        shares = [f"{name} {usage.buttons[name] / max(usage.steps, 1):.1%}" for name in coder.keys]
        lines.append(f"keys, and how often they are down: {', '.join(shares)}")
    for name, bins in coder.axes.items():
        lines.append(f"{name} in {len(bins.names)} bins, called {', '.join(bins.names)}")
    for name, names in coder.choices.items():
        shown = ", ".join(f"{each} {usage.choices[name][each] / max(usage.steps, 1):.1%}" for each in names[:18])
        lines.append(f"{name}, one of {len(names)}: {shown}{', ...' if len(names) > 18 else ''}")
    return lines
