"""What a data set on disk looks like: `dataset.json`, and the record of one row of the log."""

from __future__ import annotations

import json
import operator
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffworld.errors import UserError

FORMAT_VERSION = 1
DESCRIPTION, FRAMES, ROWS = "dataset.json", "frames.bin", "rows.bin"

# Flags of a row: one of the two kinds and, on the last step of an ended episode, why it ended.
STEP, FINAL, TERMINATED, TRUNCATED = 1, 2, 4, 8
ENDED = TERMINATED | TRUNCATED

Records = npt.NDArray[np.void]  # structured: episode, action, reward, flags, crc


@dataclass(frozen=True)
class Format:
    """Shape of the frames (H, W, 3) and form of the actions of a data set.

    Exactly one of `num_actions` (an action is an integer below it) and `multi_hot_size` (an action is that
    many zeros and ones) is set. `info` is free, in JSON's types: the environment's id, for instance.
    """

    frame_shape: tuple[int, int, int]
    num_actions: int | None = None
    multi_hot_size: int | None = None
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape, counts = self.frame_shape, (self.num_actions, self.multi_hot_size)
        if len(shape) != 3 or shape[2] != 3 or not all(_is_count(side) for side in shape):
            raise UserError(f"frame shape {shape} is not usable: give (height, width, 3)")
        if sum(count is not None for count in counts) != 1:
            raise UserError("give a data set either num_actions or multi_hot_size")
        if not all(count is None or _is_count(count) for count in counts):
            raise UserError(f"number of actions {counts} is not usable: give a whole number of at least 1")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame on disk."""
        height, width, channels = self.frame_shape
        return height * width * channels

    @property
    def record(self) -> np.dtype[np.void]:
        """Record of one row, little-endian and packed; `crc` (of the frame, then the rest) comes last."""
        form = "<i4" if self.multi_hot_size is None else f"({self.multi_hot_size},)u1"
        fields = {"episode": "<u4", "action": form, "reward": "<f4", "flags": "u1", "crc": "<u4"}
        return np.dtype(list(fields.items()))

    def check_action(self, action: Any) -> int | npt.NDArray[np.uint8]:
        """The action as it is stored; UserError if it is not of this data set's form."""
        if self.num_actions is not None:
            try:
                number = operator.index(action)
            except TypeError:
                raise UserError(f"action {action!r} is not a whole number") from None
            if not 0 <= number < self.num_actions:
                raise UserError(f"action {number} is not one of the data set's, 0..{self.num_actions - 1}")
            return number
        numbers = np.asarray(action)
        if numbers.shape != (self.multi_hot_size,) or not np.isin(numbers, (0, 1)).all():
            raise UserError(f"action is not a vector of {self.multi_hot_size} zeros and ones")
        return numbers.astype(np.uint8)

    def check_frame(self, frame: Any) -> npt.NDArray[np.uint8]:
        """The frame (H, W, 3) uint8 itself; UserError if it is anything else."""
        array = np.asarray(frame)
        if array.dtype != np.uint8 or array.shape != tuple(self.frame_shape):
            raise UserError(f"frame is {array.dtype} {array.shape}, but the data set stores uint8 {self.frame_shape}")
        return array

    def write(self, folder: Path) -> None:
        """Write `dataset.json` into the folder, whole or not at all."""
        action: dict[str, Any] = {"kind": "multi_hot", "size": int(self.multi_hot_size or 0)}
        if self.num_actions is not None:
            action = {"kind": "discrete", "num_actions": int(self.num_actions)}
        description = {
            "format_version": FORMAT_VERSION,
            "frame_shape": [int(side) for side in self.frame_shape],
            "action": action,
            "info": self.info,
        }
        try:
            text = json.dumps(description, indent=2) + "\n"
        except (TypeError, ValueError) as error:
            raise UserError(f"the data set's info cannot be written as JSON: {error}") from error
        beside = folder / (DESCRIPTION + ".tmp")
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(folder / DESCRIPTION)

    @classmethod
    def read(cls, folder: Path) -> Format:
        """Read `dataset.json`; UserError if it is missing, damaged or of another version."""
        path = folder / DESCRIPTION
        try:
            description = json.loads(path.read_text(encoding="utf-8"))
            version, action = description["format_version"], description["action"]
            if version == FORMAT_VERSION:
                discrete = {"discrete": True, "multi_hot": False}[action["kind"]]
                return cls(
                    frame_shape=tuple(description["frame_shape"]),
                    num_actions=action["num_actions"] if discrete else None,
                    multi_hot_size=None if discrete else action["size"],
                    info=dict(description["info"]),
                )
        except FileNotFoundError:
            raise UserError(f"no data set at {folder} ({DESCRIPTION} is missing): check the path") from None
        except OSError as error:
            raise UserError(f"cannot read {path} ({error.strerror}): check its permissions") from error
        except (UserError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path} is damaged: restore it from a copy") from error
        raise UserError(f"{path} has format version {version}, not {FORMAT_VERSION}: use the diffworld that wrote it")


def _is_count(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= 1
