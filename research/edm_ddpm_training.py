"""One network's training for `research.edm_ddpm`, as an EDM or as a DDPM; a kill loses seconds of it."""

import json
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from diffworld.config import UpdateConfig
from diffworld.data import Dataset, frame_batch, sample_context_windows
from diffworld.models.denoiser import Denoiser, DenoiserConfig
from diffworld.recipes import Losses
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import atomic_folder, write_json
from diffworld.runtime.progress import Display
from diffworld.training.optimiser import Optimiser, descend
from diffworld.world.noise import generator_noise
from research import ddpm

Kind = Literal["edm", "ddpm"]
_LOGGED = 100
"""How many means of the loss the record has."""


@dataclass(frozen=True)
class Settings:
    """All that decides how a network comes out; a checkpoint made with others is not gone on from."""

    updates: int
    batch: int
    learning_rate: float
    channels: tuple[int, ...]
    depths: tuple[int, ...]
    cond_channels: int
    context_frames: int
    autoregressive_steps: int
    offset_noise: float
    seed: int
    num_actions: int
    frame_height: int
    frame_width: int
    rows: int
    """Rows of the training data: more recorded later would be another data set."""

    def denoiser(self) -> DenoiserConfig:
        """Size of the network; EDM's noise levels are the default ones."""
        return DenoiserConfig(
            context_frames=self.context_frames,
            cond_channels=self.cond_channels,
            channels=self.channels,
            depths=self.depths,
            attention=(False,) * len(self.channels),
            sigma_offset=self.offset_noise,
            autoregressive_steps=self.autoregressive_steps,
            final_frames=False,
        )

    def rate(self, update: int) -> float:
        """Learning rate of an update counted from 0: constant, then linearly to 0 over the last third."""
        left = (self.updates - update) / (self.updates / 3)
        return self.learning_rate * min(1.0, left)


@dataclass(frozen=True)
class Trained:
    """A trained denoiser, and how it came out."""

    denoiser: Denoiser
    parameters: int
    losses: list[list[float]]
    """[update, mean loss since the entry before]; the two methods' losses have different scales."""


class Training:
    """A network on its way: everything that a checkpoint has to hold."""

    def __init__(self, kind: Kind, settings: Settings, dataset: Dataset, device: torch.device) -> None:
        self.kind, self.settings, self.dataset, self.device = kind, settings, dataset, device
        torch.manual_seed(settings.seed)  # both methods begin with the same weights
        make = ddpm.DdpmDenoiser if kind == "ddpm" else Denoiser
        self.denoiser = make(settings.denoiser(), dataset.spec.actions)
        self.denoiser.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        update = UpdateConfig(0, settings.updates, settings.learning_rate, batch_size=settings.batch)
        self.optimiser = Optimiser(self.denoiser, update)
        self.windows = np.random.default_rng(settings.seed)  # and see the same windows in the same order
        self.noise = torch.Generator(device).manual_seed(settings.seed)
        self.randn = generator_noise(self.noise)
        self.losses: list[list[float]] = []
        self.total, self.count = 0.0, 0

    def update(self) -> None:
        """One update; UserError once the loss is no number, before anything of it is saved."""
        s, done = self.settings, self.optimiser.steps
        self.optimiser.config = replace(self.optimiser.config, learning_rate=s.rate(done))
        loss = self.optimiser.update(descend(self._losses))["loss"].item()
        if not np.isfinite(loss):
            raise UserError(f"{self.kind}'s loss is {loss}: take a smaller --learning-rate and another --out")
        self.total, self.count = self.total + loss, self.count + 1
        done += 1
        if done * _LOGGED // s.updates > (done - 1) * _LOGGED // s.updates:
            self.losses.append([done, float(f"{self.total / self.count:.4g}")])
            self.total, self.count = 0.0, 0

    def _losses(self) -> Losses:
        s = self.settings
        more = s.autoregressive_steps if self.kind == "edm" else 0
        # Windows are drawn alike for both, whatever `more` is, as long as it is 0 for both.
        windows = sample_context_windows(
            self.dataset, self.windows, s.batch, s.context_frames + 1 + more, recency=False
        )
        batch = frame_batch(windows, self.device)
        if self.kind == "edm":
            return {"loss": self.denoiser.loss(*batch, self.randn)}
        t = torch.randint(1, ddpm.TIME_STEPS + 1, (s.batch,), generator=self.noise, device=self.device)
        return {"loss": ddpm.loss(self.denoiser.network, *batch, t, self.randn, s.offset_noise)}

    def save(self, folder: Path) -> None:
        """Write a checkpoint under the number of updates done, then drop older ones."""
        done = self.optimiser.steps
        with atomic_folder(folder / f"{done:08d}") as new:
            save_file({k: v.contiguous() for k, v in self.denoiser.state_dict().items()}, new / "weights.safetensors")
            torch.save({"optimiser": self.optimiser.state_dict(), "noise": self.noise.get_state()}, new / "state.pt")
            progress = {
                "settings": asdict(self.settings),
                "windows": self.windows.bit_generator.state,
                "losses": self.losses,
                "since": [self.total, self.count],
            }
            write_json(new / "progress.json", progress)
        for old in _checkpoints(folder):
            if int(old.name) != done:
                shutil.rmtree(old, ignore_errors=True)

    def restore(self, folder: Path) -> None:
        """Go on from the last checkpoint, if there is one; UserError if it was made with other settings."""
        for path in _checkpoints(folder)[-1:]:
            try:
                progress = json.loads((path / "progress.json").read_text())
                self._check(progress["settings"], folder)
                self.denoiser.load_state_dict(load_file(path / "weights.safetensors", device=str(self.device)))
                state = torch.load(path / "state.pt", weights_only=True, map_location=self.device)
                self.optimiser.load_state_dict(state["optimiser"])
                self.noise.set_state(state["noise"].cpu())
            except (OSError, ValueError, KeyError, RuntimeError) as error:
                raise UserError(f"cannot read {path} ({error}): remove it, or choose another --out") from error
            self.windows.bit_generator.state = progress["windows"]
            self.losses, (self.total, self.count) = progress["losses"], progress["since"]

    def _check(self, saved: dict[str, Any], folder: Path) -> None:
        ours = json.loads(json.dumps(asdict(self.settings)))
        odd = [f"{name} ({saved.get(name)} -> {value})" for name, value in ours.items() if saved.get(name) != value]
        if odd:
            raise UserError(f"{folder} was trained with other settings: {', '.join(odd)}; choose another --out")


def train(
    kind: Kind, settings: Settings, dataset: Dataset, out: Path, device: torch.device, display: Display, seconds: float
) -> Trained:
    """Train a network, or go on with it, up to `settings.updates`; checkpoints go to `out`/`kind`."""
    training, folder = Training(kind, settings, dataset, device), out / kind
    training.restore(folder)
    done, saved = training.optimiser.steps, time.monotonic()
    with display.bar(f"training: {kind.upper()}", "update", settings.updates, done) as advance:
        while training.optimiser.steps < settings.updates:
            shown = len(training.losses)
            training.update()
            advance(1)
            if time.monotonic() - saved >= seconds or training.optimiser.steps == settings.updates:
                training.save(folder)
                saved = time.monotonic()
            if len(training.losses) > shown and len(training.losses) % 10 == 0:
                update, loss = training.losses[-1]
                display.line(f"{kind.upper()} | {int(update):,} of {settings.updates:,} updates | loss {loss:.4g}")
    training.denoiser.eval()
    parameters = sum(p.numel() for p in training.denoiser.parameters())
    return Trained(training.denoiser, parameters, training.losses)


def _checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, the oldest first."""
    return sorted(path for path in folder.glob("*") if path.is_dir() and path.name.isdigit())
