"""The first look at all recordings: what size, speed and actions the data set will have."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from diffworld.data import Compress
from diffworld.game import GameSpec
from diffworld.importing.actions import Coder, KeyMap, Usage, find_actions
from diffworld.importing.controls import pace
from diffworld.importing.plan import Cut, Rows, plan_rows
from diffworld.importing.recording import BadRecording, Footage, Recording, damage
from diffworld.importing.sizes import USUAL_SPEED, choose_size, choose_speed
from diffworld.runtime.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """What an import was asked for; `size` and `fps` None: to be found.

    split: names of the recordings that are set aside to measure on. outcomes: rewards and ends of formats that leave
    them out by themselves. link: frames stay where they are.
    """

    size: tuple[int, int] | None = None
    fps: float | None = None
    shift: int = 0
    cut: tuple[str, ...] = ()
    keymap: KeyMap = field(default_factory=KeyMap)
    compress: Compress = "auto"
    split: tuple[str, ...] = ()
    outcomes: bool = False
    link: bool = False


@dataclass(frozen=True)
class Survey:
    """What was found. `steps` are those to come of each good recording, `skipped` says why of each bad one."""

    game: GameSpec
    actions: Coder
    steps: dict[str, int]
    skipped: dict[str, str]
    said: tuple[str, ...]


def planned(recording: Recording, fps: float, settings: Settings) -> tuple[Footage, Rows]:
    """A recording, opened, and its rows; BadRecording for whatever is wrong with a file that somebody else wrote."""
    with damage():
        footage = recording.open()
        if settings.link and footage.places is None:
            raise BadRecording("its frames do not lie in a file as they are: import without --link")
        cuts = [Cut.parse(text) for text in settings.cut]
        return footage, plan_rows(recording.name, footage, fps, settings.shift, cuts)


def survey(
    name: str, recordings: Sequence[Recording], settings: Settings, workers: int, advance: Callable[[int], None]
) -> Survey:
    """Look at every recording's log. `name` is the game's, where it is not known. UserError if none can be used."""
    game = _known_game(recordings, settings)
    size, fps, said = _size_and_speed(recordings, settings, game)
    usage, steps, skipped = Usage(), dict[str, int](), dict[str, str]()
    rewards = ends = True
    with ThreadPoolExecutor(workers) as pool:
        begun = ((each, pool.submit(planned, each, fps, settings)) for each in recordings)
        for recording, looking in ahead(begun, 2 * workers):
            advance(1)
            try:
                footage, rows = looking.result()
                if settings.link and footage.size != size:
                    of, not_of = (f"{height}x{width}" for height, width in (footage.size, size))
                    raise BadRecording(f"its frames are of {of}, not {not_of}: import without --link")
            except BadRecording as error:
                skipped[recording.name] = str(error)
                continue
            taken = rows.steps.take(~rows.last)
            usage.add(settings.keymap.named(taken, recording.name))
            steps[recording.name] = len(taken)
            rewards, ends = rewards and rows.knows_rewards, ends and rows.knows_ends
    if not steps:
        first, reason = next(iter(skipped.items()))
        raise UserError(f"none of the {len(recordings)} recordings can be used; {first}: {reason}")
    coder, left_out = (Coder.of(game), []) if game else find_actions(usage, settings.keymap)
    said += _described(coder, usage)
    said += [f"left out: {', '.join(left_out)}"] if left_out else []
    spec = GameSpec(name, *size, coder.space, fps, coder.play, rewards=rewards, ends=ends)
    return Survey(spec, coder, steps, skipped, tuple(said))


def ahead(items: Iterable[T], count: int) -> Iterator[T]:
    """The items in order, so many of them made before they are wanted."""
    waiting: deque[T] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) >= count:
            yield waiting.popleft()
    yield from waiting


def _known_game(recordings: Sequence[Recording], settings: Settings) -> GameSpec | None:
    """The game of all recordings where their format knows it."""
    game = recordings[0].game
    if any(each.game != game for each in recordings):
        raise UserError("these recordings are of several games, one of which has actions of its own: import each alone")
    if game and settings.keymap != KeyMap():
        raise UserError(f"what the actions of {game.name} are is known: leave out --keymap")
    return game


def _size_and_speed(
    recordings: Sequence[Recording], settings: Settings, game: GameSpec | None
) -> tuple[tuple[int, int], float, list[str]]:
    """(height, width) and steps a second for all, as the first good recording or the game suggests; and in words."""
    reason = ""
    for recording in recordings:
        try:
            with damage():
                footage = recording.open()
        except BadRecording as error:
            reason = reason or f"{recording.name}: {error}"
            continue
        size, why = (footage.size, "as recorded") if game else choose_size(*footage.size)
        if settings.size:
            size, why = settings.size, "as told"
        fps, how = (game.steps_per_second, "as recorded") if game else _speed(footage, None)
        if settings.fps:
            fps, how = _speed(footage, settings.fps)
        said = [f"{recording.name}: {'; '.join(footage.notes)}"] if footage.notes else []
        said += [f"frames: {size[0]}x{size[1]} ({why})", f"speed: {fps:g} steps a second ({how})"]
        return size, fps, said
    raise UserError(f"none of the {len(recordings)} recordings can be opened; {reason}")


def _speed(footage: Footage, asked: float | None) -> tuple[float, str]:
    rate, controls = footage.rate, footage.controls
    if rate is None:
        return asked or USUAL_SPEED, "each frame is a step; at this speed people will play"
    if asked is not None:
        more = ": more than it has, so that frames repeat" if asked > 1.05 * rate else ""
        return asked, f"as told, from {rate:.4g} frames a second{more}"
    return choose_speed(rate, pace(controls.times)[0] if controls.steady and len(controls.times) > 2 else None)


def _described(coder: Coder, usage: Usage) -> list[str]:
    """The actions in words, a line a part, with how often each key is down."""

    def shares(counts: Mapping[str, int], names: Sequence[str]) -> str:
        return ", ".join(f"{name} {counts[name] / max(usage.steps, 1):.1%}" for name in names)

    lines = [f"keys, and how often they are down: {shares(usage.buttons, coder.keys)}"] if coder.keys else []
    for name, bins in coder.axes.items():
        lines.append(f"{name} in {len(bins.names)} bins, called {', '.join(bins.names)}")
    for name, names in coder.choices.items():
        more = ", ..." if len(names) > 18 else ""
        lines.append(f"{name}, one of {len(names)}: {shares(usage.choices[name], names[:18])}{more}")
    return lines
