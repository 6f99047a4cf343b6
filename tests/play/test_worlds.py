"""Each world leads from a state to the next, and from an older state to the same next one again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import BREAKOUT, SMALL, make_run, make_shooter_run

from diffworld.data import Dataset
from diffworld.play.drawing import Dreamer, DreamRequest
from diffworld.play.worlds import RealGame, Tape
from diffworld.runs import Model, load, make_window, window_tensors
from diffworld.runs.starts import windows_of
from diffworld.runtime.frames import to_numpy
from diffworld.world import FrameStack, KeyedGenerators, StepKey


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(make_run(tmp_path_factory.mktemp("worlds") / "run"), "cpu")


def test_the_dream_is_the_world_model_the_agent_learns_in(model: Model) -> None:
    window, world, dream = model.starts[7], model.require_world(), Dreamer(model)
    state, noise = dream.start(window), KeyedGenerators(torch.device("cpu"))
    expected = world.start(*window_tensors([window], torch.device("cpu")))
    torch.testing.assert_close(state.reward_end, expected.reward_end)
    for step, action in enumerate([3, 0, 2]):
        key = StepKey(1, 2, step)
        state, seen = dream.step(DreamRequest(state, action, (SMALL.sampler,), 9, key))
        expected, prediction = world.step(expected, torch.tensor([action]), noise.noise(key))
        torch.testing.assert_close(state.frames, expected.frames)
        torch.testing.assert_close(state.actions, expected.actions)
        np.testing.assert_array_equal(seen.frame, to_numpy(prediction.frames[0]))
        rewards, ends = prediction.reward_logits, prediction.end_logits
        assert rewards is not None and ends is not None and seen.reward_probs is not None
        np.testing.assert_allclose(seen.reward_probs, rewards[0].softmax(-1), rtol=1e-5)
        assert seen.end_prob == pytest.approx(float(ends[0].softmax(-1)[1]))
        assert len(seen.trajectory) == SMALL.sampler.denoising_steps + 1
        assert {"denoiser", "reward_end"} == set(seen.milliseconds)


def test_only_the_horizon_ends_a_dream_that_knows_neither_reward_nor_end(tmp_path: Path) -> None:
    model = load(make_shooter_run(tmp_path / "run", ("denoiser",)), "cpu")
    dream = Dreamer(model)
    state, idle = dream.start(model.starts[0]), model.spec.actions.idle
    for step in range(4):
        state, seen = dream.step(DreamRequest(state, idle, (SMALL.sampler,), 4, StepKey(0, 0, step)))
        assert (seen.reward, seen.ended, seen.truncated) == (0, False, step == 3)
        assert seen.reward_probs is None and seen.end_prob is None
        assert set(seen.milliseconds) == {"denoiser"}
    assert "horizon" in seen.why


def test_a_dream_is_cut_at_its_horizon(model: Model) -> None:
    world = Dreamer(model)
    state = world.start(model.starts[0])
    cut = []
    for step in range(4):
        state, seen = world.step(DreamRequest(state, 0, (SMALL.sampler,), 3, StepKey(0, 0, step)))
        cut.append((seen.truncated, bool(seen.why)))
    assert cut == [(False, False), (False, False), (True, True), (True, True)]


def test_another_world_model_takes_its_place_between_two_steps(model: Model) -> None:
    dreamer, own, calls = Dreamer(model), model.require_world(), []

    class Compiled(FrameStack):
        def with_samplers(self, *arguments: Any) -> FrameStack:
            calls.append(1)
            return super().with_samplers(*arguments)

    start = dreamer.start(model.starts[0])
    state, _ = dreamer.step(DreamRequest(start, 0, (SMALL.sampler,), 9, StepKey(0, 0, 0)))
    dreamer.world = Compiled(own.denoiser, own.reward_end, own.sampler)
    dreamer.step(DreamRequest(state, 0, (SMALL.sampler,), 9, StepKey(0, 0, 1)))
    assert calls == [1]


def test_the_real_game_goes_on_from_any_earlier_state() -> None:
    world, rng = RealGame(BREAKOUT, 4), np.random.default_rng(0)
    states, steps = [world.start(5)], []
    for action in rng.integers(0, 4, 30).tolist():
        state, step = world.step(states[-1], action, "test")
        states.append(state)
        steps.append((action, step))
    world.start(6)  # another game meanwhile
    for t in (12, 3, 29):  # back, further back, and ahead into what was played before
        action, step = steps[t]
        state, again = world.step(states[t], action, "test")
        np.testing.assert_array_equal(again.frame, step.frame)
        assert (again.reward, again.ended, state.steps) == (step.reward, step.ended, t + 1)
        assert state.actions[: t + 1] == [a for a, _ in steps[: t + 1]]
    branch, _ = world.step(states[10], (steps[10][0] + 1) % 4, "test")
    assert states[20].actions[:20] == [a for a, _ in steps[:20]]
    assert branch.actions[:10] == states[20].actions[:10]
    world.close()


def test_a_lost_life_ends_the_episode_by_the_rules_of_training_only() -> None:
    world = RealGame(BREAKOUT, 4)
    for rules in ("train", "test"):
        state, ends = world.start(0), []
        while not state.over:
            state, step = world.step(state, 1 if state.steps % 9 == 0 else 0, rules)  # fire, and miss the ball
            ends.append(step.ended)
            assert bool(step.why) == step.ended
        assert sum(ends) == (5 if rules == "train" else 1)
        assert ends[-1]
    world.close()


def test_a_tape_plays_its_frames_and_stops(model: Model) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    tape = Tape(frames, [1, 2, 3], [0.0, 1.0, 0.0], terminated=True, length=4)
    state, seen = tape.start(0), []
    while not state.over:
        state, step = tape.step(state, tape.actions[state.steps], "test")
        seen.append((step.reward, step.ended))
        np.testing.assert_array_equal(step.frame, frames[state.steps])
    assert seen == [(0.0, False), (1.0, False), (0.0, True)]
    assert state.score == 1.0
    window = state.window(BREAKOUT.actions, 4)
    np.testing.assert_array_equal(window.frames, frames)
    assert window.actions.tolist() == [1, 2, 3, 0]


def test_a_window_is_padded_on_the_left() -> None:
    frame = np.full((2, 2, 3), 9, np.uint8)
    window = make_window(BREAKOUT.actions, [frame, frame + 1], [3], 4)
    assert window.has_frame.tolist() == [False, False, True, True]
    assert window.actions.tolist() == [0, 0, 3, 0]
    np.testing.assert_array_equal(window.frames[2:, 0, 0, 0], [9, 10])


def test_starts_are_real_windows_spread_over_the_replay(model: Model) -> None:
    with Dataset.open(model.datasets["replay"]) as dataset:
        windows = windows_of(dataset, 4)
        assert len({(w.episode, w.step) for w in windows}) == len(windows)
        assert {w.episode for w in windows} == set(dataset.episodes.ids[dataset.episodes.lengths >= 4].tolist())
        for window in windows[::10]:
            assert window.has_frame.all()
            frames = dataset.episode_frames(window.episode)
            np.testing.assert_array_equal(window.frames, frames[window.step - 3 : window.step + 1])
            actions = dataset.episodes[dataset.episodes.position(window.episode)].actions
            assert window.actions[:-1].tolist() == actions[window.step - 3 : window.step].tolist()


def test_a_run_without_replay_plays_for_its_starts(tmp_path: Path) -> None:
    model = load(make_run(tmp_path / "run", replay_steps=0), "cpu")
    assert model.starts.loaded is None
    windows = model.starts.windows()
    assert model.starts.loaded == len(windows) > 20
    assert all(w.has_frame.all() and w.frames.shape == (4, 16, 16, 3) for w in windows)
    again = load(tmp_path / "run", "cpu").starts.windows()
    np.testing.assert_array_equal([w.frames for w in windows], [w.frames for w in again])
