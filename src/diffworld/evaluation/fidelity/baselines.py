"""Two films that know nothing of the game's rules: what a dream must beat."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffworld.data import Dataset
from diffworld.evaluation.fidelity.starts import Starts
from diffworld.runtime.frames import Film

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

    def chunks(self, advance: Callable[[int], None] = lambda frames: None) -> Iterator[Film]:
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
    starts: Starts,
    training: TrainingFrames,
    device: torch.device,
    advance: Callable[[int], None] = lambda frames: None,
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
