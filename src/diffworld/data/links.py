"""Frames that lie in files of somebody else: which files those are, and whether they are still as they were."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

from diffworld.runtime.checked import read_as
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import read_json, write_json

LINKS = "links.json"


@dataclass(frozen=True)
class LinkedFile:
    """A file that frames lie in, as it was when it was linked."""

    path: str
    """From the root of the file system."""
    bytes: Annotated[int, Ge(0)]
    modified: int
    """When it was last changed (ns)."""

    @classmethod
    def of(cls, path: Path) -> LinkedFile:
        """A file as it is now; OSError if it is not there."""
        status = path.stat()
        return cls(os.path.abspath(path), status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class Links:
    """The files of a linked data set, numbered from 0 as its records name them, and the order of a pixel's numbers."""

    files: tuple[LinkedFile, ...]
    channels: Literal["rgb", "bgr"]

    @classmethod
    def of(cls, paths: Iterable[Path], channels: Literal["rgb", "bgr"]) -> Links:
        """These files as they are now; UserError if one is not there."""
        try:
            return cls(tuple(map(LinkedFile.of, paths)), channels)
        except OSError as error:
            raise UserError(f"cannot link {error.filename} ({error.strerror}): check the path") from error

    def write(self, folder: Path) -> None:
        """Write `links.json` into the folder of a data set, whole or not at all."""
        write_json(folder / LINKS, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Links:
        """Read `links.json`; UserError if it is damaged, or one of the files is gone or was changed."""
        path, advice = folder / LINKS, "restore it from a copy, or import again"
        data = read_json(path, advice)
        try:
            found = read_as(cls, data, str(path))
        except UserError as error:
            raise UserError(f"{error}: {advice}") from error
        for file in found.files:
            try:
                same = LinkedFile.of(Path(file.path)) == file
            except (OSError, ValueError) as error:
                raise UserError(
                    f"{folder} has frames in {file.path}, which is gone: put it back, or import again"
                ) from error
            if not same:
                raise UserError(f"{folder} has frames in {file.path}, which was changed since: import again")
        return found
