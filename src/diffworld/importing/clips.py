"""A video with a log beside it: JSON lines or CSV, or the log of the VPT contractors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from diffworld.importing import log, vpt
from diffworld.importing.controls import Ints
from diffworld.importing.recording import BadRecording, Footage
from diffworld.importing.video import SUFFIXES, Video
from diffworld.runtime.frames import Frame


@dataclass(frozen=True)
class Clip:
    """One video and its log."""

    name: str
    video: Path
    log: Path | None
    vpt: bool = False

    def open(self) -> Footage:
        """See `Recording`."""
        if self.log is None:
            raise BadRecording(f"it has no log beside it: {self.video.stem}.jsonl or .csv")
        video = Video(self.video)
        facts, times = video.facts, video.times
        told: log.StateLog | log.EventLog | vpt.VptLog
        told = vpt.read_log(self.log) if self.vpt else log.read_log(self.log)
        since = times - times[0]
        controls, notes = told.controls(since)

        def read(picks: Ints, size: tuple[int, int]) -> Iterator[Frame]:
            yield from video.read(times[picks], size)

        return Footage(since, True, facts.size, controls, read, notes)


def find(folder: Path, video: Path, kind: str) -> Clip:
    """The clip of a video; its name is its path from `folder` on. `kind`: vpt, video, or auto to look at the log."""
    beside = (video.with_suffix(suffix) for suffix in log.SUFFIXES)
    found = next((path for path in beside if path.is_file()), None)
    is_vpt = found is not None and (kind == "vpt" or (kind == "auto" and vpt.is_vpt(found)))
    return Clip(video.relative_to(folder).as_posix(), video, found, is_vpt)


def all_of(kind: str) -> Callable[[Path], list[Clip]]:
    """What finds the clips of all videos in a folder and the folders in it."""

    def find_all(folder: Path) -> list[Clip]:
        videos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        return [find(folder, video, kind) for video in videos]

    return find_all
