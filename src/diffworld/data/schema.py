"""What a data set on disk looks like: `dataset.json`, and the record of one row of the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from diffworld.game import ActionSpace, GameSpec, Keys, numbered
from diffworld.runtime.errors import UserError, one_line
from diffworld.runtime.files import read_json, write_json

RAW_VERSION, FORMAT_VERSION = 2, 3
"""Of data sets whose frames are raw, which older versions read, and of all others."""
DESCRIPTION, FRAMES, ROWS, SYNCED = "dataset.json", "frames.bin", "rows.bin", "synced.json"

# Flags of a row: one of the two kinds; on the last step of an ended episode, why it ended; on every row of an episode
# that is set aside to measure on, that it is.
STEP, FINAL, TERMINATED, TRUNCATED, HELD_OUT = 1, 2, 4, 8, 16
ENDED = TERMINATED | TRUNCATED

FrameForm = Literal["raw", "webp", "linked"]
"""How frames are stored: as they are, each compressed without loss, or not at all: in files of somebody else."""
_PLACE: Mapping[FrameForm, dict[str, str]] = {
    "raw": {},
    "webp": {"offset": "<u8", "bytes": "<u4"},
    "linked": {"file": "<u4", "offset": "<u8"},
}
"""What a record says of where its frame lies."""

Records = npt.NDArray[np.void]  # structured: episode, action, reward, flags, where the frame lies, crc


@dataclass(frozen=True)
class DatasetSchema:
    """The game that a data set is of, and how its frames are stored. `info` is free, in JSON's types."""

    spec: GameSpec
    info: dict[str, Any] = field(default_factory=dict)
    frames: FrameForm = "raw"

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame as it is."""
        return 3 * self.spec.height * self.spec.width

    @property
    def record(self) -> np.dtype[np.void]:
        """Record of one row, little-endian and packed; `crc` (of the frame, then the rest) comes last."""
        form = "<i4" if self.spec.actions.is_discrete else f"({self.spec.actions.size},)u1"
        fields = {"episode": "<u4", "action": form, "reward": "<f4", "flags": "u1", **_PLACE[self.frames], "crc": "<u4"}
        return np.dtype(list(fields.items()))

    def check_frame(self, frame: Any) -> npt.NDArray[np.uint8]:
        """The frame (H, W, 3) uint8 itself; UserError if it is anything else."""
        array = np.asarray(frame)
        if array.dtype != np.uint8 or array.shape != self.spec.frame_shape:
            raise UserError(
                f"frame is {array.dtype} {array.shape}, not uint8 {self.spec.frame_shape} as in the data set"
            )
        return array

    def write(self, folder: Path) -> None:
        """Write `dataset.json` into the folder, whole or not at all."""
        version = RAW_VERSION if self.frames == "raw" else FORMAT_VERSION
        told = {"game": self.spec.to_json(), "frames": self.frames, "info": self.info}
        description = {"format_version": version, **told}
        try:
            write_json(folder / DESCRIPTION, description)
        except (TypeError, ValueError) as error:
            raise UserError(f"the data set's info cannot be written as JSON: {error}") from error

    @classmethod
    def read(cls, folder: Path) -> DatasetSchema:
        """Read `dataset.json`; UserError if it is missing, damaged or of a version unknown here."""
        path, advice = folder / DESCRIPTION, "restore it from a copy"
        if not path.exists():
            raise UserError(f"no data set at {folder} ({DESCRIPTION} is missing): check the path")
        description = read_json(path, advice)
        try:
            version = description["format_version"]
            if version in (RAW_VERSION, FORMAT_VERSION):
                frames = description.get("frames", "raw")
                if frames not in get_args(FrameForm) or (version == RAW_VERSION) != (frames == "raw"):
                    raise UserError(f"it says that frames are stored as {frames}")
                return cls(GameSpec.from_json(description["game"]), dict(description["info"]), frames)
            if version == 1:
                return _from_version_1(description)
        except (UserError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UserError(f"{path} is damaged ({one_line(error)}): {advice}") from error
        known = f"{RAW_VERSION} or {FORMAT_VERSION}"
        raise UserError(f"{path} has format version {version}, not {known}: use the diffworld that wrote it")


def _from_version_1(description: dict[str, Any]) -> DatasetSchema:
    """Before there was a `GameSpec`: the number of actions in `action`, their names and the game in `info`."""
    action, info = description["action"], dict(description["info"])
    height, width, channels = description["frame_shape"]
    if channels != 3:
        raise UserError("frames have three channels")
    if {"discrete": True, "multi_hot": False}[action["kind"]]:
        count, names = action["num_actions"], info.get("action_names")
        known = names if isinstance(names, list) and len(names) == count else numbered(count)
        actions = ActionSpace.discrete([str(name) for name in known])
    else:
        actions = ActionSpace((Keys(numbered(action["size"])),))
    presented = dict(info.get("environment") or {})
    spec = GameSpec(str(info.get("env", "")), height, width, actions, presented=presented)
    return DatasetSchema(GameSpec.from_json(spec.to_json()), info)  # checks the types
