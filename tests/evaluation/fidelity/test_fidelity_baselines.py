"""The baselines are what their names say."""

import numpy as np
import pytest
import torch
from tiny_fidelity import add_episode, fill, some_starts

from diffworld.data import Dataset
from diffworld.evaluation.fidelity.films import TrainingFrames, last_frame_film, nearest_frame_film

CPU = torch.device("cpu")


@pytest.fixture
def training(tmp_path):
    with Dataset.open(fill(tmp_path / "data", 50)) as dataset:
        yield TrainingFrames.of(dataset)


def test_the_last_frame_is_repeated() -> None:
    starts = some_starts()
    film = last_frame_film(starts)
    assert film.shape == starts.truth.shape and (film == starts.context[:, -1][:, None]).all()


@pytest.mark.parametrize("chunk", [7, 1024])
def test_the_nearest_frame_is_nearest(training: TrainingFrames, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffworld.evaluation.fidelity.films._CHUNK", chunk)
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
    assert training.thinned(6).rows.tolist() == [0, 10, 20, 30, 40, 50]
    assert len(training.thinned(1000).rows) == 51


def test_episodes_that_were_set_aside_are_no_training_frames(tmp_path) -> None:
    with Dataset.open(fill(tmp_path / "data", 5), writable=True) as dataset:
        add_episode(dataset, 7, 3)
        add_episode(dataset, 8, 4)
        some = TrainingFrames.of(dataset, np.array([True, False, True]))
        assert some.rows.tolist() == [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14]
