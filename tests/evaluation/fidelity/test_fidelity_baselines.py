"""The baselines are what their names say."""

import numpy as np
import pytest
import torch
from tiny_fidelity import fill, some_starts

from diffworld.data import Dataset
from diffworld.evaluation.fidelity.baselines import TrainingFrames, last_frame_film, nearest_frame_film

CPU = torch.device("cpu")


@pytest.fixture
def training(tmp_path):
    fill(tmp_path / "data", 50)
    with Dataset.open(tmp_path / "data") as dataset:
        yield TrainingFrames.of(dataset)


def test_the_last_frame_is_repeated() -> None:
    starts = some_starts()
    film = last_frame_film(starts)
    assert film.shape == starts.truth.shape and (film == starts.context[:, -1][:, None]).all()


@pytest.mark.parametrize("chunk", [7, 1024])
def test_the_nearest_frame_is_nearest(training: TrainingFrames, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffworld.evaluation.fidelity.baselines._CHUNK", chunk)
    starts = some_starts()
    every = np.concatenate(list(training.chunks())).astype(np.int64)
    assert len(every) == 51
    starts.truth[0, 2] = every[33]  # a frame that training knows is found itself
    seen = []
    film = nearest_frame_film(starts, training, CPU, advance=seen.append)
    assert sum(seen) == 51 and (film[0, 2] == every[33]).all()
    assert not film[~starts.valid].any()
    for true, found in zip(starts.truth[starts.valid].astype(np.int64), film[starts.valid], strict=True):
        distances = ((every - true) ** 2).sum(axis=(1, 2, 3))
        assert ((found - true) ** 2).sum() == distances.min()


def test_a_limit_takes_frames_evenly(training: TrainingFrames) -> None:
    some = TrainingFrames.of(training.dataset, 6)
    assert some.rows.tolist() == [0, 10, 20, 30, 40, 50]
    assert len(TrainingFrames.of(training.dataset, 1000).rows) == 51
