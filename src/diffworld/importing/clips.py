"""A video with a log beside it: JSON lines or CSV, or the log of the VPT contractors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffworld.importing import log, vpt
from diffworld.importing.recording import BadRecording, Footage, Recording, files_in
from diffworld.importing.video import SUFFIXES, Video


@dataclass(frozen=True)
class Clip(Recording):
    """One video and its log."""

    video: Path
    log: Path | None
    vpt: bool = False

    def open(self) -> Footage:
        """See `Recording`."""
        if self.log is None:
            raise BadRecording(f"it has no log beside it: {self.video.stem}.jsonl or .csv")
        video = Video(self.video)
        size, times = video.facts.size, video.times
        since = times - times[0]
        controls, notes = log.read_log(self.log, vpt.VptLog() if self.vpt else None).controls(since)
        return Footage(since, True, size, controls, lambda picks, size: video.read(times[picks], size), notes)


def find(source: Path, kind: str) -> list[Clip]:
    """The clips of all videos. `kind`: vpt, or any other to look at each log for what it is."""
    found = []
    for name, video in files_in(source, SUFFIXES):
        beside = (video.with_suffix(suffix) for suffix in log.SUFFIXES)
        told = next((path for path in beside if path.is_file()), None)
        found.append(Clip(name, video, told, told is not None and (kind == "vpt" or vpt.is_vpt(told))))
    return found
