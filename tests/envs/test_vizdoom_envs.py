"""ViZDoom: keys and mouse, exact replay, rewards and ends, a scripted player that shoots, and its absence."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from diffworld.envs import Driver, EnvironmentConfig, make_env
from diffworld.envs.vizdoom import DEGREES, DoomEnv, _actions, scenarios
from diffworld.game import MOUSE_X, MOUSE_Y, Choice, Keys
from diffworld.runtime.errors import UserError

if find_spec("vizdoom") is None:
    pytest.skip("ViZDoom is not installed", allow_module_level=True)

SMALL = EnvironmentConfig(height=24, width=32, frame_skip=2)
CORRIDOR = "vizdoom/deadly_corridor"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine writes where it is started."""
    monkeypatch.chdir(tmp_path)


def doom(rows: int = 1, scenario: str = CORRIDOR, settings: EnvironmentConfig = SMALL) -> DoomEnv:
    env = make_env(scenario, settings, rows)
    assert isinstance(env, DoomEnv)
    return env


def held(env: DoomEnv, *keys: str, turn: int = 0) -> np.ndarray:
    """The action of holding keys and turning by so many degrees."""
    pressed, axis = env.spec.actions.parts
    assert isinstance(pressed, Keys) and isinstance(axis, Choice)
    down = [name in keys for name in pressed.names]
    return np.asarray(env.spec.actions.encode([np.array(down, np.uint8), axis.values.index(str(turn))]))


def test_a_scenario_is_played_with_keys_and_mouse() -> None:
    env = doom()
    pressed, axis = env.spec.actions.parts
    assert isinstance(pressed, Keys) and pressed.names == ("w", "a", "s", "d", "left click")
    assert pressed.exclusive == (("w", "s"), ("a", "d"))
    assert isinstance(axis, Choice) and (axis.name, axis.numbers) == (MOUSE_X, DEGREES[MOUSE_X])
    assert env.spec.steps_per_second == 17.5 and env.spec.keys[f"{MOUSE_X} -6"] == "ArrowLeft"
    assert env.spec.actions.decode(env.spec.actions.idle)[1] == axis.values.index("0")
    assert env.reset([1]).shape == (1, 24, 32, 3)
    env.close()


def test_buttons_of_other_scenarios() -> None:
    everything = _actions(["ATTACK", "SPEED", "STRAFE", "TURN_LEFT", "SELECT_WEAPON1", "SELECT_WEAPON2", "MOVE_LEFT"])
    (pressed, axis) = everything.parts
    assert isinstance(pressed, Keys) and pressed.names == ("a", "shift", "1", "2", "left click")
    assert pressed.exclusive == (("1", "2"),) and axis.name == MOUSE_X  # type: ignore[union-attr]
    assert [part.name for part in _actions(["LOOK_UP_DOWN_DELTA"]).parts] == [MOUSE_Y]  # type: ignore[union-attr]
    assert {"basic", "deadly_corridor", "deathmatch", "my_way_home"} <= scenarios().keys()
    for name in ("basic", "deathmatch"):
        env = doom(scenario=f"vizdoom/{name}")
        env.reset([0])
        assert env.step(np.stack([env.spec.actions.sample(np.random.default_rng(0), 1)[0]])).frames.any()
        env.close()


def test_a_turn_is_as_many_degrees_as_it_says_however_long_an_action_lasts() -> None:
    import vizdoom

    for tics in (1, 2, 4):
        env = doom(settings=EnvironmentConfig(height=24, width=32, frame_skip=tics))
        env.reset([3])
        for _ in range(8):  # the engine heeds no turn in the first tics of a game
            env.step(held(env)[None])
        angles = []
        for turn in (0, 14, 14, -6):
            env.step(held(env, turn=turn)[None])
            angles.append(env.games[0]._game.get_game_variable(vizdoom.GameVariable.ANGLE))
        turned = (np.diff(angles) + 180) % 360 - 180
        np.testing.assert_allclose(turned, [-14, -14, 6], atol=0.05)  # the engine counts to the left
        env.close()


def test_seed_and_actions_decide_how_a_game_goes() -> None:
    env, rng = doom(2), np.random.default_rng(0)
    env.reset([5, 6])
    space, played = env.spec.actions, []
    for _ in range(40):
        if env.needs_reset.any():
            break
        played.append(env.step(space.sample(rng, 2)))
    assert (played[0].frames[0] != played[0].frames[1]).any() or (played[-1].frames[0] != played[-1].frames[1]).any()
    histories, last = env.histories(), played[-1].frames
    np.testing.assert_array_equal(env.restore(histories), last)
    more = space.sample(rng, 2)
    again = doom(2)
    again.restore(histories)
    if not env.needs_reset.any():
        np.testing.assert_array_equal(env.step(more).frames, again.step(more).frames)
    env.close()
    again.close()


def test_wounds_kills_and_deaths_are_told() -> None:
    """Six monsters shoot at whoever stands in their corridor."""
    env = doom()
    env.reset([1])
    rewards, results = [], []
    while not env.needs_reset.any():
        results.append(env.step(held(env)[None]))
        rewards.append(results[-1].rewards[0])
    assert results[-1].terminated[0] and not results[-1].truncated[0]
    assert sum(rewards) == pytest.approx(-1.0, abs=1e-4), "all health is lost, and nobody was shot"
    assert min(rewards) < 0
    env.close()


def test_a_game_that_is_long_enough_is_cut() -> None:
    env = doom(scenario="vizdoom/my_way_home", settings=EnvironmentConfig(height=12, width=16, frame_skip=300))
    env.reset([0])
    result = None
    while not env.needs_reset.any():
        result = env.step(np.asarray(env.spec.actions.idle)[None])
    assert result is not None and result.truncated[0] and not result.terminated[0]
    env.close()


def test_the_scripted_player_walks_turns_and_shoots_what_it_sees() -> None:
    env, steps, kills = doom(), list[np.ndarray](), 0
    policy, places = env.scripted(7), set()
    driver = Driver(env, lambda game: game)
    for _ in range(400):
        result = driver.play(policy)
        kills += int(result.rewards[0] > 0.5)
        steps.append(env.histories()[0].actions[-1] if env.histories()[0].actions else steps[-1])
        places.add(tuple(round(where / 32) for where in env.games[0].place))
    taken = np.stack(steps)
    shares = dict(zip(env.spec.actions.names, taken.mean(0), strict=True))
    assert shares["w"] > 0.2 and 0.02 < shares["left click"] < 0.6
    assert all(shares[f"{MOUSE_X} {turn}"] > 0 for turn in ("-14", "-6", "0", "6", "14"))
    assert kills >= 1, "it hits something"
    assert len(places) > 8, "it gets about"
    env.close()


def test_games_without_a_player_of_their_own_say_so() -> None:
    env = make_env("atari/Breakout", EnvironmentConfig())
    with pytest.raises(UserError, match="nobody has written a player for atari/Breakout"):
        env.scripted(0)
    env.close()


def test_unknown_scenarios_are_one_line() -> None:
    with pytest.raises(UserError, match="no ViZDoom scenario 'corridor'; use one of basic") as error:
        doom(scenario="vizdoom/corridor")
    assert "\n" not in str(error.value)


def test_nothing_is_left_where_it_was_started(tmp_path: Path) -> None:
    env = doom()
    env.reset([0])
    env.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_the_engine_cannot_make_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "_vizdoom").write_text("a file")
    with pytest.raises(UserError, match=r"cannot make its folder .*_vizdoom"):
        doom()


def test_an_engine_that_is_gone_is_one_line() -> None:
    env = doom()
    env.reset([0])
    env.games[0]._game.close()
    with pytest.raises(UserError, match="ViZDoom stopped"):
        env.step(held(env)[None])
    env.close()


def test_without_the_package_the_extra_is_named() -> None:
    code = """
import sys
sys.modules["vizdoom"] = None
from diffworld.envs import EnvironmentConfig, make_env
make_env("vizdoom/basic", EnvironmentConfig())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert 'pip install "diffworld[vizdoom]"' in done.stderr.splitlines()[-1]
