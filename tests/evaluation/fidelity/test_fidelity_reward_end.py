"""The reward/end model is asked as in a dream, and its answers are counted by the book."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_fidelity import some_starts, tiny_world

from diffworld.evaluation.fidelity import reward_end
from diffworld.evaluation.fidelity.films import begin, roll_out
from diffworld.evaluation.fidelity.reward_end import (
    Judge,
    Judgement,
    event_scores,
    reward_end_scores,
    step_ranges,
)
from diffworld.runtime.frames import frames_from_bytes

CPU = torch.device("cpu")


@pytest.mark.parametrize("at_once", [3, 20, 512])
def test_a_dream_is_judged_as_the_world_model_judges_it(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reward_end, "_FRAMES_AT_ONCE", at_once)
    starts, (world, model) = some_starts(40, count=3, horizon=6), tiny_world()
    film = roll_out(world, starts, CPU)
    judgement = Judge(model)(starts, film, CPU)
    dreamt = iter(frames_from_bytes(torch.from_numpy(film)).unbind(1))
    monkeypatch.setattr(world.denoiser, "sample", lambda *_: (next(dreamt), []))  # the frames that were dreamt
    state, actions = begin(world, starts, CPU, 3), torch.from_numpy(starts.actions)
    for step in range(6):
        state, prediction = world.step(state, actions[:, starts.context_frames - 1 + step], torch.randn)
        assert prediction.reward_logits is not None and prediction.end_logits is not None
        np.testing.assert_allclose(judgement.rewards[:, step], prediction.reward_logits.softmax(-1), atol=1e-5)
        np.testing.assert_allclose(judgement.ends[:, step], prediction.end_logits.softmax(-1)[:, 1], atol=1e-5)
    assert judgement.rewards.std(axis=1).max() > 1e-4  # frames matter


@given(st.integers(1, 30_000))
def test_ranges_cover_every_step_once(horizon: int) -> None:
    ranges = step_ranges(horizon)
    assert [step for first, last in ranges for step in range(first, last + 1)] == list(range(1, horizon + 1))


def test_a_case_counted_by_hand() -> None:
    said = np.array([1, 1, -1, 0, 0, 0])
    true = np.array([1, -1, -1, 1, 0, 0])
    probability = np.array([0.9, 0.8, 1.0, 0.2, 0.1, 0.15])
    scores = event_scores(said, true, probability)
    assert (scores["right"], scores["said"], scores["true"], scores["count"]) == (2, 3, 4, 6)
    assert scores["precision"] == pytest.approx(2 / 3)
    assert scores["recall"] == pytest.approx(2 / 4)
    assert scores["f1"] == pytest.approx(4 / 7)
    assert scores["predicted_rate"] == pytest.approx(3.15 / 6) and scores["observed_rate"] == pytest.approx(4 / 6)
    bins = {(b["from"], b["steps"]): (b["predicted"], b["observed"]) for b in scores["reliability"]}
    assert bins[(0.1, 2)] == pytest.approx((0.125, 0)) and bins[(0.2, 1)] == pytest.approx((0.2, 1))
    assert bins[(0.9, 2)] == pytest.approx((0.95, 1)) and bins[(0.8, 1)] == pytest.approx((0.8, 1))
    assert scores["calibration_error"] == pytest.approx((2 * 0.125 + 0.8 + 2 * 0.05 + 0.2) / 6)


def test_what_was_never_said_has_no_precision() -> None:
    none = np.zeros(4, np.int64)
    quiet = event_scores(none, none, np.full(4, 0.25))
    assert quiet["precision"] is quiet["recall"] is quiet["f1"] is None
    assert quiet["calibration_error"] == pytest.approx(0.25)
    empty = event_scores(none[:0], none[:0], np.zeros(0))
    assert empty["predicted_rate"] is None and empty["reliability"] == []


@given(st.integers(0, 1000), st.integers(1, 400))
def test_probabilities_that_events_follow_are_calibrated(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    probability = rng.random(count)
    scores = event_scores(np.ones(count, np.int64), np.ones(count, np.int64), probability)
    assert sum(b["steps"] for b in scores["reliability"]) == count
    assert scores["calibration_error"] == pytest.approx(1 - probability.mean())
    many = rng.random(40_000)
    happened = (rng.random(40_000) < many).astype(np.int64)
    assert event_scores(happened, happened, many)["calibration_error"] < 0.03


def test_steps_after_a_rows_end_do_not_count() -> None:
    starts = some_starts(30, 6, count=12, horizon=15)
    shape = starts.valid.shape
    right = np.eye(3, dtype=np.float32)[np.sign(starts.rewards).astype(int) + 1]
    right[~starts.valid] = (1, 0, 0)  # would be wrong if it were looked at
    scores = reward_end_scores(Judgement(right, np.where(starts.valid, starts.ends, 1).astype(np.float32)), starts)
    assert [entry["steps"] for entry in scores["reward"]] == [[1, 10], [11, 15], [1, 15]]
    for event, true in (("reward", starts.rewards != 0), ("end", starts.ends)):
        whole = scores[event][-1]
        assert whole["precision"] == whole["recall"] == 1 and whole["calibration_error"] == pytest.approx(0)
        assert whole["count"] == starts.valid.sum() < np.prod(shape) and whole["true"] == true.sum()
