"""Every seed is played once, to game over, whatever the number of rows; and the scores are the game's."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diffworld.envs.base import StepResult, VectorEnv
from diffworld.envs.driver import EpisodeResult, GameStep, RandomPolicy, Recorder, play_episodes


class CountingEnv(VectorEnv):
    """A game whose frame shows its seed and clock: it lasts 1 + seed % 7 steps, each worth seed + action."""

    def __init__(self, num_envs: int, max_steps: int | None = None) -> None:
        super().__init__("counting", num_envs, ["stay", "go"], (4, 4), max_steps)
        self.seeds, self.clocks = np.zeros(num_envs, dtype=int), np.zeros(num_envs, dtype=int)

    def close(self) -> None:
        pass

    def frames(self) -> NDArray[np.uint8]:
        frames = np.zeros((self.num_envs, 4, 4, 3), dtype=np.uint8)
        frames[..., 0], frames[..., 1] = self.seeds[:, None, None], self.clocks[:, None, None]
        return frames

    def _reset_rows(self, rows: list[int], seeds: list[int]) -> NDArray[np.uint8]:
        self.seeds[rows], self.clocks[rows] = seeds, 0
        return self.frames()[rows]

    def _step(self, actions: NDArray[np.int64], playing: NDArray[np.bool_]) -> StepResult:
        self.clocks += playing
        over = self.clocks > self.seeds % 7
        life_lost = self.clocks % 2 == 0  # an end for the learner, but no game over
        no = np.zeros_like(over)
        return StepResult(self.frames(), (self.seeds + actions).astype(np.float32), over | life_lost, no, over)


class CheckingPolicy:
    """Plays `seed % 2` as a recurrent policy would: it reads the seed in fresh rows only and remembers it."""

    def __init__(self, num_envs: int) -> None:
        self.memory = np.full(num_envs, -1)

    def act(self, frames: NDArray[np.uint8], fresh: NDArray[np.bool_]) -> NDArray[np.int64]:
        np.testing.assert_array_equal(fresh, frames[:, 0, 0, 1] == 0)
        self.memory[fresh] = frames[fresh, 0, 0, 0]
        np.testing.assert_array_equal(self.memory, frames[:, 0, 0, 0])
        return self.memory % 2


def expected(seeds: Sequence[int]) -> list[EpisodeResult]:
    lengths = [1 + seed % 7 for seed in seeds]
    return [
        EpisodeResult(seed, (seed + seed % 2) * length, length, truncated=False)
        for seed, length in zip(seeds, lengths, strict=True)
    ]


@settings(max_examples=200)
@given(st.integers(1, 5), st.lists(st.integers(0, 255), max_size=12))
def test_each_seed_once_in_order(rows: int, seeds: list[int]) -> None:
    finished: list[EpisodeResult] = []
    results = play_episodes(CountingEnv(rows), CheckingPolicy(rows), seeds, finished.append)
    assert results == expected(seeds)
    assert sorted(finished, key=lambda result: result.seed) == sorted(results, key=lambda result: result.seed)


@settings(max_examples=50)
@given(st.integers(1, 4), st.lists(st.integers(0, 255), min_size=1, max_size=8), st.data())
def test_recorder_sees_one_episode_whole(rows: int, seeds: list[int], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(seeds) - 1))
    recorder = Recorder(place)
    results = play_episodes(CountingEnv(rows), CheckingPolicy(rows), seeds, on_step=recorder)
    video = recorder.video()
    assert video.shape == (results[place].steps, 4, 4, 3)
    assert (video[..., 0] == seeds[place]).all()
    assert video[:, 0, 0, 1].tolist() == list(range(results[place].steps))
    assert recorder.actions == [seeds[place] % 2] * results[place].steps
    assert sum(recorder.rewards) == results[place].score


def test_steps_are_seen_as_they_were_played() -> None:
    steps: list[GameStep] = []
    results = play_episodes(CountingEnv(2), CheckingPolicy(2), [6, 3, 8], on_step=steps.append)
    for place, result in enumerate(results):
        game = [step for step in steps if step.game == place]
        assert [step.frame[0, 0, 1] for step in game] == list(range(result.steps))
        assert [step.next_frame[0, 0, 1] for step in game] == list(range(1, result.steps + 1))
        assert all(step.frame[0, 0, 0] == step.next_frame[0, 0, 0] == result.seed for step in game)
        assert {step.action for step in game} == {result.seed % 2}
        assert sum(step.reward for step in game) == result.score
        lost = [clock % 2 == 0 or clock == result.steps for clock in range(1, result.steps + 1)]
        assert [step.terminated for step in game] == lost
        assert not any(step.truncated for step in game)
    cut = list[GameStep]()
    play_episodes(CountingEnv(1, max_steps=3), CheckingPolicy(1), [6], on_step=cut.append)
    assert [step.truncated for step in cut] == [False, False, True]


def test_a_limit_of_length_is_truncation_unless_the_game_was_over() -> None:
    results = play_episodes(CountingEnv(2, max_steps=3), CheckingPolicy(2), [6, 2, 0])
    assert [(result.steps, result.truncated) for result in results] == [(3, True), (3, False), (1, False)]


def test_no_seeds_is_no_episode() -> None:
    assert play_episodes(CountingEnv(2), CheckingPolicy(2), []) == []


def test_random_policy_is_uniform_and_reproducible() -> None:
    frames, fresh = np.zeros((6000, 4, 4, 3), dtype=np.uint8), np.ones(6000, dtype=bool)
    actions = RandomPolicy(3, seed=1).act(frames, fresh)
    assert actions.dtype == np.int64
    np.testing.assert_allclose(np.bincount(actions) / 6000, 1 / 3, atol=0.03)
    np.testing.assert_array_equal(actions, RandomPolicy(3, seed=1).act(frames, fresh))
    assert (actions != RandomPolicy(3, seed=2).act(frames, fresh)).any()


def test_a_held_action_is_repeated_but_not_into_a_new_episode() -> None:
    policy, rows = RandomPolicy(1000, seed=1, hold=0.9), 4000
    frames, fresh = np.zeros((rows, 1, 1, 3), np.uint8), np.zeros(rows, bool)
    first = policy.act(frames, ~fresh)
    second = policy.act(frames, fresh)
    assert 0.87 < (first == second).mean() < 0.93
    assert (policy.act(frames, ~fresh) == second).mean() < 0.01


def test_random_play_of_a_real_game() -> None:
    pytest.importorskip("minatar", reason="needs the minatar extra")
    from diffworld.envs import make_env

    def play() -> list[EpisodeResult]:
        env = make_env("minatar/breakout", 3)
        results = play_episodes(env, RandomPolicy(env.num_actions), [5, 6, 7, 8])
        env.close()
        return results

    results = play()
    assert [result.seed for result in results] == [5, 6, 7, 8]
    assert all(result.steps > 0 and result.score >= 0 and not result.truncated for result in results)
    assert results == play()
