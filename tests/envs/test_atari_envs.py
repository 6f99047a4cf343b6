"""Atari: parity with the golden numbers, resets of single rows, lost lives, and exact replay."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffworld.envs import (
    ATARI_100K_GAMES,
    EnvironmentConfig,
    GameHistory,
    StepResult,
    VectorEnv,
    area_resize,
    list_envs,
    make_env,
)
from diffworld.envs.make import make_game
from diffworld.game import ActionSpace
from diffworld.runtime.errors import UserError

GOLDEN = Path(__file__).parents[1] / "golden"
FIRE = 1  # in Breakout, Qbert, Hero


LIVES, WHOLE_GAMES = EnvironmentConfig(life_loss_ends=True), EnvironmentConfig(life_loss_ends=False)


def assert_same(left: StepResult, right: StepResult) -> None:
    for field in fields(StepResult):
        np.testing.assert_array_equal(getattr(left, field.name), getattr(right, field.name), field.name)


def reset_ended(env: VectorEnv, result: StepResult, seed: int) -> None:
    rows = np.flatnonzero(result.needs_reset).tolist()
    env.reset([seed + row for row in rows], rows)


def play(env: VectorEnv, steps: int, actions_seed: int) -> list[StepResult]:
    """Random actions; rows that ended are reset with seeds of their own."""
    rng = np.random.default_rng(actions_seed)
    results = []
    for step in range(steps):
        results.append(env.step(rng.integers(env.spec.actions.size, size=env.num_envs)))
        reset_ended(env, results[-1], 1000 * step)
    return results


def until_life_lost(env: VectorEnv, limit: int = 200) -> StepResult:
    """Presses FIRE only, so the ball falls past the paddle."""
    for _ in range(limit):
        result = env.step(np.full(env.num_envs, FIRE))
        if result.terminated.any():
            return result
    raise AssertionError("no life was lost")


@pytest.mark.parametrize(("game", "life_loss_ends"), [("Boxing", False), ("Breakout", False), ("Breakout", True)])
def test_golden_parity(game: str, life_loss_ends: bool) -> None:
    golden = np.load(GOLDEN / f"atari_{game.lower()}.npz")
    env = make_env(f"atari/{game}", EnvironmentConfig(life_loss_ends=life_loss_ends, noop_max=0))
    frames = [env.reset([123])[0]]
    results = [env.step(np.array([action])) for action in golden["actions"]]
    frames += [result.frames[0] for result in results]
    np.testing.assert_array_equal(np.stack(frames)[golden["frame_index"]], golden["frames"])
    np.testing.assert_array_equal([result.rewards[0] for result in results], golden["reward"])
    np.testing.assert_array_equal([result.needs_reset[0] for result in results], golden["terminated"])
    end = golden["terminated"] | golden["life_loss"] if life_loss_ends else golden["terminated"]
    np.testing.assert_array_equal([result.terminated[0] for result in results], end)
    assert results[0].rewards.dtype == np.float32


def test_life_loss_plays_on_and_lives_start_anew() -> None:
    env = make_env("atari/Breakout", LIVES)
    plain = make_env("atari/Breakout", WHOLE_GAMES)
    env.reset([3])
    plain.reset([3])
    for game in range(2):
        losses = 0
        while True:
            result, plain_result = env.step(np.array([FIRE])), plain.step(np.array([FIRE]))
            np.testing.assert_array_equal(result.frames, plain_result.frames)
            assert plain_result.terminated == plain_result.needs_reset == result.needs_reset
            losses += int(result.terminated[0])
            if result.needs_reset[0]:
                break
        assert losses == 5, f"game {game}: one end a life, the last being game over"
        env.reset([4])
        plain.reset([4])


def test_life_loss_frame_is_the_rows_own() -> None:
    """One row loses its lives while the other bides its time: a single row shows the same frames."""
    env = make_env("atari/Breakout", LIVES, 2)
    alone = make_env("atari/Breakout", WHOLE_GAMES)
    env.reset([8, 9])
    alone.reset([8])
    losses = 0
    previous = None
    while losses < 3:
        result, expected = env.step(np.array([FIRE, 0])), alone.step(np.array([FIRE]))
        np.testing.assert_array_equal(result.frames[0], expected.frames[0])
        assert not result.terminated[1]
        if result.terminated[0]:
            losses += 1
            assert previous is not None and (result.frames[0] != previous).any()
        previous = result.frames[0]


def test_reset_of_one_row_leaves_the_others_alone() -> None:
    env, untouched = make_env("atari/Breakout", WHOLE_GAMES, 3), make_env("atari/Breakout", WHOLE_GAMES, 3)
    first = env.reset([1, 2, 3])
    untouched.reset([1, 2, 3])
    for step in range(90):
        actions = np.array([FIRE, step % env.spec.actions.size, FIRE])
        result, expected = env.step(actions), untouched.step(actions)
        others = [0, 1, 2] if step < 40 else [0, 2]
        for name in ("frames", "rewards", "terminated", "needs_reset"):
            np.testing.assert_array_equal(getattr(result, name)[others], getattr(expected, name)[others])
        if step == 40:
            again = env.reset([2], rows=[1])
            np.testing.assert_array_equal(again, first[1:2])
    lengths = [len(history.actions) for history in env.histories()]
    assert lengths == [90, 49, 90]


@pytest.mark.thorough
def test_reset_returns_frames_in_the_order_asked() -> None:
    env = make_env("atari/Freeway", WHOLE_GAMES, 3)
    env.reset([0, 0, 0])
    seen = env.reset([11, 12], rows=[2, 0])
    assert (seen[0] != seen[1]).any()
    alone = make_env("atari/Freeway", WHOLE_GAMES)
    for frame, seed in zip(seen, [11, 12], strict=True):
        np.testing.assert_array_equal(frame, alone.reset([seed])[0])
    assert [history.seed for history in env.histories()] == [12, 0, 11]


def test_row_of_three_equals_row_alone() -> None:
    env = make_env("atari/Qbert", LIVES, 3)
    env.reset([5, 6, 7])
    together = play(env, 120, actions_seed=0)
    actions = np.random.default_rng(0).integers(env.spec.actions.size, size=(120, 3))
    alone = make_env("atari/Qbert", LIVES)
    for row in range(3):
        alone.reset([5 + row])
        for step, result in enumerate(together):
            expected = alone.step(actions[step, row : row + 1])
            for field in fields(StepResult):
                assert (getattr(result, field.name)[row] == getattr(expected, field.name)[0]).all()
            if result.needs_reset[row]:
                alone.reset([1000 * step + row])


@pytest.mark.parametrize("game", ["Breakout", "Qbert", "MsPacman"])
@pytest.mark.cases(every=3)
def test_restore_continues_bit_for_bit(game: str) -> None:
    env = make_env(f"atari/{game}", LIVES, 2)
    env.reset([21, 22])
    last = play(env, 150, actions_seed=1)[-1]
    copy = make_env(f"atari/{game}", LIVES, 2)
    frames = copy.restore(env.histories())
    if not last.needs_reset.any():
        np.testing.assert_array_equal(frames, last.frames)
    assert copy.histories() == env.histories()
    for left, right in zip(play(env, 50, 2), play(copy, 50, 2), strict=True):
        assert_same(left, right)


@settings(max_examples=3, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 25), min_size=3, max_size=3),
    seed=st.integers(0, 2**31 - 1),
    dirty=st.booleans(),
)
def test_restore_of_different_lengths(lengths: list[int], seed: int, dirty: bool) -> None:
    rng = np.random.default_rng(seed)
    histories = [GameHistory(seed, tuple(rng.integers(BREAKOUT_ACTIONS, size=n).tolist())) for n in lengths]
    if dirty:
        play(THREE_ROWS, 3, actions_seed=0)
    frames = THREE_ROWS.restore(histories)
    assert THREE_ROWS.histories() == histories
    after = THREE_ROWS.step(np.array([0, 1, 2]))
    for row, history in enumerate(histories):
        frame = ONE_ROW.reset([history.seed])
        for action in history.actions:
            frame = ONE_ROW.step(np.array([action])).frames
        np.testing.assert_array_equal(frames[row], frame[0])
        np.testing.assert_array_equal(after.frames[row], ONE_ROW.step(np.array([row])).frames[0])


BREAKOUT_ACTIONS = 4
THREE_ROWS = make_env("atari/Breakout", LIVES, 3)
THREE_ROWS.reset([0, 0, 0])
ONE_ROW = make_env("atari/Breakout", LIVES)


def test_restore_over_lost_lives_and_sticky_actions() -> None:
    """Repeated actions are drawn from the seed too, and the count of lives is restored with the game."""
    settings = EnvironmentConfig(life_loss_ends=True, sticky_actions=0.25)
    env = make_env("atari/Breakout", settings, 2)
    env.reset([31, 32])
    until_life_lost(env)
    until_life_lost(env)
    copy = make_env("atari/Breakout", settings, 2)
    copy.restore(env.histories())
    for left, right in zip(play(env, 60, 3), play(copy, 60, 3), strict=True):
        assert_same(left, right)
    assert min(len(history.actions) for history in env.histories()) > 60


@pytest.mark.thorough
def test_restore_of_an_ended_game_needs_a_reset() -> None:
    env = make_env("atari/Breakout", EnvironmentConfig(life_loss_ends=False, max_steps=5), 2)
    env.reset([1, 2])
    for _ in range(4):
        env.step(np.array([0, 1]))
    env.reset([3], rows=[1])
    result = env.step(np.array([0, 1]))
    assert result.truncated.tolist() == result.needs_reset.tolist() == [True, False]
    assert not result.terminated.any()
    copy = make_env("atari/Breakout", EnvironmentConfig(life_loss_ends=False, max_steps=5), 2)
    np.testing.assert_array_equal(copy.restore(env.histories()), result.frames)
    assert copy.needs_reset.tolist() == [True, False]
    with pytest.raises(RuntimeError, match=r"reset rows \[0\]"):
        copy.step(np.array([0, 0]))
    copy.reset([9], rows=[0])
    copy.step(np.array([0, 0]))


@pytest.mark.thorough
def test_noops_are_drawn_from_the_seed() -> None:
    """Different seeds draw different numbers of no-ops, none of them 30 or more."""
    many = make_env("atari/Boxing", EnvironmentConfig(noop_max=30), 2)
    none = make_env("atari/Boxing", EnvironmentConfig(frame_skip=1, noop_max=1))
    frames = [none.reset([0])[0]]
    frames += [none.step(np.array([0])).frames[0] for _ in range(29)]
    starts = [frame for seed in range(3) for frame in many.reset([seed, seed + 10])]
    assert len({start.tobytes() for start in starts}) > 1
    assert {start.tobytes() for start in starts} <= {frame.tobytes() for frame in frames}


@pytest.mark.parametrize("size", [(40, 56), (64, 64), (210, 160), (100, 33)])
def test_frame_size(size: tuple[int, int]) -> None:
    """Any size is the full screen resized by area averaging (up to the rounding of ties)."""
    env, full = (make_env("atari/Pong", EnvironmentConfig(h, w)) for h, w in (size, (210, 160)))
    frames, full_frames = env.reset([1]), full.reset([1])
    for _ in range(20):
        assert frames.shape == (1, *size, 3) and frames.dtype == np.uint8
        resized = area_resize(full_frames, size)
        assert np.abs(frames.astype(int) - resized.astype(int)).max() <= 1
        frames, full_frames = env.step(np.array([2])).frames, full.step(np.array([2])).frames


def test_a_row_that_ended_must_be_reset() -> None:
    env = make_env("atari/Breakout", EnvironmentConfig(noop_max=1, life_loss_ends=False), 2)
    with pytest.raises(RuntimeError, match=r"reset rows \[0, 1\]"):
        env.step(np.array([0, 0]))
    env.reset([1], rows=[1])
    with pytest.raises(RuntimeError, match=r"reset rows \[0\]"):
        env.step(np.array([0, 0]))
    with pytest.raises(RuntimeError, match="no history"):
        env.histories()
    env.reset([1], rows=[0])
    while not (result := env.step(np.array([FIRE, 0]))).needs_reset.any():
        pass
    assert result.needs_reset.tolist() == result.terminated.tolist() == [True, False]
    lengths = [len(history.actions) for history in env.histories()]
    with pytest.raises(RuntimeError, match=r"reset rows \[0\]"):
        env.step(np.array([0, 0]))
    assert [len(history.actions) for history in env.histories()] == lengths


def test_results_are_not_overwritten_by_later_steps() -> None:
    env = make_env("atari/Pong", EnvironmentConfig())
    start = env.reset([0])
    first = env.step(np.array([2]))
    kept = start.copy(), first.frames.copy()
    for _ in range(30):
        env.step(np.array([2]))
    np.testing.assert_array_equal(start, kept[0])
    np.testing.assert_array_equal(first.frames, kept[1])


@pytest.mark.thorough
def test_all_benchmark_games_construct_and_step_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    def check(game: str) -> None:
        settings = EnvironmentConfig(height=16, width=16)
        env = make_env(f"atari/{game}", settings)
        assert env.spec.name == f"atari/{game}" and 3 <= env.spec.actions.size <= 18
        assert env.spec.actions.is_discrete and env.spec.actions.names[0] == "NOOP"
        assert env.spec.frame_shape == (16, 16, 3) and env.spec.presented == asdict(settings)
        assert env.spec.steps_per_second == 15 and env.spec.rewards and env.spec.ends
        start = env.reset([0])
        result = env.step(np.array([env.spec.actions.size - 1]))
        assert start.shape == result.frames.shape == (1, 16, 16, 3)
        assert start.max() > 0 and not result.needs_reset.any()
        env.close()

    assert len(ATARI_100K_GAMES) == 26
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(check, ATARI_100K_GAMES))
    assert capfd.readouterr() == ("", "")


def test_list_envs_names_games_that_can_be_played() -> None:
    ids = list_envs()
    assert {f"atari/{game}" for game in ATARI_100K_GAMES} < set(ids)
    assert "atari/SpaceInvaders" in ids and "minatar/space_invaders" in ids
    assert "atari/Combat" not in ids, "ale-py ends the process on a game for two players"


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("atari/breakout", "atari/Breakout"),
        ("atari/Brekout", "atari/Breakout"),
        ("atari/ms_pacman", "atari/MsPacman"),
        ("atari/Combat", "no Atari game"),
        ("atari/zzzzzzz", "list_envs"),
        ("atari/", "atari/<Game>"),
        ("Breakout", "minatar/<game>"),
        ("doom/basic", "gym/<registered"),
    ],
)
def test_unknown_ids(env_id: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        make_env(env_id, EnvironmentConfig())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "option",
    [
        {"height": 0},
        {"width": -1},
        {"frame_skip": 0},
        {"noop_max": -1},
        {"sticky_actions": 1.5},
        {"max_steps": -1},
        {"life_loss_ends": 2},
    ],
)
def test_bad_options(option: dict) -> None:
    with pytest.raises(UserError, match=next(iter(option))):
        make_env("atari/Pong", EnvironmentConfig(**option))
    with pytest.raises(UserError, match="num_envs"):
        make_env("atari/Pong", EnvironmentConfig(), 0)


def test_the_game_of_a_spec_is_the_game_it_was_taken_from() -> None:
    settings = EnvironmentConfig(20, 16, frame_skip=2, noop_max=5, sticky_actions=0.25, life_loss_ends=False)
    env = make_env("atari/Breakout", settings, 2)
    same = make_game(env.spec, 2)
    assert same.spec == env.spec
    np.testing.assert_array_equal(same.reset([1, 2]), env.reset([1, 2]))
    for left, right in zip(play(env, 30, 0), play(same, 30, 0), strict=True):
        assert_same(left, right)
    renamed = replace(env.spec, keys={"FIRE": "KeyF"}, steps_per_second=1.0)
    assert make_game(renamed).spec == env.spec, "speed and keys are no part of the game"


def test_a_game_that_is_not_what_it_was() -> None:
    spec = make_env("atari/Pong", EnvironmentConfig(16, 16)).spec
    for other, message in (
        (replace(spec, name="atari/Breakout"), "6 actions, not 4"),
        (replace(spec, height=17), "frames of 17x16, not 16x16"),
        (replace(spec, actions=ActionSpace.discrete(6)), "other actions"),
        (replace(spec, presented={**spec.presented, "frame_skip": 0}), "frame_skip"),
        (replace(spec, presented={"height": 16}), "no field"),
        (replace(spec, presented={}), "is a recording"),
        (replace(spec, name=""), "the data set is a recording"),
        (replace(spec, name="atari/Nothing"), "no Atari game"),
    ):
        with pytest.raises(UserError, match=message) as error:
            make_game(other)
        assert "\n" not in str(error.value)
