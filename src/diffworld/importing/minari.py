"""Minari data sets, stored as HDF5, Arrow or Parquet, whose observations are or contain pictures.

The environment that a data set names is never made: that would run its code.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium.spaces as spaces
import numpy as np
from numpy.typing import NDArray

from diffworld.game import numbered
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
from diffworld.runtime.errors import UserError, one_line
from diffworld.runtime.files import read_json
from diffworld.runtime.frames import Frame

METADATA, HDF5 = "metadata.json", "main_data.hdf5"
_ROWS = 16  # that are read at a time
_SMALLEST = 8  # pixels: less is a vector of numbers


class Source:
    """A data set's folder `data`, and its spaces."""

    def __init__(self, data: Path, camera: str) -> None:
        minari = needs("minari.serialization", "minari")
        self.data = data
        metadata = read_json(data / METADATA)
        self.format, self.count = str(metadata.get("data_format", "hdf5")), int(metadata["total_episodes"])
        described = [metadata.get(name) for name in ("observation_space", "action_space")]
        if None in described:
            raise UserError(f"{data} does not describe its spaces, and its environment is not run to ask for them")
        self.observations, self.actions = (minari.deserialize_space(text) for text in described)
        if self.format not in ("hdf5", "arrow", "parquet"):
            raise UserError(f"{data} is stored as {self.format}: hdf5, arrow and parquet are known")
        pictures = dict(_pictures(self.observations, ()))
        if not pictures:
            raise UserError(f"{data} has observations {one_line(self.observations)}, and no pictures to learn from")
        names = {"/".join(path) or "observation": path for path in pictures}
        if camera and camera not in names:
            raise UserError(f"{data} has no pictures '{camera}': choose one of {', '.join(names)}")
        self.camera = names[camera] if camera else next(iter(pictures))
        self.shape = pictures[self.camera]
        check_size(*self.shape[:2])


@dataclass(frozen=True)
class Episode(Recording):
    """One episode: T + 1 observations and T actions."""

    source: Source
    index: int

    def open(self) -> Footage:
        """See `Recording`."""
        source = self.source
        stored: _Hdf5 | _Arrow = (_Hdf5 if source.format == "hdf5" else _Arrow)(source, self.index)
        rewards, terminated, truncated = (stored.array((name,)) for name in ("rewards", "terminations", "truncations"))
        times = np.arange(len(rewards) + 1, dtype=np.float64)
        told = Outcomes(rewards.astype(np.float64), terminated.astype(bool), truncated.astype(bool))
        ticks = _with_actions(Ticks(times[:-1], told), source.actions, ("actions",), stored)

        def read(picks: Ints, size: tuple[int, int]) -> Iterator[Frame]:
            for value in stored.rows(("observations", *source.camera), picks):
                yield _frame(value, source.shape, size)

        return Footage(times, False, (source.shape[0], source.shape[1]), ticks, read, whole=True)


class _Hdf5:
    """The columns of one episode of an HDF5 file; links to other files are refused."""

    def __init__(self, source: Source, index: int) -> None:
        self._h5py = needs("h5py", "minari")
        self._file, self._group = inside(source.data, HDF5), f"episode_{index}"

    def array(self, path: tuple[str, ...]) -> NDArray[Any]:
        """A whole column."""
        with self._h5py.File(self._file, "r") as file:
            return np.asarray(self._column(file, path)[()])

    def rows(self, path: tuple[str, ...], picks: Ints) -> Iterator[NDArray[Any]]:
        """Those rows of a column, one after the other."""
        with self._h5py.File(self._file, "r") as file:
            column = self._column(file, path)
            for pick in picks:
                yield np.asarray(column[int(pick)])

    def _column(self, file: Any, path: tuple[str, ...]) -> Any:
        node = file
        for name in (self._group, *path):
            if not isinstance(node.get(name, getlink=True), self._h5py.HardLink):
                raise BadRecording(f"{'/'.join(path)} is missing, or a link to elsewhere")
            node = node[name]
        if not isinstance(node, self._h5py.Dataset) or node.external or node.is_virtual:
            raise BadRecording(f"{'/'.join(path)} is no column of this file")
        return node


class _Arrow:
    """The columns of one episode of an Arrow or Parquet file, read in small pieces."""

    def __init__(self, source: Source, index: int) -> None:
        self._arrow, self._kind = needs("pyarrow", "minari"), source.format
        self._files = sorted(inside(source.data, str(index)).glob(f"*.{source.format}"))
        if not self._files:
            raise BadRecording(f"its folder has no .{source.format} file")

    def array(self, path: tuple[str, ...]) -> NDArray[Any]:
        """A whole column; an action, reward or end beyond the last step is padding."""
        pieces = [_numbers(column) for column in self._pieces(path)]
        whole = np.concatenate(pieces)
        return whole[:-1] if path[0] != "observations" else whole

    def rows(self, path: tuple[str, ...], picks: Ints) -> Iterator[NDArray[Any]]:
        """Those rows of a column, one after the other."""
        cells = (column.slice(place, 1) for column in self._pieces(path) for place in range(len(column)))
        for cell in picked(cells, picks):
            binary = self._arrow.types.is_binary(cell.type)
            yield np.frombuffer(cell[0].as_py(), np.uint8) if binary else _numbers(cell)[0]

    def _pieces(self, path: tuple[str, ...]) -> Iterator[Any]:
        for file in self._files:
            for batch in self._batches(file, path[0]):
                column = batch.column(batch.schema.names.index(path[0]))
                for name in path[1:]:
                    column = column.field(name)
                yield column

    def _batches(self, file: Path, column: str) -> Iterator[Any]:
        if self._kind == "parquet":
            with needs("pyarrow.parquet", "minari").ParquetFile(file) as opened:
                yield from opened.iter_batches(batch_size=_ROWS, columns=[column])
            return
        with self._arrow.memory_map(str(file)) as mapped, needs("pyarrow.ipc", "minari").open_file(mapped) as opened:
            for i in range(opened.num_record_batches):
                batch = opened.get_batch(i)
                for start in range(0, batch.num_rows, _ROWS):
                    yield batch.slice(start, _ROWS)


def _numbers(column: Any) -> NDArray[Any]:
    """A piece of a column as an array (n,) or (n, K)."""
    count = len(column)
    while column.type.num_fields:  # a list of fixed size
        column = column.flatten()
    values = np.asarray(column.to_numpy(zero_copy_only=False))
    return values if len(values) == count else values.reshape(count, -1)


def _pictures(space: spaces.Space[Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], tuple[int, ...]]]:
    """(path, shape) of each part of the observations that is a picture."""
    match space:
        case spaces.Dict():
            for name, inner in space.items():
                yield from _pictures(inner, (*path, name))
        case spaces.Tuple():
            for place, inner in enumerate(space.spaces):
                yield from _pictures(inner, (*path, f"_index_{place}"))
        case spaces.Box() if space.dtype == np.uint8 and len(space.shape) in (2, 3):
            channels = space.shape[2:] in ((), (1,), (3,))
            if channels and min(space.shape[:2]) >= _SMALLEST:
                yield path, space.shape


def _frame(value: NDArray[Any], shape: tuple[int, ...], size: tuple[int, int]) -> Frame:
    """A frame of a stored picture: pixels, or a JPEG."""
    if value.size == int(np.prod(shape)):
        return shrunk(value.reshape(shape).squeeze(), size)
    with picture(io.BytesIO(value.tobytes()), ("JPEG",)) as opened:
        return shrunk(opened, size)


def _with_actions(ticks: Ticks, space: spaces.Space[Any], path: tuple[str, ...], stored: _Hdf5 | _Arrow) -> Ticks:
    """Ticks with the actions of a space, part by part."""
    name = " ".join(path[1:]).replace("_index_", "") or "action"
    match space:
        case spaces.Dict() | spaces.Tuple():
            pairs = space.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
            for key, part in pairs:
                place = str(key) if isinstance(space, spaces.Dict) else f"_index_{key}"
                ticks = _with_actions(ticks, part, (*path, place), stored)
            return ticks
        case spaces.Discrete():
            return _chosen(ticks, {name: stored.array(path).reshape(-1)}, [int(space.n)], [int(space.start)])
        case spaces.MultiDiscrete() if space.nvec.ndim == 1:
            columns = columns_of(stored.array(path), name)
            return _chosen(ticks, columns, space.nvec.tolist(), space.start.tolist())
        case spaces.MultiBinary():
            down = {each: values == 1 for each, values in columns_of(stored.array(path), name).items()}
            return replace(ticks, buttons={**ticks.buttons, **down})
        case spaces.Box():
            axes = columns_of(stored.array(path).astype(np.float64), name)
            return replace(ticks, axes={**ticks.axes, **axes})
    raise BadRecording(f"its actions of {one_line(space, 80)} are neither choices nor keys nor numbers")


def _chosen(ticks: Ticks, columns: Mapping[str, NDArray[Any]], sizes: list[int], starts: list[int]) -> Ticks:
    """Ticks with choices, each a column of numbers from its start on."""
    choices, labels = dict(ticks.choices), dict(ticks.labels)
    for (name, values), size, start in zip(columns.items(), sizes, starts, strict=True):
        choices[name], labels[name] = values.astype(np.int64) - start, numbered(size, start)
        if not ((choices[name] >= 0) & (choices[name] < size)).all():
            raise BadRecording(f"its actions go from {values.min()} to {values.max()}, of {size} from {start} on")
    return replace(ticks, choices=choices, labels=labels)


def find(folder: Path, camera: str) -> list[Episode]:
    """The episodes of the data set in a folder, or of those in the folders in it."""
    found: list[Episode] = []
    for path in sorted({*folder.glob(METADATA), *folder.glob(f"data/{METADATA}"), *folder.rglob(f"*/data/{METADATA}")}):
        data = path.parent
        if (data / HDF5).is_file() or any(data.glob("0/*")):
            source, name = Source(data, camera), (data.parent if data.name == "data" else data).name
            found += [Episode(f"{name} episode {index}", source, index) for index in range(source.count)]
    return found
