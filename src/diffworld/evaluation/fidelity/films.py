"""The films that are compared: dreams of the real actions, and films that know nothing of the game's rules."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffworld.data import Dataset
from diffworld.evaluation.fidelity import Advance, unheard
from diffworld.evaluation.fidelity.starts import Starts
from diffworld.models.denoiser import resize_bicubic
from diffworld.models.diffusion import Randn
from diffworld.runtime.frames import Film, frames_from_bytes, to_numpy
from diffworld.world import DreamState, TwoStages, WorldModel
from diffworld.world.noise import generator_noise

_CHUNK = 1024  # frames compared at once


@dataclass(frozen=True, eq=False)
class TrainingFrames:
    """Frames of the data that the run learnt from; final observations are among them."""

    dataset: Dataset
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, dataset: Dataset, among: NDArray[np.bool_] | None = None) -> "TrainingFrames":
        """All frames of a data set, or of its episodes in `among` (E,)."""
        episodes = dataset.episodes
        if among is None:
            return cls(dataset, np.arange(dataset.num_rows))
        return cls(dataset, np.flatnonzero(np.isin(episodes.records["episode"], episodes.ids[among])))

    def thinned(self, limit: int) -> "TrainingFrames":
        """At most `limit` of them, evenly spaced in the order of collection."""
        places = np.linspace(0, len(self.rows) - 1, min(limit, len(self.rows))).round().astype(np.int64)
        return TrainingFrames(self.dataset, self.rows[places])

    def chunks(self, advance: Advance = unheard) -> Iterator[Film]:
        """The frames, up to 1024 at a time; `advance` is told how many, once they have been used."""
        for first in range(0, len(self.rows), _CHUNK):
            rows = self.rows[first : first + _CHUNK]
            yield self.dataset.gather_frames(rows)
            advance(len(rows))


def last_frame_film(starts: Starts) -> Film:
    """The last context frame, repeated."""
    return np.broadcast_to(starts.context[:, -1:], starts.truth.shape)


@torch.no_grad()
def nearest_frame_film(
    starts: Starts, training: TrainingFrames, device: torch.device, advance: Advance = unheard
) -> Film:
    """For each true frame the training frame nearest to it (least square distance; the first of equals).

    It looks at the truth, so it is no prediction: it tells how far remembering whole frames would go.
    """
    true = starts.truth[starts.valid]
    best = torch.full((len(true),), torch.inf, device=device)
    found = np.zeros(len(true), np.int64)
    centre: Tensor | None = None
    for chunk_number, chunk in enumerate(training.chunks(advance)):
        x = _flat(chunk, device)
        if centre is None:
            centre = x.mean(dim=0)  # most of a frame never changes: distances are more exact without it
        x = x - centre
        for first in range(0, len(true), _CHUNK):
            part = slice(first, first + _CHUNK)
            y = _flat(true[part], device) - centre
            # |x - y|^2 less |y|^2, which is the same for all x
            distance, index = (x.square().sum(1)[None] - 2 * y @ x.T).min(dim=1)
            better = distance < best[part]
            best[part] = torch.where(better, distance, best[part])
            nearer = better.cpu().numpy()
            found[part][nearer] = index.cpu().numpy()[nearer] + chunk_number * _CHUNK
    film = np.zeros_like(starts.truth)
    film[starts.valid] = training.dataset.gather_frames(training.rows[found])
    return film


def _flat(frames: Film, device: torch.device) -> Tensor:
    return torch.from_numpy(frames).to(device).flatten(1).float()


def step_noise(seed: int, step: int, device: torch.device) -> Randn:
    """Noise of one step. Samplers differ in how much they draw, but at each step all begin with the same."""
    return generator_noise(torch.Generator(device).manual_seed(seed * 1_000_003 + step))


def begin(world: WorldModel[Any], starts: Starts, device: torch.device, rows: int) -> DreamState:
    """The first `rows` dreams, at their starts."""
    context = frames_from_bytes(torch.from_numpy(starts.context[:rows]).to(device))
    actions = torch.from_numpy(starts.actions[:rows, : starts.context_frames]).to(device)
    state: DreamState = world.start(context, actions)
    return state


@torch.no_grad()
def roll_out(
    world: WorldModel[Any], starts: Starts, device: torch.device, *, seed: int = 0, advance: Advance = unheard
) -> Film:
    """Dream the real actions on from each start: a film uint8 (B, T, H, W, 3) like `starts.truth`.

    Dreams see their own frames only, go on past predicted ends, and stop where the row's real steps do: from
    there on the film is 0. `advance` is told the frames drawn at each step. `starts.truth` is not read.
    """
    actions = torch.from_numpy(starts.actions[:, starts.context_frames - 1 :]).to(device)
    state, film = begin(world, starts, device, len(starts.lengths)), np.zeros_like(starts.truth)
    for step, rows in enumerate(starts.rows.tolist()):
        state = state.rows(slice(0, rows))  # rows are ordered by length: those that ended are the last
        state, prediction = world.step(state, actions[:rows, step], step_noise(seed, step, device))
        film[:rows, step] = to_numpy(prediction.frames)
        advance(rows)
    return film


@torch.no_grad()
def upsampled_film(
    world: TwoStages, starts: Starts, device: torch.device, *, seed: int = 0, advance: Advance = unheard
) -> Film:
    """What the second stage draws of the true small frames, beside its own large ones: its own errors alone."""
    before = frames_from_bytes(torch.from_numpy(starts.context).to(device))[:, -world.upsampler.config.context_frames :]
    film = np.zeros_like(starts.truth)
    for step, (rows, small) in enumerate(_small_frames(world, starts, device)):
        frames, _ = world.enlarge(before[:rows], small, step_noise(seed, step, device))
        before = torch.cat([before[:rows, 1:], frames[:, None]], dim=1)
        film[:rows, step] = to_numpy(frames)
        advance(rows)
    return film


def bicubic_film(world: TwoStages, starts: Starts, device: torch.device) -> Film:
    """The true small frames, enlarged by bicubic interpolation."""
    film, size = np.zeros_like(starts.truth), starts.truth.shape[2:4]
    for step, (rows, small) in enumerate(_small_frames(world, starts, device)):
        film[:rows, step] = to_numpy(resize_bicubic(small, size).clamp(-1, 1))
    return film


def _small_frames(world: TwoStages, starts: Starts, device: torch.device) -> Iterator[tuple[int, Tensor]]:
    """Of each step how many rows there are, and their true frames as the first stage sees them."""
    for step, rows in enumerate(starts.rows.tolist()):
        yield rows, world.seen(frames_from_bytes(torch.from_numpy(starts.truth[:rows, step]).to(device)))


@torch.no_grad()
def frames_per_second(
    world: WorldModel[Any], starts: Starts, device: torch.device, rows: int, seconds: float = 1.0
) -> float:
    """Frames drawn a second with `rows` dreams side by side, over about `seconds` after a step of warm-up.

    Steps of the world model alone: frames are not copied to memory.
    """
    state = begin(world, starts, device, rows)
    action = torch.from_numpy(starts.actions[:rows, starts.context_frames - 1]).to(device)
    randn = step_noise(0, 0, device)

    def draw(times: int) -> float:
        begun = time.perf_counter()
        for _ in range(times):
            _, prediction = world.step(state, action, randn)
        prediction.frames.flatten()[0].item()  # waits until the device has drawn it
        return time.perf_counter() - begun

    draw(1)
    calls = min(1000, max(3, round(seconds / draw(1))))
    return len(action) * calls / draw(calls)
