"""LeRobot data sets, versions 3.0 (many episodes a file) and 2.x (a file an episode)."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from diffworld.importing.controls import Ints, Outcomes, Ticks
from diffworld.importing.recording import BadRecording, Footage, check_size, filled_template, inside, needs, shrunk
from diffworld.importing.video import Video
from diffworld.runtime.errors import UserError
from diffworld.runtime.frames import Frame

INFO = "meta/info.json"
_REWARD, _DONE, _TRUNCATED = "next.reward", "next.done", "next.truncated"


class Source:
    """A data set's folder and its description."""

    def __init__(self, root: Path, camera: str) -> None:
        self.root = root
        try:
            self.info = json.loads((root / INFO).read_text(encoding="utf-8"))
            self.version = str(self.info["codebase_version"])
            self.features: Mapping[str, Any] = dict(self.info["features"])
            self.fps = float(self.info["fps"])
            self.chunk = int(self.info.get("chunks_size", 1000))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{root / INFO} is damaged ({error}): restore it from a copy") from error
        if not self.version.startswith(("v3.", "v2.")) or not 0 < self.fps < 1e4 or self.chunk < 1:
            raise UserError(
                f"{root} is LeRobot {self.version} with {self.fps:g} frames a second: v3.0 and v2.1 are known"
            )
        cameras = [name for name, feature in self.features.items() if feature.get("dtype") in ("video", "image")]
        if not cameras:
            raise UserError(f"{root} has no camera: there are no frames to learn from")
        if camera and camera not in cameras:
            raise UserError(f"{root} has no camera '{camera}': choose one of {', '.join(cameras)}")
        self.cameras, self.camera = cameras, camera or cameras[0]
        if "action" not in self.features:
            raise UserError(f"{root} has no feature 'action'")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the camera's frames."""
        feature = self.features[self.camera]
        shape, names = list(feature["shape"]), feature.get("names") or []
        if "height" in names and "width" in names:
            found = shape[names.index("height")], shape[names.index("width")]
        else:
            found = (shape[1], shape[2]) if shape[0] in (1, 3) else (shape[0], shape[1])
        check_size(*found)
        return found

    @property
    def axes(self) -> list[str]:
        """A name for each number of an action."""
        feature = self.features["action"]
        names = feature.get("names")
        if isinstance(names, dict):
            names = [name for part in names.values() for name in (part if isinstance(part, list) else [part])]
        count = int(np.prod(feature["shape"]))
        good = isinstance(names, list) and len(names) == count and len(set(map(str, names))) == count
        return [str(name) for name in names] if good else [f"action {i}" for i in range(count)]

    def episodes(self) -> list[Episode]:
        """All episodes, in order."""
        if self.version.startswith("v2."):
            lines = (self.root / "meta/episodes.jsonl").read_text(encoding="utf-8").splitlines()
            return [self._old(int(json.loads(line)["episode_index"])) for line in lines if line.strip()]
        parquet = needs("pyarrow.parquet", "lerobot")
        found = []
        for file in sorted((self.root / "meta/episodes").glob("*/*.parquet")):
            names = [name for name in parquet.read_schema(file).names if not name.startswith(("stats/", "tasks"))]
            found += [self._new(row) for row in parquet.read_table(file, columns=names).to_pylist()]
        if not found:
            raise UserError(f"{self.root} has no episodes: none in meta/episodes")
        return sorted(found, key=lambda episode: episode.index)

    def _new(self, row: Mapping[str, Any]) -> Episode:
        values = {"chunk_index": int(row["data/chunk_index"]), "file_index": int(row["data/file_index"])}
        data, video, begin = filled_template(self.info["data_path"], **values), "", 0.0
        if self.features[self.camera]["dtype"] == "video":
            key = f"videos/{self.camera}"
            values = {"chunk_index": int(row[f"{key}/chunk_index"]), "file_index": int(row[f"{key}/file_index"])}
            video = filled_template(self.info["video_path"], video_key=self.camera, **values)
            begin = float(row[f"{key}/from_timestamp"])
        return Episode(self, int(row["episode_index"]), data, video, begin)

    def _old(self, index: int) -> Episode:
        values = {"episode_chunk": index // self.chunk, "episode_index": index}
        video = ""
        if self.features[self.camera]["dtype"] == "video":
            video = filled_template(self.info["video_path"], video_key=self.camera, **values)
        return Episode(self, index, filled_template(self.info["data_path"], **values), video, 0.0)

    @functools.lru_cache(maxsize=4)  # noqa: B019, the files of neighbours are the same
    def table(self, path: Path) -> Any:
        """What a data file says of actions and outcomes."""
        parquet = needs("pyarrow.parquet", "lerobot")
        there = set(parquet.read_schema(path).names)
        wanted = ("episode_index", "frame_index", "action", _REWARD, _DONE, _TRUNCATED)
        return parquet.read_table(path, columns=[name for name in wanted if name in there])


@dataclass(frozen=True)
class Episode:
    """One episode: where its rows are, and from which second on its frames."""

    source: Source
    index: int
    data: str
    video: str
    begin: float

    @property
    def name(self) -> str:
        """See `Recording`."""
        return f"{self.source.root.name} episode {self.index}"

    def open(self) -> Footage:
        """See `Recording`."""
        source = self.source
        path = inside(source.root, self.data)
        table = source.table(path)
        rows = np.flatnonzero(table["episode_index"].to_numpy() == self.index)
        if not len(rows):
            raise BadRecording(f"{self.data} has no rows of it")
        if (np.diff(rows) != 1).any():
            raise BadRecording(f"its rows in {self.data} do not follow each other")
        mine = table.slice(int(rows[0]), len(rows))
        times = np.arange(len(rows)) / source.fps
        if self.video:
            video = Video(inside(source.root, self.video))
            if not video.path.is_file():
                raise BadRecording(f"its video {self.video} is missing")

            def read(picks: Ints, size: tuple[int, int]) -> Iterator[Frame]:
                yield from video.read(self.begin + times[picks], size)

        else:

            def read(picks: Ints, size: tuple[int, int]) -> Iterator[Frame]:
                for picture in _pictures(source, path, int(rows[0]) + picks):
                    yield shrunk(picture, size)

        notes = [f"{len(source.cameras)} cameras: {source.camera} is taken (--camera)"] if source.cameras[1:] else []
        return Footage(times, True, source.size, _ticks(source, mine), read, notes, whole=True)


def _ticks(source: Source, table: Any) -> Ticks:
    times = np.arange(len(table)) / source.fps
    column = table["action"].combine_chunks()
    while hasattr(column, "flatten") and column.type.num_fields:
        column = column.flatten()
    numbers = column.to_numpy(zero_copy_only=False).reshape(len(table), -1)
    names = source.axes
    if numbers.shape[1] != len(names):
        raise BadRecording(f"its actions have {numbers.shape[1]} numbers, not the {len(names)} described")

    def flag(name: str) -> Any:
        return table[name].to_numpy().astype(bool).reshape(-1) if name in table.column_names else None

    rewards = None
    if _REWARD in table.column_names:
        rewards = table[_REWARD].to_numpy().astype(np.float64)
    told = Outcomes(rewards, flag(_DONE), flag(_TRUNCATED))
    if numbers.dtype == bool:
        return Ticks(times, {name: numbers[:, i] for i, name in enumerate(names)}, told=told)
    return Ticks(times, axes={name: numbers[:, i].astype(np.float64) for i, name in enumerate(names)}, told=told)


def _pictures(source: Source, path: Path, rows: Ints) -> Iterator[Image.Image]:
    """The pictures that stand in those rows (not decreasing) of a data file."""
    parquet = needs("pyarrow.parquet", "lerobot")
    with parquet.ParquetFile(path) as file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        ends = np.cumsum(sizes)
        group = int(np.searchsorted(ends, rows[0], "right"))
        at, place = int(ends[group]) - sizes[group], 0
        groups = list(range(group, len(sizes)))
        for batch in file.iter_batches(batch_size=16, row_groups=groups, columns=[source.camera]):
            cells = batch.column(0).to_pylist()
            while place < len(rows) and rows[place] < at + len(cells):
                cell = cells[int(rows[place]) - at]
                data = cell.get("bytes")
                opened = io.BytesIO(data) if data else inside(source.root, str(cell.get("path")))
                with Image.open(opened, formats=("PNG", "JPEG")) as picture:
                    check_size(picture.height, picture.width)
                    yield picture.convert("RGB")
                place += 1
            at += len(cells)


def find(folder: Path, camera: str) -> list[Episode]:
    """The episodes of the data set in a folder, or of those in the folders in it."""
    roots = [folder] if (folder / INFO).is_file() else sorted(path.parent.parent for path in folder.glob(f"*/{INFO}"))
    return [episode for root in roots for episode in Source(root, camera).episodes()]
