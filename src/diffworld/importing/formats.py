"""Which formats there are, and which one a path holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diffworld.importing import arrays, clips, lerobot, minari, owamcap, retro
from diffworld.importing.recording import Recording
from diffworld.importing.video import SUFFIXES as VIDEOS
from diffworld.runtime.errors import UserError

FormatName = Literal["auto", "video", "vpt", "lerobot", "minari", "owamcap", "retro", "numpy", "pictures"]


@dataclass(frozen=True)
class Format:
    """One format: what it looks like, in words; the ends of its files, and what is found in a folder."""

    looks: str
    suffixes: frozenset[str]
    in_file: Callable[[Path], Recording] | None
    in_folder: Callable[[Path], Sequence[Recording]]


def formats(camera: str) -> dict[str, Format]:
    """All formats; those before others are looked for first, and what they find is not looked at again."""
    none: frozenset[str] = frozenset()
    return {
        "lerobot": Format(f"{lerobot.INFO}", none, None, lambda folder: lerobot.find(folder, camera)),
        "minari": Format(f"{minari.METADATA} beside episodes", none, None, lambda folder: minari.find(folder, camera)),
        "owamcap": Format(
            "MCAP files", frozenset({".mcap"}), lambda path: owamcap.Desktop(path.name, path), owamcap.find
        ),
        "retro": Format("movies (.bk2)", frozenset({".bk2"}), lambda path: retro.Movie(path.name, path), retro.find),
        "numpy": Format(
            "arrays called frames and actions", frozenset({".npz"}), lambda p: arrays.ArrayClip(p.name, p), arrays.find
        ),
        "pictures": Format("pictures beside actions", none, None, arrays.find_pictures),
        "vpt": Format("videos with VPT's logs", VIDEOS, lambda p: clips.find(p.parent, p, "vpt"), clips.all_of("vpt")),
        "video": Format("videos with logs", VIDEOS, lambda p: clips.find(p.parent, p, "auto"), clips.all_of("auto")),
    }


def find_recordings(sources: Sequence[Path], format: FormatName, camera: str) -> tuple[list[Recording], list[str]]:
    """All recordings at some paths, each under a name of its own, and a line on each path.

    UserError for a path that holds none, or several kinds of them.
    """
    known, found, said = formats(camera), dict[str, Recording](), []
    for source in sources:
        if not source.exists():
            raise UserError(f"there is nothing at {source}: check the path")
        kind, recordings = _found(source, known, format)
        if kind == "video" and any(getattr(recording, "vpt", False) for recording in recordings):
            kind = "vpt"
        why = "as told" if format != "auto" else f"it has {known[kind].looks}"
        said.append(f"{source}: {kind}, {len(recordings):,} recording{'s' * (len(recordings) != 1)} ({why})")
        for recording in recordings:
            name = recording.name
            if name in found:
                name = f"{source.name}/{name}"
            if name in found:
                raise UserError(f"{source} is given twice, or has the same names as another path: {recording.name}")
            found[name] = recording
    return [_Named(name, recording) for name, recording in found.items()], said


@dataclass(frozen=True)
class _Named:
    """A recording under the name that tells it from all others."""

    name: str
    recording: Recording

    def open(self) -> Any:
        """See `Recording`."""
        return self.recording.open()

    @property
    def alone(self) -> bool:
        """Whether it cannot be read while another one is."""
        return bool(getattr(self.recording, "alone", False))


def _found(source: Path, known: Mapping[str, Format], format: FormatName) -> tuple[str, Sequence[Recording]]:
    """Which format a path has, and its recordings; UserError for none or several."""
    if source.is_file():
        return _of_file(source, known, format)
    if format != "auto":
        recordings = known[format].in_folder(source)
        if not recordings:
            raise UserError(f"{source} has no recordings of format {format}: {known[format].looks} are looked for")
        return format, recordings
    there: dict[str, Sequence[Recording]] = {}
    for kind, each in known.items():
        if kind != "vpt" and (recordings := each.in_folder(source)):
            there[kind] = recordings
            if kind in ("lerobot", "minari", "owamcap", "retro"):  # they say what belongs to them
                break
    if not there:
        looks = ", ".join(each.looks for each in known.values())
        raise UserError(f"{source} has no recordings: none of {looks}")
    if len(there) > 1:
        kinds = " and ".join(f"{known[kind].looks} ({len(there[kind]):,})" for kind in there)
        raise UserError(f"{source} has {kinds}: say which with --format {' or '.join(there)}")
    return next(iter(there.items()))


def _of_file(source: Path, known: Mapping[str, Format], format: FormatName) -> tuple[str, Sequence[Recording]]:
    suffix = source.suffix.lower()
    fitting = [kind for kind, each in known.items() if suffix in each.suffixes]
    kind = fitting[-1] if format == "auto" and fitting else format
    make = known[kind].in_file if kind in fitting else None
    if make is None:
        wanted = "a recording" if format == "auto" else f"a file of format {format}"
        raise UserError(f"{source} is not {wanted}: give a video, an .npz, .mcap or .bk2 file, or a folder")
    return kind, [make(source)]
