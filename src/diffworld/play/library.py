"""The library: data sets and recordings, listed and read for a browser."""

import re
import secrets
import shutil
import tempfile
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffworld.data import Dataset, read_frames
from diffworld.data.episodes import Episodes
from diffworld.data.schema import DESCRIPTION, ROWS, DatasetSchema
from diffworld.play.recording import FILMED_AS, FilmKind, Source, export_film, export_side_by_side, note
from diffworld.play.worlds import Tape
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import as_user_errors
from diffworld.runtime.frames import Film, Frame

MAX_FILMS = 32
"""Exported films kept, the last ones."""
ID_LENGTH = 60
RECORDINGS = "recordings"
"""The root in which players record."""
THUMBNAIL = 96
"""A picture in the list is at most so many pixels high and broad."""


@dataclass(frozen=True, eq=False)
class Shelf:
    """One data set as it was when it was last looked at. Nothing of it is kept open."""

    folder: Path
    stamp: tuple[int, int]
    """By which a change is noticed: bytes of its records, and when it was last described."""
    schema: DatasetSchema
    episodes: Episodes

    @property
    def take(self) -> str | None:
        """Of a player's recording (see `recording.Take`), what joins it to its other side; else None."""
        take, source = self.schema.info.get("take"), self.schema.info.get("world")
        return take if isinstance(take, str) and source in FILMED_AS else None

    @property
    def source(self) -> Source:
        """Of a player's recording, where its frames come from."""
        source: Source = self.schema.info["world"]
        return source

    @property
    def games(self) -> list[Any]:
        """Of a player's recording that has ended, which game each episode is of."""
        games = self.schema.info.get("games")
        return games if isinstance(games, list) else []

    def rows(self, episode: int) -> NDArray[np.int64]:
        """Rows of the log with the episode's frames, its final observation last."""
        position = self.episodes.position(episode)
        final = self.episodes.final_rows[position : position + 1]
        return np.concatenate([self.episodes.rows(position), final[final >= 0]])

    def frames(self, rows: NDArray[np.int64]) -> Film:
        """Frames of those rows, read and not mapped: a training that resumes may cut the file meanwhile."""
        return read_frames(self.folder, self.schema, self.episodes.records, rows)


class Library:
    """Data sets in the `roots`, by what they are: each root is a data set, or a folder of data sets.

    Folders are looked through anew at each listing, so a new recording appears. Everything asked for goes through
    an id of that list: no path comes from outside. Every method raises UserError, one line, for what is not there.
    """

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self._roots = dict(roots)
        self._shelves: dict[Path, Shelf] = {}
        self._films: dict[tuple[Any, ...], Path] = {}
        self._films_folder = Path(tempfile.mkdtemp(prefix="diffworld-films-"))
        self.close = weakref.finalize(self, shutil.rmtree, self._films_folder, ignore_errors=True)
        """Removes the films; at the latest, the end of the program does."""
        self._lock = threading.Lock()

    def datasets(self) -> list[dict[str, Any]]:
        """What there is: id, name, kind (its root), game, episodes, steps, frame_size, info, and error where damaged.

        Those that are `editable` can be renamed and deleted.
        """
        listed = []
        for dataset_id, (root, folder) in self._find().items():
            facts: dict[str, Any] = {"game": None, "episodes": 0, "steps": 0, "frame_size": None, "info": {}}
            facts |= {"error": None, "editable": False}
            try:
                shelf = self._open(folder)
                facts |= {"episodes": len(shelf.episodes), "steps": int(shelf.episodes.lengths.sum())}
                spec = shelf.schema.spec
                facts |= {"game": spec.name, "frame_size": list(spec.frame_size), "info": shelf.schema.info}
                facts["editable"] = self._is_editable(root, shelf)
            except UserError as error:
                facts["error"] = str(error)
            listed.append({"id": dataset_id, "name": folder.name, "kind": root, **facts})
        return listed

    def episodes(self, dataset_id: str, offset: int, count: int) -> list[dict[str, Any]]:
        """Episodes in order of collection: id, steps, return, ended, reward_steps.

        `reward_steps` is a list of [step, sign] of every step with a reward.
        """
        listed = []
        for episode in self._shelf(dataset_id).episodes[offset : offset + count]:
            signs = np.sign(episode.rewards).astype(int)
            facts = {"id": episode.id, "steps": episode.length, "return": episode.return_, "ended": episode.ended}
            rewarded = np.flatnonzero(signs)
            listed.append({**facts, "reward_steps": np.stack([rewarded, signs[rewarded]], axis=1).tolist()})
        return listed

    def thumbnail(self, dataset_id: str, episode: int) -> Frame:
        """The frame in the middle of an episode; of a large one, every other pixel or fewer."""
        shelf = self._shelf(dataset_id)
        rows = shelf.rows(episode)
        frame = shelf.frames(rows[len(rows) // 2 :][:1])[0]
        every = -(-max(frame.shape) // THUMBNAIL)
        return frame[::every, ::every]

    def rename(self, dataset_id: str, title: str) -> None:
        """Give a recording a title, which is kept in its `info`; the folder keeps its name."""
        note(self._editable(dataset_id).folder, title=title)

    def delete(self, dataset_id: str) -> None:
        """Remove a recording from the disk."""
        folder = self._editable(dataset_id).folder
        try:
            Dataset.open(folder, writable=True).close()  # nobody else has it open for writing
        except UserError as error:
            raise UserError("this recording is still being made: end it first, or check its permissions") from error
        gone = folder.with_name(f".{folder.name}.deleted")
        with as_user_errors(folder):
            folder.rename(gone)  # at once, so that nobody meets a half of it
            shutil.rmtree(gone)
        with self._lock:
            self._shelves.pop(folder, None)

    def episode_table(self, dataset_id: str, episode: int) -> dict[str, Any]:
        """All of an episode but its frames: actions, rewards, terminated, truncated, action_names, frames.

        `beside` is the source of its other side, where it was recorded together with one.
        """
        shelf = self._shelf(dataset_id)
        found = shelf.episodes[shelf.episodes.position(episode)]
        return {
            "actions": found.actions.tolist(),
            "rewards": found.rewards.tolist(),
            "terminated": found.terminated,
            "truncated": found.truncated,
            "frames": found.length + found.ended,
            "action_names": list(shelf.schema.spec.actions.names),
            "beside": next((source for source, other, _ in self._sides(shelf, episode) if other is not shelf), None),
        }

    def frame(self, dataset_id: str, episode: int, step: int) -> Frame:
        """The frame of a step; an ended episode has one more, its final observation."""
        shelf = self._shelf(dataset_id)
        rows = shelf.rows(episode)
        if not 0 <= step < len(rows):
            raise UserError(f"episode {episode} has no frame {step}: choose one of 0..{len(rows) - 1}")
        return shelf.frames(rows[step : step + 1])[0]

    def tape(self, dataset_id: str, episode: int, context_frames: int) -> Tape:
        """The episode, to be played again."""
        shelf = self._shelf(dataset_id)
        found, frames = shelf.episodes[shelf.episodes.position(episode)], shelf.frames(shelf.rows(episode))
        actions = found.actions.tolist() if found.actions.ndim == 1 else list(found.actions)
        return Tape(frames, actions, found.rewards.tolist(), found.terminated, context_frames)

    def export(self, dataset_id: str, episode: int, kind: FilmKind, fps: float, beside: bool = False) -> Path:
        """The episode as a film, kept until `MAX_FILMS` newer ones are there, in a folder whose name is its key.

        `beside`: together with its other side, the dream on the left.
        """
        shelf = self._shelf(dataset_id)
        rows = shelf.rows(episode)
        name = f"{dataset_id}-episode-{episode}{'-side-by-side' if beside else ''}.{kind}"
        wanted = (dataset_id, episode, len(rows), kind, fps, beside)
        path = self._films.get(wanted, self._films_folder / secrets.token_urlsafe(16) / name)
        if not path.exists():
            if beside:
                sides = self._sides(shelf, episode)
                if len(sides) < 2:
                    raise UserError("this episode was recorded alone: record in both worlds for films side by side")
                films = {source: each.frames(each.rows(number)) for source, each, number in sides}
                export_side_by_side(path, films, kind, fps)
            else:
                export_film(path, shelf.frames(rows), kind, fps)
            with self._lock:
                self._films[wanted] = path
                for old in list(self._films)[:-MAX_FILMS]:
                    shutil.rmtree(self._films.pop(old).parent, ignore_errors=True)
        return path

    def film(self, key: str) -> Path | None:
        """The film with this key, which no one can guess, while it is kept."""
        with self._lock:
            return next((path for path in self._films.values() if path.parent.name == key and path.exists()), None)

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

    def _sides(self, shelf: Shelf, episode: int) -> list[tuple[Source, Shelf, int]]:
        """All that was recorded of the game of this episode, the dream first: source, data set and episode of each."""
        sides: list[tuple[Source, Shelf, int]] = []
        if shelf.take is None or not 0 <= episode < len(shelf.games):
            return sides
        game = shelf.games[episode]
        for root, folder in self._find().values():
            with suppress(UserError):  # one that is damaged is not shown beside another
                other = self._open(folder)
                if root == RECORDINGS and other.take == shelf.take and game in other.games:
                    sides.append((other.source, other, other.games.index(game)))
        return sorted(sides, key=lambda side: side[0])

    def _is_editable(self, root: str, shelf: Shelf) -> bool:
        """Only what a player recorded: a run's own data may lie in the same folder, or be the folder itself."""
        own = {folder.resolve() for name, folder in self._roots.items() if name != RECORDINGS}
        return root == RECORDINGS and shelf.take is not None and shelf.folder.resolve() not in own

    def _editable(self, dataset_id: str) -> Shelf:
        shelf = self._shelf(dataset_id)
        if not self._is_editable(self._find()[dataset_id][0], shelf):
            raise UserError("this is no recording of a player: only those can be renamed or deleted here")
        return shelf

    def _shelf(self, dataset_id: str) -> Shelf:
        found = self._find()
        if dataset_id not in found:
            raise UserError(f"there is no data set '{dataset_id}': look at the list again")
        return self._open(found[dataset_id][1])

    def _open(self, folder: Path) -> Shelf:
        """Opening checks every row, so it is done once, and again when the data set has changed."""
        with self._lock:
            known = self._shelves.get(folder)
            try:
                stamp = (folder / ROWS).stat().st_size, (folder / DESCRIPTION).stat().st_mtime_ns
            except OSError as error:
                raise UserError(f"{folder} has no {ROWS}: restore it from a copy") from error
            if known is None or known.stamp != stamp:
                with Dataset.open(folder) as dataset:
                    known = Shelf(folder, stamp, dataset.schema, dataset.episodes)
                self._shelves[folder] = known
            return known
