"""Every seed is played once, to game over, whatever the number of rows; and the scores are the game's."""

import io
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diffworld.data import GameStep
from diffworld.envs import ActionCounter, BlindPolicy, Driver, EpisodeResult, FilmRecorder, RandomPolicy, play_episodes
from diffworld.envs.base import EnvironmentConfig, StepResult, VectorEnv
from diffworld.game import ActionSpace, GameSpec, Keys

STAY_OR_GO = ActionSpace.discrete(["stay", "go"])
KEYS = ActionSpace((Keys(("a", "b", "c")),))


class CountingEnv(VectorEnv):
    """A game whose frame shows its seed and clock: it lasts 1 + seed % 7 steps, each worth seed + action."""

    def __init__(self, num_envs: int, max_steps: int | None = None, actions: ActionSpace = STAY_OR_GO) -> None:
        super().__init__(GameSpec("counting", 4, 4, actions), num_envs, max_steps)
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
        rewards = self.seeds + (actions if actions.ndim == 1 else actions.sum(1))
        return StepResult(self.frames(), rewards.astype(np.float32), over | life_lost, no, over)


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
    recorder = FilmRecorder(place)
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
        assert [step.over for step in game] == [False] * (result.steps - 1) + [True]
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
    actions = RandomPolicy(ActionSpace.discrete(3), seed=1).act(frames, fresh)
    assert actions.dtype == np.int64
    np.testing.assert_allclose(np.bincount(actions) / 6000, 1 / 3, atol=0.03)
    np.testing.assert_array_equal(actions, RandomPolicy(ActionSpace.discrete(3), seed=1).act(frames, fresh))
    assert (actions != RandomPolicy(ActionSpace.discrete(3), seed=2).act(frames, fresh)).any()


def test_a_blind_policy_draws_with_its_weights() -> None:
    frames, fresh = np.zeros((6000, 4, 4, 3), dtype=np.uint8), np.ones(6000, dtype=bool)
    actions = BlindPolicy([4, 1], [1, 3], seed=1).act(frames, fresh)
    assert actions.dtype == np.int64 and set(actions) == {1, 4}
    assert abs((actions == 1).mean() - 0.75) < 0.03
    np.testing.assert_array_equal(actions, BlindPolicy([4, 1], [1, 3], seed=1).act(frames, fresh))
    assert (BlindPolicy([2]).act(frames, fresh) == 2).all()
    keys = BlindPolicy([(1, 0, 1)]).act(frames[:2], fresh[:2])
    assert keys.dtype == np.uint8 and keys.tolist() == [[1, 0, 1]] * 2


@pytest.mark.parametrize("actions", [STAY_OR_GO, KEYS])
def test_a_counter_makes_a_player_of_what_was_pressed(actions: ActionSpace) -> None:
    seen: list[GameStep] = []
    counter, policy = ActionCounter(), RandomPolicy(actions, seed=3)

    def see(step: GameStep) -> None:
        counter(step)
        seen.append(step)

    play_episodes(CountingEnv(2, actions=actions), policy, [6, 5, 6], on_step=see)
    pressed = np.stack([np.asarray(step.action) for step in seen])
    assert sum(counter.counts.values()) == len(pressed) == 20, "games that do not count are not counted"
    frames, fresh = np.zeros((20_000, 4, 4, 3), dtype=np.uint8), np.ones(20_000, dtype=bool)
    drawn = counter.player().act(frames, fresh)
    for action in {*map(tuple, pressed)} if pressed.ndim > 1 else {*pressed}:
        share = np.mean(pressed == action if pressed.ndim == 1 else (pressed == action).all(1))
        assert np.mean(drawn == action if drawn.ndim == 1 else (drawn == action).all(1)) == pytest.approx(
            share, abs=0.02
        )


def test_a_held_action_is_repeated_but_not_into_a_new_episode() -> None:
    policy, rows = RandomPolicy(ActionSpace.discrete(1000), seed=1, hold=0.9), 4000
    frames, fresh = np.zeros((rows, 1, 1, 3), np.uint8), np.zeros(rows, bool)
    first = policy.act(frames, ~fresh)
    second = policy.act(frames, fresh)
    assert 0.87 < (first == second).mean() < 0.93
    assert (policy.act(frames, ~fresh) == second).mean() < 0.01


def test_a_held_action_of_keys_is_held_whole() -> None:
    space = ActionSpace((Keys(tuple("abcdefghijkl")),))
    policy, rows = RandomPolicy(space, seed=1, hold=0.5), 2000
    frames, fresh = np.zeros((rows, 1, 1, 3), np.uint8), np.zeros(rows, bool)
    first, second = policy.act(frames, ~fresh), policy.act(frames, fresh)
    assert first.shape == (rows, 12) and first.dtype == second.dtype == np.uint8
    assert 0.45 < (first == second).all(1).mean() < 0.55
    assert (first == second)[(first != second).any(1)].mean() == pytest.approx(0.5, abs=0.03)


def test_random_play_of_a_real_game() -> None:
    pytest.importorskip("minatar", reason="needs the minatar extra")
    from diffworld.envs import make_env

    def play() -> list[EpisodeResult]:
        env = make_env("minatar/breakout", EnvironmentConfig(10, 10), 3)
        results = play_episodes(env, RandomPolicy(env.spec.actions), [5, 6, 7, 8])
        env.close()
        return results

    results = play()
    assert [result.seed for result in results] == [5, 6, 7, 8]
    assert all(result.steps > 0 and result.score >= 0 and not result.truncated for result in results)
    assert results == play()


# --- on and on -------------------------------------------------------------------------------------------------------


Seen = list[tuple[int, int, int, float, bool]]


def driven(rows: int, lives: bool, actions: ActionSpace) -> tuple[Driver, Seen, list[tuple[int, EpisodeResult]]]:
    """A driver of games number 0, 1, ... of seeds 40, 41, ..., what it saw and the games that are over."""
    seen: Seen = []
    over: list[tuple[int, EpisodeResult]] = []

    def see(step: GameStep) -> None:
        seen.append((step.game, step.frame[0, 0, 0], step.frame[0, 0, 1], step.reward, step.over))

    env = CountingEnv(rows, actions=actions)
    driver = Driver(env, lambda game: 40 + game, on_step=see, on_game=lambda *game: over.append(game), lives=lives)
    return driver, seen, over


@settings(max_examples=40)
@given(st.integers(1, 4), st.integers(1, 30), st.booleans())
def test_games_are_numbered_in_the_order_they_begin(rows: int, rounds: int, lives: bool) -> None:
    driver, seen, over = driven(rows, lives, STAY_OR_GO)
    policy = RandomPolicy(STAY_OR_GO)
    for _ in range(rounds):
        driver.play(policy)
    assert len(seen) == rows * rounds
    for number in range(driver.begun):
        steps = [step for step in seen if step[0] == number]
        length = 1 + (40 + number) % 7
        assert [step[1:3] for step in steps] == [(40 + number, clock) for clock in range(len(steps))]
        assert [step[4] for step in steps] == [clock == length - 1 for clock in range(len(steps))]
        results = [result for game, result in over if game == number]
        assert bool(results) == (len(steps) == length)
        if results:
            score = sum(step[3] for step in steps)
            assert results == [EpisodeResult(40 + number, score, length, truncated=False)]
    firsts = [seen.index(next(step for step in seen if step[0] == n)) for n in sorted({step[0] for step in seen})]
    assert firsts == sorted(firsts)


def test_fresh_rows_are_those_of_a_new_game_and_of_a_lost_life_where_lives_count() -> None:
    for lives in (False, True):
        driver, seen, _ = driven(1, lives, STAY_OR_GO)
        fresh = []

        class Watching(RandomPolicy):
            def act(self, frames: NDArray[np.uint8], rows: NDArray[np.bool_], fresh: list = fresh) -> NDArray:
                fresh.append(bool(rows[0]))
                return super().act(frames, rows)

        policy = Watching(STAY_OR_GO)
        for _ in range(30):
            driver.play(policy)
        clocks = [step[2] for step in seen]
        assert fresh == [clock == 0 or (lives and clock % 2 == 0) for clock in clocks]


@pytest.mark.parametrize("actions", [STAY_OR_GO, KEYS], ids=["choice", "keys"])
@settings(max_examples=20)
@given(rows=st.integers(1, 3), before=st.integers(0, 15), lives=st.booleans())
def test_a_restored_driver_goes_on_as_if_nothing_had_been(
    actions: ActionSpace, rows: int, before: int, lives: bool
) -> None:
    rounds = [actions.sample(np.random.default_rng(0), rows) for _ in range(before + 12)]
    straight, expected, games = driven(rows, lives, actions)
    straight.start()
    for each in rounds:
        straight.advance(each)

    first, seen, over = driven(rows, lives, actions)
    if before:
        first.start()
    for each in rounds[:before]:
        first.advance(each)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)

    second, rest, later = driven(rows, lives, actions)
    second.load_state_dict(state)
    second.start()
    for each in rounds[before:]:
        second.advance(each)
    assert seen + rest == expected and over + later == games
    np.testing.assert_array_equal(second.fresh, straight.fresh)
    np.testing.assert_array_equal(second.frames, straight.frames)
    assert second.begun == straight.begun


def test_actions_of_another_form_are_refused() -> None:
    env = CountingEnv(2, actions=KEYS)
    env.reset([0, 1])
    for wrong in (np.array([0, 1]), np.array([[0, 1, 2], [0, 0, 0]]), np.zeros((2, 4), np.uint8), np.zeros((2, 3))):
        with pytest.raises(ValueError, match="actions must be"):
            env.step(wrong)
    result = env.step(np.array([[0, 0, 0], [1, 0, 1]]))
    assert result.rewards.tolist() == [0, 3]
    assert [action.tolist() for history in env.histories() for action in history.actions] == [[0, 0, 0], [1, 0, 1]]
