"""The run folder: what a run leaves on disk, and how to read it again. Every path in it is relative.

config.json       the resolved configuration
version.json      code, Python and library versions that wrote it
checkpoints/N/    weights.safetensors, state.pt (optimisers, random states, dreams, games), progress.json
replay/           real steps;  held_out/: steps of the last test, for held-out losses
metrics.jsonl     one line an epoch; tensorboard/ has the same
summary.json, curves.png, dream.mp4   once finished (game.mp4 for the model-free baseline)
.lock             held by the process that trains here, and says which that is
run_id            by what name wandb or trackio know the run
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from diffworld.config import Config, differences, read_config
from diffworld.game import GameSpec
from diffworld.runtime.errors import UserError, one_line
from diffworld.runtime.files import atomic_folder, read_json, write_atomic, write_json
from diffworld.runtime.locks import check_held, held, holder
from diffworld.runtime.versions import versions

MAY_CHANGE = ("log_to", "checkpoint_seconds")
"""Settings that do not touch what a run computes: it may be resumed with others."""

CHECKPOINTS_KEPT = 3
"""How many of the last checkpoints stay."""
CONFIG, GAME, LOCK = "config.json", "game.json", ".lock"
CHECKPOINT_FILES, PROGRESS = ("weights.safetensors", "state.pt"), "progress.json"


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint: weights by 'part.name', the trainer's state, and its plain progress numbers."""

    weights: dict[str, Tensor]
    state: dict[str, Any]
    progress: dict[str, Any]


@dataclass(frozen=True)
class RunFolder:
    """A run folder at `path`, which may be moved anywhere."""

    path: Path

    @property
    def replay(self) -> Path:
        """The real steps collected."""
        return self.path / "replay"

    @property
    def starts(self) -> Path:
        """Where dreams start, of imported weights that came with such places."""
        return self.path / "starts"

    @property
    def held_out(self) -> Path:
        """Steps of the last test games."""
        return self.path / "held_out"

    @property
    def summary_path(self) -> Path:
        """Written last; a run that has it is finished."""
        return self.path / "summary.json"

    def exists(self) -> bool:
        """Whether a run has begun here."""
        return (self.path / CONFIG).is_file()

    def config(self) -> Config:
        """The run's configuration; UserError if this is no run folder."""
        if not self.exists():
            raise UserError(f"{self.path} is no run folder: it has no config.json")
        return read_config(self.path / CONFIG)

    @property
    def imported_from(self) -> str:
        """Where the weights of an imported run were published; empty for a run that was trained here."""
        return str(self._version().get("imported_from", ""))

    @property
    def threads(self) -> int:
        """How many threads the run began to compute with; 0 where that is not known."""
        count = self._version().get("threads")
        return count if isinstance(count, int) and count > 0 else 0

    def _version(self) -> dict[str, Any]:
        """What version.json holds; nothing where it is missing or damaged."""
        try:
            found = read_json(self.path / "version.json")
        except UserError:
            return {}
        return found if isinstance(found, dict) else {}

    def spec(self) -> GameSpec | None:
        """The run's game; None in a folder that the version before wrote. UserError if it is damaged."""
        path = self.path / GAME
        if not path.exists():
            return None
        data = read_json(path)
        try:
            return GameSpec.from_json(data)
        except UserError as error:
            raise UserError(f"cannot read {path} ({error}): restore it from a copy") from error

    def begin(self, config: Config, spec: GameSpec) -> bool:
        """Claim the folder for a run of `config` on a game; True if such a run is already there, to be resumed.

        UserError if the folder holds a run of another configuration or anything else.
        """
        begun = self.holds(config)
        if not begun:
            write_atomic(self.path / CONFIG, config.to_json())  # first: from here on the folder is a run's
        if not (self.path / GAME).exists():  # a kill may have come before it
            write_json(self.path / GAME, spec.to_json())
        if not begun:
            write_json(self.path / "version.json", versions())
        return begun

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Train here alone: UserError where another process does, on this machine or another."""
        if self.summary_path.is_file():  # nothing is left to write
            yield
            return
        with held(self.path / LOCK, f"{self.path} is being trained"):
            yield

    @property
    def claimed_by(self) -> str:
        """Who trains here at this moment; empty if nobody does."""
        return holder(self.path / LOCK)

    def holds(self, config: Config) -> bool:
        """Whether a run of `config` has begun here; UserError if anything else is in its place."""
        if self.imported_from:
            raise UserError(
                f"{self.path} holds imported weights, to evaluate and to play: to train on from them, take another "
                f"folder and --init-from {self.path}"
            )
        if self.exists():
            if changed := [c for c in differences(self.config(), config) if c.split()[0] not in MAY_CHANGE]:
                raise UserError(
                    f"{self.path} holds a run of another configuration: {', '.join(changed[:4])}"
                    f"{' ...' if len(changed) > 4 else ''}; choose another --out, or give the same options"
                )
            return True
        if self.path.exists() and (not self.path.is_dir() or any(self.path.glob("[!.]*"))):
            raise UserError(f"{self.path} exists and is no run folder: choose another --out")
        return False

    def check_claim(self) -> None:
        """UserError if another process has claimed the folder since this one did."""
        check_held(self.path / LOCK)

    def checkpoints(self) -> list[Path]:
        """Checkpoint folders, oldest first."""
        return sorted(p for p in (self.path / "checkpoints").glob("[0-9]*") if p.is_dir())

    def save(self, number: int, checkpoint: Checkpoint) -> None:
        """Write a checkpoint whole or not at all, then drop all but the last `CHECKPOINTS_KEPT`."""
        with atomic_folder(self.path / "checkpoints" / f"{number:08d}") as folder:
            weights = {k: v.detach().cpu().contiguous() for k, v in checkpoint.weights.items()}
            (folder / "weights.safetensors").write_bytes(safetensors.torch.save(weights))
            with (folder / "state.pt").open("wb") as file:  # of a file that torch opens, it would not say what failed
                torch.save(checkpoint.state, file)
            hashes = {name: _sha256(folder / name) for name in CHECKPOINT_FILES}
            hashes[PROGRESS] = _digest(checkpoint.progress)
            write_json(folder / PROGRESS, {**checkpoint.progress, "sha256": hashes})
        for old in self.checkpoints()[:-CHECKPOINTS_KEPT]:
            shutil.rmtree(old)

    def trained(self) -> Checkpoint:
        """The last checkpoint; UserError if this is no run folder, there is none yet, or it is damaged."""
        self.config()
        checkpoint = self.load()
        if checkpoint is None:
            raise UserError(f"{self.path} has no checkpoint yet: train it first (diffworld train)")
        return checkpoint

    def load(self, device: torch.device | str = "cpu") -> Checkpoint | None:
        """The last checkpoint, or None if there is none yet; UserError if it is damaged."""
        found = self.checkpoints()
        if not found:
            return None
        folder = found[-1]
        try:
            progress = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
            hashes = progress.pop("sha256")
            hashes.setdefault(PROGRESS, own := _digest(progress))  # the version before wrote none
            for name, digest in {PROGRESS: own, **{name: _sha256(folder / name) for name in CHECKPOINT_FILES}}.items():
                if digest != hashes[name]:
                    raise ValueError(f"{name} has changed since it was written")
            weights = safetensors.torch.load_file(folder / "weights.safetensors", device=str(device))
            state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
        except Exception as error:
            older = "resume from the one before it" if len(found) > 1 else "start over (without replay/)"
            raise UserError(
                f"checkpoint {folder} is damaged ({one_line(error)}): delete that folder to {older}"
            ) from error
        return Checkpoint(weights, state, progress)


def _digest(progress: Mapping[str, Any]) -> str:
    """SHA-256 of what `progress.json` holds besides the checksums."""
    return hashlib.sha256(json.dumps(progress).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
