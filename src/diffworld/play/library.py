"""The library: data sets and recordings, listed and read for a browser."""

import re
import shutil
import tempfile
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffworld.data import Dataset, Episode
from diffworld.data.episodes import Episodes
from diffworld.data.schema import DESCRIPTION, FRAMES, ROWS, DatasetSchema
from diffworld.play.recording import FilmKind, export_film
from diffworld.play.worlds import Tape
from diffworld.runtime.errors import UserError

MAX_FILMS = 32
"""Exported films kept, the last ones."""
ID_LENGTH = 60


@dataclass(frozen=True, eq=False)
class Shelf:
    """One data set as it was when it was last looked at. Nothing of it is kept open."""

    folder: Path
    size: int
    """Bytes of its records, by which growth is noticed."""
    schema: DatasetSchema
    episodes: Episodes


class Library:
    """Data sets in the `roots`, by what they are: each root is a data set, or a folder of data sets.

    Folders are looked through anew at each listing, so a new recording appears. Everything asked for goes through
    an id of that list: no path comes from outside. Every method raises UserError, one line, for what is not there.
    """

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self._roots = dict(roots)
        self._shelves: dict[Path, Shelf] = {}
        self._films = Path(tempfile.mkdtemp(prefix="diffworld-films-"))
        self.close = weakref.finalize(self, shutil.rmtree, self._films, ignore_errors=True)
        """Removes the films; at the latest, the end of the program does."""
        self._lock = threading.Lock()

    def datasets(self) -> list[dict[str, Any]]:
        """What there is: id, name, kind (its root), episodes, steps, frame_size, info, and error where damaged."""
        return [self._describe(*entry) for entry in self._find().items()]

    def episodes(self, dataset_id: str, offset: int, count: int) -> list[dict[str, Any]]:
        """Episodes in order of collection: id, steps, return, terminated, truncated, ended, reward_steps.

        `reward_steps` is a list of [step, sign] of every step with a reward.
        """
        episodes = self._shelf(dataset_id).episodes
        return [_row(episodes[i]) for i in range(max(0, offset), min(len(episodes), offset + count))]

    def episode_table(self, dataset_id: str, episode: int) -> dict[str, Any]:
        """All of an episode but its frames: actions, rewards, terminated, truncated, action_names, frames."""
        shelf = self._shelf(dataset_id)
        found = _episode(shelf, episode)
        return {
            "actions": found.actions.tolist(),
            "rewards": found.rewards.tolist(),
            "terminated": found.terminated,
            "truncated": found.truncated,
            "frames": found.length + found.ended,
            "action_names": list(shelf.schema.spec.actions.names),
        }

    def frame(self, dataset_id: str, episode: int, step: int) -> NDArray[np.uint8]:
        """The frame (H, W, 3) of a step; an ended episode has one more, its final observation."""
        shelf = self._shelf(dataset_id)
        rows = _rows(shelf, episode)
        if not 0 <= step < len(rows):
            raise UserError(f"episode {episode} has no frame {step}: choose one of 0..{len(rows) - 1}")
        return _read_frames(shelf, rows[step : step + 1])[0]

    def tape(self, dataset_id: str, episode: int, context_frames: int) -> Tape:
        """The episode, to be played again."""
        shelf = self._shelf(dataset_id)
        found, frames = _episode(shelf, episode), _read_frames(shelf, _rows(shelf, episode))
        actions = found.actions.tolist() if found.actions.ndim == 1 else list(found.actions)
        return Tape(frames, actions, found.rewards.tolist(), found.terminated, context_frames)

    def export(self, dataset_id: str, episode: int, kind: FilmKind, fps: float) -> Path:
        """The episode as a film in a temporary file, kept until `MAX_FILMS` newer ones are there."""
        shelf = self._shelf(dataset_id)
        rows = _rows(shelf, episode)
        path = self._films / f"{dataset_id}-episode-{episode}-{len(rows)}-at-{fps:g}.{kind}"
        if not path.exists():
            export_film(path, _read_frames(shelf, rows), kind, fps)
            with self._lock:
                films = sorted(self._films.glob("*.*"), key=lambda film: film.stat().st_mtime)
                for old in films[:-MAX_FILMS]:
                    old.unlink(missing_ok=True)
        return path

    def _find(self) -> dict[str, tuple[str, Path]]:
        """id -> (root, folder) of every data set there is now."""
        found: dict[str, tuple[str, Path]] = {}
        for root, folder in self._roots.items():
            inside = sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []  # newest recordings first
            for each in [folder, *inside]:
                if (each / DESCRIPTION).is_file():
                    name = root if each == folder else f"{root}.{each.name}"
                    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:ID_LENGTH]
                    while plain in found:
                        plain += "_"
                    found[plain] = root, each
        return found

    def _describe(self, dataset_id: str, place: tuple[str, Path]) -> dict[str, Any]:
        root, folder = place
        entry: dict[str, Any] = {"id": dataset_id, "name": folder.name, "kind": root}
        try:
            shelf = self._open(folder)
        except UserError as error:
            return {**entry, "episodes": 0, "steps": 0, "frame_size": None, "info": {}, "error": str(error)}
        return {
            **entry,
            "episodes": len(shelf.episodes),
            "steps": int(shelf.episodes.lengths.sum()),
            "frame_size": list(shelf.schema.spec.frame_size),
            "info": shelf.schema.info,
            "error": None,
        }

    def _shelf(self, dataset_id: str) -> Shelf:
        found = self._find()
        if dataset_id not in found:
            raise UserError(f"there is no data set '{dataset_id}': look at the list again")
        return self._open(found[dataset_id][1])

    def _open(self, folder: Path) -> Shelf:
        """Opening checks every row, so it is done once, and again when the data set has grown."""
        with self._lock:
            known = self._shelves.get(folder)
            try:
                size = (folder / ROWS).stat().st_size
            except OSError as error:
                raise UserError(f"{folder} has no {ROWS}: restore it from a copy") from error
            if known is None or known.size != size:
                with Dataset.open(folder) as dataset:
                    known = Shelf(folder, size, dataset.schema, dataset.episodes)
                self._shelves[folder] = known
            return known


def _episode(shelf: Shelf, episode: int) -> Episode:
    return shelf.episodes[shelf.episodes.position(episode)]


def _rows(shelf: Shelf, episode: int) -> NDArray[np.int64]:
    """Rows of the log with the episode's frames, its final observation last."""
    position = shelf.episodes.position(episode)
    final = shelf.episodes.final_rows[position : position + 1]
    return np.concatenate([shelf.episodes.rows(position), final[final >= 0]])


def _read_frames(shelf: Shelf, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Frames (*rows.shape, H, W, 3), read and not mapped: a training that resumes may cut the file meanwhile."""
    size = shelf.schema.frame_bytes
    frames = np.empty((len(rows), *shelf.schema.frame_shape), np.uint8)
    with (shelf.folder / FRAMES).open("rb") as file:
        for place, row in enumerate(rows.tolist()):
            file.seek(row * size)
            if file.readinto(frames[place].data) < size:
                raise UserError(f"{shelf.folder} has become shorter: look at the list again")
    return frames


def _row(episode: Episode) -> dict[str, Any]:
    signs = np.sign(episode.rewards).astype(int)
    return {
        "id": episode.id,
        "steps": episode.length,
        "return": episode.return_,
        "terminated": episode.terminated,
        "truncated": episode.truncated,
        "ended": episode.ended,
        "reward_steps": [[int(step), int(signs[step])] for step in np.flatnonzero(signs)],
    }
