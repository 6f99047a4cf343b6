"""The baselines are what their names say."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_fidelity import add_episode, fill, some_starts, tiny_two_stages

from diffworld.data import Dataset
from diffworld.evaluation.fidelity.films import (
    TrainingFrames,
    bicubic_film,
    last_frame_film,
    nearest_frame_film,
    step_noise,
    upsampled_film,
)
from diffworld.evaluation.fidelity.study import BICUBIC, LAST_FRAME, UPSAMPLED, study_dreams, study_next_frames
from diffworld.runtime.frames import frames_from_bytes, to_numpy

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


# --- of two stages ---------------------------------------------------------------------------------------------------


def test_enlarging_sees_nothing_but_the_true_small_frame() -> None:
    starts, world = some_starts(), tiny_two_stages()
    film = bicubic_film(world, starts, CPU)
    assert film.shape == starts.truth.shape and not film[~starts.valid].any()
    small = world.seen(frames_from_bytes(torch.from_numpy(starts.truth[:1, 2])))
    large = F.interpolate(small, size=starts.truth.shape[2:4], mode="bicubic", align_corners=False)
    assert (film[0, 2] == to_numpy(large.clamp(-1, 1))[0]).all()
    flat = np.full_like(starts.truth, 100)
    assert (bicubic_film(world, replace(starts, truth=flat), CPU)[starts.valid] == 100).all()


def test_the_upsampler_alone_goes_on_from_its_own_large_frames() -> None:
    starts, world, told = some_starts(30, count=3, horizon=4), tiny_two_stages(), []
    film = upsampled_film(world, starts, CPU, seed=5, advance=told.append)
    assert told == starts.rows.tolist()
    before = frames_from_bytes(torch.from_numpy(starts.context[:, -1:]))
    for step in range(4):
        small = world.seen(frames_from_bytes(torch.from_numpy(starts.truth[:, step])))
        frames, _ = world.enlarge(before, small, step_noise(5, step, CPU))
        assert (film[:, step] == to_numpy(frames)).all()
        before = frames[:, None]
    other = replace(starts, context=255 - starts.context)
    assert not (upsampled_film(world, other, CPU, seed=5)[:, 0] == film[:, 0]).all(), "it heeds the large frame before"


def test_the_next_frame_is_the_first_step_of_a_dream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffworld.evaluation.fidelity.study.SPEED_SECONDS", 0.01)
    places, world = some_starts(30, 20, count=7, horizon=1), tiny_two_stages()
    dreams = {"dream": world}
    study = study_dreams(dreams, places, None, None, device=CPU, seed=3, bar=nothing)
    alone = study_next_frames(dreams, places, device=CPU, seed=3, bar=nothing)
    assert alone["places"] == 7 and set(alone["films"]) == {LAST_FRAME, BICUBIC, UPSAMPLED, "dream"}
    for name, film in alone["films"].items():
        for measured in ("psnr", "ssim"):
            curve = study.record["films"][name]["by_step"][measured]
            assert film[measured] == {"mean": curve["mean"][0], "sd": curve["sd"][0]}


def test_places_in_several_parts_are_all_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    places, dreams = some_starts(30, 20, count=7, horizon=1), {"dream": tiny_two_stages()}
    whole = study_next_frames(dreams, places, device=CPU, bar=nothing)
    monkeypatch.setattr("diffworld.evaluation.fidelity.study._ROWS", 3)
    parts = study_next_frames(dreams, places, device=CPU, bar=nothing)
    for name in (LAST_FRAME, BICUBIC):
        assert parts["films"][name] == whole["films"][name]
    assert parts["films"]["dream"]["psnr"] != whole["films"]["dream"]["psnr"], "each part has noise of its own"


def nothing(name: str, unit: str, total: int) -> contextlib.nullcontext:
    return contextlib.nullcontext(lambda done: None)
