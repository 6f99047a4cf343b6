"""Which formats there are, and which one a path holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from diffworld.importing import arrays, clips, counter_strike, lerobot, minari, owamcap, retro
from diffworld.importing.recording import BadRecording, Recording, damage
from diffworld.runtime.errors import UserError

FormatName = Literal["auto", "video", "vpt", "lerobot", "minari", "owamcap", "retro", "csgo", "numpy", "pictures"]

# What a format looks like, in words, and what finds its recordings at a path, given the camera that is wanted.
Find = Callable[[Path, str], Sequence[Recording]]
FORMATS: Mapping[str, tuple[str, Find]] = {
    "lerobot": (lerobot.INFO, lerobot.find),
    "minari": (f"{minari.METADATA} beside episodes", minari.find),
    "owamcap": ("MCAP files", lambda path, _: owamcap.find(path)),
    "retro": ("movies (.bk2)", lambda path, _: retro.find(path)),
    "csgo": (counter_strike.LOOKS, lambda path, _: counter_strike.find(path)),
    "numpy": ("arrays called frames and actions", lambda path, _: arrays.find(path)),
    "pictures": ("pictures beside actions", lambda path, _: arrays.find_pictures(path)),
    "vpt": ("videos with VPT's logs", lambda path, _: clips.find(path, "vpt")),
    "video": ("videos with logs", lambda path, _: clips.find(path, "video")),
}
_COMPLETE = ("lerobot", "minari", "owamcap", "retro")  # that say what belongs to them: all else there is theirs


def find_recordings(sources: Sequence[Path], format: FormatName, camera: str) -> tuple[list[Recording], list[str]]:
    """All recordings at some paths, each under a name of its own, and a line on each path.

    UserError for a path that holds none, or several kinds of them.
    """
    found, said = dict[str, Recording](), []
    for source in sources:
        if not source.exists():
            raise UserError(f"there is nothing at {source}: check the path")
        kind, recordings = _found(source, format, camera)
        why = "as told" if format != "auto" else f"it has {FORMATS[kind][0]}"
        said.append(f"{source}: {kind}, {len(recordings):,} recording{'s' * (len(recordings) != 1)} ({why})")
        for recording in recordings:
            name = recording.name if recording.name not in found else f"{source.name}/{recording.name}"
            if name in found:
                raise UserError(f"{source} is given twice, or has the same names as another path: {recording.name}")
            found[name] = replace(recording, name=name)
    return list(found.values()), said


def _found(source: Path, format: FormatName, camera: str) -> tuple[str, Sequence[Recording]]:
    """Which format a path has, and its recordings; UserError for none or several."""
    if format != "auto":
        looks, find = FORMATS[format]
        if not (recordings := _look(find, source, camera)):
            raise UserError(f"{source} has no recordings of format {format}: {looks} are looked for")
        return format, recordings
    there: dict[str, Sequence[Recording]] = {}
    for kind, (_, find) in FORMATS.items():
        if kind != "vpt" and (recordings := _look(find, source, camera)):
            if kind in _COMPLETE:
                return kind, recordings
            there[kind] = recordings
    if not there:
        looked = ", ".join(looks for looks, _ in FORMATS.values())
        raise UserError(f"{source} has no recordings: none of {looked}")
    if len(there) > 1:
        kinds = " and ".join(f"{FORMATS[kind][0]} ({len(there[kind]):,})" for kind in there)
        raise UserError(f"{source} has {kinds}: say which with --format {' or '.join(there)}")
    ((kind, recordings),) = there.items()
    return ("vpt" if any(isinstance(each, clips.Clip) and each.vpt for each in recordings) else kind), recordings


def _look(find: Find, source: Path, camera: str) -> Sequence[Recording]:
    """What is found at a path; UserError if what describes it is damaged."""
    try:
        with damage():
            return find(source, camera)
    except BadRecording as error:
        raise UserError(f"{source}: {error}: restore it from a copy") from error
