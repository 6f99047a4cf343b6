"""A data set of episodes in a folder, written step by step and safe against being killed at any moment."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffworld.data.episodes import Episodes
from diffworld.data.frames import Compress, Packed, frame_form
from diffworld.data.links import Links
from diffworld.data.log import FrameLog, Synced
from diffworld.data.schema import (
    DESCRIPTION,
    FINAL,
    FRAMES,
    HELD_OUT,
    ROWS,
    STEP,
    SYNCED,
    TERMINATED,
    TRUNCATED,
    DatasetSchema,
)
from diffworld.game import Encoded, GameSpec
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import write_error, write_json

MAX_EPISODES = 2**32  # ids are stored in 32 bits


class Dataset(AbstractContextManager["Dataset"]):
    """Episodes of (frame, action, reward, terminated, truncated), several of which may be growing at once.

    One process may write, any number may read: a reader sees what was there when it opened. Make one with
    `create` or `open`; it is a context manager. `schema` has the game (`spec`) and `info`; `dropped_rows`
    tells how many full-size rows at the tail opening left out, as damaged or an open end. `num_steps` counts
    environment steps, over all episodes.

    sync(): wait until all steps are on the disk itself; a kill needs no `sync`, a power loss does. A writer does so
    every second, and opening refuses a data set that has lost what was synced.
    close(): sync, and release the files and the writer's lock. Every step was written at once.
    pack(frame): a frame as it will be stored, to be given to `append` in its stead: compressing large frames takes
    time, and any thread may do it.
    """

    def __init__(self, log: FrameLog, schema: DatasetSchema) -> None:
        self.path, self.schema, self.spec, self.dropped_rows = log.folder, schema, schema.spec, log.dropped_rows
        self._log, self.sync, self.close, self.pack = log, log.sync, log.close, log.pack
        self._episodes: Episodes | None = None
        self._index_rows()

    @classmethod
    def create(
        cls,
        path: str | Path,
        spec: GameSpec,
        info: dict[str, Any] | None = None,
        compress: Compress = "auto",
        links: Links | None = None,
    ) -> Dataset:
        """Start an empty data set of a game, open for writing.

        `compress`: whether each frame is compressed, without loss; auto does so from 128x128 pixels on. With `links`
        frames stay in those files, and `append` takes their places (`Packed`).
        UserError if the folder already holds one, or cannot be written.
        """
        folder = Path(path)
        schema = DatasetSchema(spec, dict(info or {}), "linked" if links else frame_form(spec, compress))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if (folder / DESCRIPTION).exists():
                raise UserError(f"{folder} already holds a data set: open it, or choose another folder")
            for file in (folder / FRAMES, folder / ROWS):
                file.touch()
                if file.stat().st_size:
                    raise UserError(f"{file} is there without its {DESCRIPTION}: choose another folder")
            write_json(folder / SYNCED, asdict(Synced(0)))
            if links:
                links.write(folder)
            schema.write(folder)  # last: a folder with a description is a whole data set
        except OSError as error:
            raise write_error(folder, error) from error
        return cls.open(folder, writable=True)

    @classmethod
    def open(
        cls,
        path: str | Path,
        writable: bool = False,
        num_rows: int | None = None,
        checking: Callable[[int], None] | None = None,
    ) -> Dataset:
        """Open a data set, for writing if `writable` (one process at a time).

        Rows that a writer synced, or checked, are read again only when their files have changed since. With `checking`
        all are, and it is called now and then with how many more.
        With `num_rows` (a checkpoint's) only that many rows are looked at, and a writer cuts the rest off:
        the same as `truncate` after opening, but damage in the rows to be cut does not matter. UserError if
        there is no data set, it is corrupt, shorter than it was or than `num_rows`, or another process writes it.
        """
        schema = DatasetSchema.read(Path(path))
        return cls(FrameLog(Path(path), schema, writable, num_rows, checking), schema)

    @property
    def num_rows(self) -> int:
        """Rows in the log, steps and final observations; a checkpoint keeps it, for `truncate`."""
        return self._log.num_rows

    @property
    def num_episodes(self) -> int:
        """Episodes that have a step, ended or not."""
        return len(self.episodes)

    @property
    def episodes(self) -> Episodes:
        """Episodes in order of collection, those without a step left out. Rebuilt only after a change."""
        if self._episodes is None:
            self._episodes = Episodes(self._log.records)
        return self._episodes

    def new_episode(self, held_out: bool = False) -> int:
        """Id for a new episode: consecutive from 0, but an id without a step is forgotten on closing.

        Ask for it when the first step is at hand, and a resumed run gets the same ids. `held_out`: the episode is set
        aside to measure on.
        """
        if self._next_id == MAX_EPISODES:
            raise UserError(f"{self.path} has no episode ids left: start another data set")
        self._growing[self._next_id] = HELD_OUT * held_out
        self._next_id += 1
        return self._next_id - 1

    def append(
        self,
        episode: int,
        frame: npt.NDArray[np.uint8] | Packed,
        action: Encoded | np.integer[Any] | npt.NDArray[np.integer[Any]],
        reward: float,
        terminated: bool,
        truncated: bool,
        final_frame: npt.NDArray[np.uint8] | Packed | None = None,
    ) -> None:
        """Add one step: the frame (H, W, 3) uint8 seen (or packed), the action taken on it, and what followed.

        `final_frame`, the frame an ended episode leads to, is required on the step that ends it and only
        there. UserError on bad input, or if the disk refuses; the data set is then unchanged.
        """
        ended = bool(terminated or truncated)
        if episode not in self._growing:
            raise UserError(f"episode {episode} has ended or was never begun: get an id from new_episode()")
        if ended != (final_frame is not None):
            raise UserError("give final_frame on the step that ends an episode, and on no other")
        if not np.isfinite(np.float32(reward)):
            raise UserError(f"reward {reward} is not a finite float32: check the environment")
        records = np.zeros(1 + ended, self.schema.record)
        records["episode"] = episode
        records["action"][0] = self.spec.actions.check(action)
        records["reward"][0] = reward
        records["flags"][0] = STEP | TERMINATED * bool(terminated) | TRUNCATED * bool(truncated)
        records["flags"][1:] = FINAL
        records["flags"] |= self._growing[episode]
        frames = [frame] if final_frame is None else [frame, final_frame]
        self._log.append([each if isinstance(each, Packed) else self.pack(each) for each in frames], records)
        self.num_steps += 1
        self._episodes = None
        if ended:
            del self._growing[episode]

    def refresh(self, num_rows: int) -> None:
        """Of a reader: see the rows up to `num_rows`, which the writer has told; none is read twice.

        UserError if they do not come into sight.
        """
        if num_rows > self.num_rows:
            self._log.refresh(num_rows)
            self._index_rows()

    def truncate(self, num_rows: int) -> None:
        """Cut the log to its first `num_rows` rows: what came later is gone, and what it ended grows again.

        A cut between an ended step and its final observation takes the step too. UserError if there are fewer
        rows than that.
        """
        self._log.cut(num_rows)
        self._index_rows()

    def episode_frames(self, episode: int) -> npt.NDArray[np.uint8]:
        """(T, H, W, 3) frames of the steps of the episode with that id."""
        return self.gather_frames(self.episodes.rows(self.episodes.position(episode)))

    def final_frame(self, episode: int) -> npt.NDArray[np.uint8]:
        """(H, W, 3) frame after the end of the episode with that id; UserError if it has not ended."""
        row = self.episodes.final_rows[self.episodes.position(episode)]
        if row < 0:
            raise UserError(f"episode {episode} has not ended: it has no final frame yet")
        return self.gather_frames(np.asarray(row))

    def gather_frames(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """(*rows.shape, H, W, 3) frames of those rows of the log, each within 0..num_rows - 1."""
        frames = np.empty((*rows.shape, *self.spec.frame_shape), np.uint8)
        self._log.gather(rows.ravel(), frames.reshape(-1, *self.spec.frame_shape))
        return frames

    def _index_rows(self) -> None:
        """Take up the log's state: at opening, and after a cut."""
        self._episodes = episodes = Episodes(self._log.records)
        self.num_steps = len(episodes.step_rows)
        growing = ~episodes.ended
        kept = zip(episodes.ids[growing].tolist(), episodes.held_out[growing].tolist(), strict=True)
        self._growing = {episode: HELD_OUT * held_out for episode, held_out in kept}  # with the flag of all its rows
        self._next_id = int(episodes.ids.max(initial=-1)) + 1

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.close()
        except UserError:
            if kind is None:  # else what went wrong first is what is to be told
                raise
