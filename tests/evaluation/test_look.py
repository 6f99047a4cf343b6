"""Looking at a data set: what is said of it, what the page holds, and whether actions belong to their frames."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from diffworld.data import Dataset
from diffworld.evaluation.look import check_alignment
from diffworld.spec import ActionSpace, Choice, GameSpec, Keys

KEYS = Keys(("left", "right", "up", "down"))
WAYS = ((0, -2), (0, 2), (-2, 0), (2, 0))
Episodes = list[tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8] | int]]]


def boat(steps: int, hold: float) -> Episodes:
    """A light on water: two rows of pixels a key a step, each key held for a while."""
    rng = np.random.default_rng(1)
    place, action, frames, actions = np.array([6, 8]), np.zeros(4, np.uint8), [], list[NDArray[np.uint8] | int]()
    for _ in range(steps + 1):
        frame = np.full((12, 16, 3), (20, 40, 90), np.uint8)
        frame[place[0] : place[0] + 2, place[1] : place[1] + 2] = (240, 220, 120)
        frames.append(frame)
        if rng.random() >= hold:
            action = np.eye(5, 4, dtype=np.uint8)[rng.integers(5)]
        actions.append(action)
        place = (place + action @ np.array(WAYS)) % (12, 16)
    return [(frames, actions[:steps])]


def camera(steps: int) -> Episodes:
    """A view that turns with the mouse, over a wall of random bricks; a choice beside a key that does nothing."""
    rng = np.random.default_rng(2)
    wall = rng.integers(0, 255, (12, 64, 3), dtype=np.uint8).repeat(2, axis=1)
    at, frames, actions = 0, [], list[NDArray[np.uint8] | int]()
    for _ in range(steps + 1):
        frames.append(np.roll(wall, -at, axis=1)[:, :16])
        turn = int(rng.integers(3))
        actions.append(np.array([rng.integers(2), *np.eye(3)[turn]], np.uint8))
        at += 3 * (turn - 1)
    return [(frames, actions[:steps])]


def catch(games: int) -> Episodes:
    """The block that falls, in episodes of six steps."""
    env = gymnasium.make("tests.games.catch:Catch-v0", disable_env_checker=True)
    rng, found = np.random.default_rng(3), Episodes()
    for game in range(games):
        frames, actions, over = [env.reset(seed=game)[0]], list[NDArray[np.uint8] | int](), False
        while not over:
            actions.append(int(rng.integers(3)))
            frame, _, over, _, _ = env.step(actions[-1])
            frames.append(frame)
        found.append((frames, actions))
    return found


def atari(steps: int) -> Episodes:
    """Breakout through ale-py, keys held for a while."""
    from diffworld.envs import EnvironmentConfig, make_env

    env = make_env("atari/Breakout", EnvironmentConfig(height=24, width=24, life_loss_ends=False), 1)
    rng, found, action = np.random.default_rng(4), Episodes(), 1
    frame = env.reset(seeds=[0])[0]
    frames, actions = [frame], list[NDArray[np.uint8] | int]()
    for step in range(steps):
        action = int(rng.integers(4)) if rng.random() < 0.5 else action
        taken = env.step(np.array([action]))
        frames.append(taken.frames[0])
        actions.append(action)
        if taken.needs_reset[0] or step == steps - 1:
            found.append((frames, actions))
            frames, actions = [env.reset(seeds=[step])[0]], list[NDArray[np.uint8] | int]()
    env.close()
    return found


SPACES = {
    "boat": ActionSpace((KEYS,)),
    "boat, keys held": ActionSpace((KEYS,)),
    "camera": ActionSpace((Keys(("jump",)), Choice("mouse x", ("-1", "0", "1")))),
    "catch": ActionSpace.discrete(3),
    "breakout": ActionSpace.discrete(4),
}
PLAYED = {
    "boat": lambda: boat(900, 0),
    "boat, keys held": lambda: boat(1500, 0.7),
    "camera": lambda: camera(900),
    "catch": lambda: catch(250),
    "breakout": lambda: atari(2000),
}


@pytest.fixture(scope="module")
def played() -> dict[str, Episodes]:
    return {}


def write(path: Path, actions: ActionSpace, episodes: Episodes, late: int = 0) -> Path:
    """A data set of those episodes, whose actions are stored so many steps too late."""
    height, width = episodes[0][0][0].shape[:2]
    with Dataset.create(path, GameSpec("game", height, width, actions)) as data:
        for frames, taken in episodes:
            steps = [t for t in range(len(taken)) if 0 <= t - late < len(taken)]
            if not steps:
                continue
            episode = data.new_episode()
            for t in steps:
                last = t == steps[-1]
                data.append(episode, frames[t], taken[t - late], 0.0, False, last, frames[t + 1] if last else None)
    return path


@pytest.mark.parametrize("late", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("game", PLAYED)
def test_the_shift_is_found(game: str, late: int, tmp_path: Path, played: dict[str, Episodes]) -> None:
    if game not in played:
        played[game] = PLAYED[game]()
    with Dataset.open(write(tmp_path / "data", SPACES[game], played[game], late)) as data:
        found = check_alignment(data, shifts=3)
    assert found.best == late and found.sure >= 0.95, found
    assert found.share > 0.05
