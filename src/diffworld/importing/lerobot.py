"""LeRobot data sets, versions 3.0 (many episodes a file) and 2.x (a file an episode)."""

from __future__ import annotations

import functools
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffworld.importing.controls import Ints, Outcomes, Ticks, columns_of
from diffworld.importing.recording import (
    BadRecording,
    Footage,
    Recording,
    check_size,
    inside,
    needs,
    picked,
    picture,
    shrunk,
)
from diffworld.importing.video import Video
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import read_json
from diffworld.runtime.frames import Frame

INFO = "meta/info.json"
_REWARD, _DONE, _TRUNCATED = "next.reward", "next.done", "next.truncated"


class Source:
    """A data set's folder and its description."""

    def __init__(self, root: Path, camera: str) -> None:
        self.root = root
        self.info = read_json(root / INFO)
        self.version, self.fps = str(self.info["codebase_version"]), float(self.info["fps"])
        self.features: Mapping[str, Any] = dict(self.info["features"])
        self.chunk = int(self.info.get("chunks_size", 1000))
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
        """A name for each number of an action, as far as they have any."""
        names = self.features["action"].get("names")
        if isinstance(names, dict):
            names = [name for part in names.values() for name in (part if isinstance(part, list) else [part])]
        return [str(name) for name in names] if isinstance(names, list) else []

    def episodes(self) -> list[Episode]:
        """All episodes, in order."""
        if self.version.startswith("v2."):
            lines = (self.root / "meta/episodes.jsonl").read_text(encoding="utf-8").splitlines()
            numbers = [int(json.loads(line)["episode_index"]) for line in lines if line.strip()]
            places = [{"episode_chunk": number // self.chunk, "episode_index": number} for number in numbers]
            return [self._episode(place["episode_index"], place, place, 0.0) for place in places]
        parquet, key = needs("pyarrow.parquet", "lerobot"), f"videos/{self.camera}/"
        found = []
        for file in sorted((self.root / "meta/episodes").glob("*/*.parquet")):
            names = [name for name in parquet.read_schema(file).names if not name.startswith(("stats/", "tasks"))]
            for row in parquet.read_table(file, columns=names).to_pylist():
                data, video = (
                    {name: int(row.get(kind + name, 0)) for name in ("chunk_index", "file_index")}
                    for kind in ("data/", key)
                )
                begin = float(row.get(f"{key}from_timestamp", 0))
                found.append(self._episode(int(row["episode_index"]), data, video, begin))
        if not found:
            raise UserError(f"{self.root} has no episodes: none in meta/episodes")
        return sorted(found, key=lambda episode: episode.index)

    def _episode(self, index: int, data: Mapping[str, int], video: Mapping[str, int], begin: float) -> Episode:
        filmed = self.features[self.camera]["dtype"] == "video"
        path = _filled(self.info["video_path"], video_key=self.camera, **video) if filmed else ""
        name = f"{self.root.name} episode {index}"
        return Episode(name, self, index, _filled(self.info["data_path"], **data), path, begin)

    @functools.lru_cache(maxsize=4)  # noqa: B019, the files of neighbours are the same
    def table(self, path: Path) -> Any:
        """What a data file says of actions and outcomes."""
        parquet = needs("pyarrow.parquet", "lerobot")
        there = set(parquet.read_schema(path).names)
        wanted = ("episode_index", "frame_index", "action", _REWARD, _DONE, _TRUNCATED)
        return parquet.read_table(path, columns=[name for name in wanted if name in there])


@dataclass(frozen=True)
class Episode(Recording):
    """One episode: where its rows are, and from which second on its frames."""

    source: Source
    index: int
    data: str
    video: str
    begin: float

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
        first, times = int(rows[0]), np.arange(len(rows)) / source.fps
        if self.video:
            video = Video(inside(source.root, self.video))
            if not video.path.is_file():
                raise BadRecording(f"its video {self.video} is missing")

        def read(picks: Ints, size: tuple[int, int]) -> Iterator[Frame]:
            if self.video:
                return video.read(self.begin + times[picks], size)
            return _pictures(source, path, first + picks, size)

        ticks = _ticks(source, table.slice(first, len(rows)))
        notes = [f"{len(source.cameras)} cameras: {source.camera} is taken (--camera)"] if source.cameras[1:] else []
        return Footage(times, True, source.size, ticks, read, notes, whole=True)


def _ticks(source: Source, table: Any) -> Ticks:
    column = table["action"].combine_chunks()
    while hasattr(column, "flatten") and column.type.num_fields:
        column = column.flatten()
    numbers = column.to_numpy(zero_copy_only=False).reshape(len(table), -1)
    described = int(np.prod(source.features["action"]["shape"]))
    if numbers.shape[1] != described:
        raise BadRecording(f"its actions have {numbers.shape[1]} numbers, not the {described} described")

    def told(name: str, kind: type) -> Any:
        return table[name].to_numpy().astype(kind).reshape(-1) if name in table.column_names else None

    times = np.arange(len(table)) / source.fps
    outcomes = Outcomes(told(_REWARD, float), told(_DONE, bool), told(_TRUNCATED, bool))
    columns = columns_of(numbers, "action", source.axes)
    if numbers.dtype == bool:
        return Ticks(times, outcomes, buttons=columns)
    return Ticks(times, outcomes, axes={name: values.astype(float) for name, values in columns.items()})


def _pictures(source: Source, path: Path, rows: Ints, size: tuple[int, int]) -> Iterator[Frame]:
    """The pictures that stand in those rows (not decreasing) of a data file."""
    with needs("pyarrow.parquet", "lerobot").ParquetFile(path) as file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        group = int(np.searchsorted(np.cumsum(sizes), rows[0], "right"))
        batches = file.iter_batches(16, row_groups=list(range(group, len(sizes))), columns=[source.camera])
        cells = (cell for batch in batches for cell in batch.column(0))
        for cell in picked(cells, rows, sum(sizes[:group])):
            stored = cell.as_py()
            data = stored.get("bytes")
            where = io.BytesIO(data) if data else inside(source.root, str(stored.get("path")))
            with picture(where, ("PNG", "JPEG")) as opened:
                frame = shrunk(opened, size)
            yield frame


def _filled(template: str, **values: str | int) -> str:
    """A path such as "data/chunk-{chunk_index:03d}/x.parquet" with its values; nothing else is looked up in it."""

    def value(match: re.Match[str]) -> str:
        name, width = match.group(1), match.group(2)
        if name not in values:
            raise BadRecording(f"its path {template[:100]!r} asks for {name}, which is not known")
        return str(values[name]).zfill(int(width or 0))

    return re.sub(r"\{(\w+)(?::0?(\d{1,2})d)?\}", value, template)


def find(folder: Path, camera: str) -> list[Episode]:
    """The episodes of the data set in a folder, or of those in the folders in it."""
    roots = [folder] if (folder / INFO).is_file() else sorted(path.parent.parent for path in folder.glob(f"*/{INFO}"))
    return [episode for root in roots for episode in Source(root, camera).episodes()]
