"""MinAtar: colours that tell the channels, exact replay, sticky actions off, and its absence."""

import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from diffworld.envs import EnvironmentConfig, make_env
from diffworld.envs.minatar import MINATAR_GAMES, _load_game
from diffworld.runtime.errors import UserError

SMALL = EnvironmentConfig(height=10, width=10)
needs_minatar = pytest.mark.skipif(find_spec("minatar") is None, reason="MinAtar is not installed")


def random_actions(seed: int, count: int, length: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(count, size=length)


@needs_minatar
@pytest.mark.parametrize("game", MINATAR_GAMES)
def test_plays_as_minatar_itself(game: str) -> None:
    """Without sticky actions the same actions give the same rewards, end and channels."""
    env = make_env(f"minatar/{game}", SMALL, 2)
    original = _load_game(game).Env(ramping=True)
    original.random = np.random.RandomState(7)
    original.reset()
    assert env.spec.actions.names[0] == "NOOP"
    frame = env.reset([6, 7])[1]
    colours: dict[tuple[int, ...], tuple[int, ...]] = {}
    for action in random_actions(0, env.spec.actions.size, 300):
        state = original.state()
        cells = [tuple(np.flatnonzero(cell).tolist()) for cell in state.reshape(-1, state.shape[-1])]
        for channels, colour in zip(cells, frame.reshape(-1, 3).tolist(), strict=True):
            assert colours.setdefault(tuple(colour), channels) == channels, "a colour tells all channels of its cell"
        reward, terminal = original.act(original.minimal_action_set()[action])
        if env.needs_reset[0]:
            env.reset([6], rows=[0])
        result = env.step(np.array([0, action]))
        assert (result.rewards[1], result.terminated[1]) == (reward, terminal)
        assert result.needs_reset[1] == terminal and not result.truncated[1]
        frame = result.frames[1]
        if terminal:
            break
    assert len(set(colours.values())) == len(colours) >= 4
    apart = np.abs(np.array(list(colours))[:, None] - np.array(list(colours))).max(-1) + 255 * np.eye(len(colours))
    assert apart.min() >= 34, "35 levels, but for rounding"


@needs_minatar
@pytest.mark.parametrize("game", MINATAR_GAMES)
@pytest.mark.parametrize("sticky_actions", [0.0, 0.3])
def test_restore_continues_bit_for_bit(game: str, sticky_actions: float) -> None:
    def play(env, steps: int, seed: int) -> list:
        results = []
        for actions in random_actions(seed, env.spec.actions.size, 2 * steps).reshape(steps, 2):
            results.append(env.step(actions))
            rows = np.flatnonzero(results[-1].needs_reset).tolist()
            env.reset([seed + row for row in rows], rows)
        return results

    env = make_env(f"minatar/{game}", replace(SMALL, sticky_actions=sticky_actions), 2)
    env.reset([1, 2])
    play(env, 120, 3)
    copy = make_env(f"minatar/{game}", replace(SMALL, sticky_actions=sticky_actions), 2)
    copy.restore(env.histories())
    for left, right in zip(play(env, 60, 4), play(copy, 60, 4), strict=True):
        np.testing.assert_array_equal(left.frames, right.frames)
        np.testing.assert_array_equal(left.rewards, right.rewards)
        np.testing.assert_array_equal(left.terminated, right.terminated)


@needs_minatar
@pytest.mark.parametrize("size", [(64, 64), (30, 50), (10, 11)])
def test_cells_are_drawn_at_any_size(size: tuple[int, int]) -> None:
    frame = make_env("minatar/breakout", EnvironmentConfig(*size)).reset([0])[0]
    cells = make_env("minatar/breakout", SMALL).reset([0])[0]
    assert frame.shape == (*size, 3)
    rows, columns = np.arange(size[0]) * 10 // size[0], np.arange(size[1]) * 10 // size[1]
    np.testing.assert_array_equal(frame, cells[rows][:, columns])
    assert len(np.unique(rows)) == len(np.unique(columns)) == 10


@needs_minatar
@pytest.mark.thorough
def test_brings_in_no_plotting_library_and_says_nothing() -> None:
    code = (
        "import sys; from diffworld.envs import EnvironmentConfig, make_env\n"
        "make_env('minatar/freeway', EnvironmentConfig()).reset([0])\n"
        "assert not {'matplotlib', 'seaborn', 'ale_py'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="asterix, breakout"):
        make_env("minatar/pong", SMALL)
    with pytest.raises(UserError, match="10x10"):
        make_env("minatar/breakout", EnvironmentConfig(8, 64))
    monkeypatch.setattr("diffworld.envs.minatar.find_spec", lambda name: None)
    _load_game.cache_clear()
    with pytest.raises(UserError, match=r'pip install "diffworld\[minatar\]"'):
        make_env("minatar/breakout", SMALL)
