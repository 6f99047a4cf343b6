"""Gymnasium environments: pixels or rendering, both kinds of end, replay, and clear errors."""

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from hypothesis import given, settings
from hypothesis import strategies as st

from diffworld.envs import EnvironmentConfig, GameHistory, VectorEnv, area_resize, make_env
from diffworld.envs.gym import default_keys
from diffworld.game import ActionSpace, Choice, Keys
from diffworld.game.gym_spaces import from_gymnasium
from diffworld.runtime.errors import UserError

SIDE = 8
SMALL = EnvironmentConfig(height=SIDE, width=SIDE)


def walk(name: str, rows: int = 1, settings: EnvironmentConfig = SMALL) -> VectorEnv:
    return make_env(f"gym/Diffworld/{name}-v0", settings, rows)


class Walk(gymnasium.Env):
    """A lit cell on a line of SIDE, moved by gusts too. The right end terminates, the left truncates.

    `shape` is the observation's: an image, or (1,) for the bare position, drawn only by rendering.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, shape: tuple[int, ...], render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.shape = shape
        self.action_space = Discrete(2, start=-1)
        self.observation_space = Box(0, 255, shape, np.uint8) if len(shape) > 1 else Box(0, SIDE, shape, np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.position = SIDE // 2 + int(self.np_random.integers(-1, 2))
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert action in (-1, 0)
        gust = int(self.np_random.integers(-1, 2))
        self.position = int(np.clip(self.position + (1 if action == 0 else -1) + gust, 0, SIDE - 1))
        return self._observe(), self.position / 2, self.position == SIDE - 1, self.position == 0, {}

    def render(self) -> np.ndarray:
        image = np.zeros((SIDE, SIDE, 3), np.uint8)
        image[:, self.position] = (200, 100, 50)
        return image

    def _observe(self) -> np.ndarray:
        if len(self.shape) == 1:
            return np.array([self.position], np.float32)
        image = self.render()
        return image if self.shape[-1] == 3 else image[..., 0].reshape(self.shape)


class Blind(Walk):
    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}


class Continuous(Walk):
    def __init__(self) -> None:
        super().__init__((SIDE, SIDE, 3))
        self.action_space = Box(-np.inf, 1, (1,))


class Buttons(gymnasium.Env):
    """An image whose pixels tell the last action, of any space, played in it; the reward is that of what is idle."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}
    observation_space = Box(0, 255, (2, 2, 3), np.uint8)

    def __init__(self, space: gymnasium.Space) -> None:
        self.action_space = space

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return np.zeros((2, 2, 3), np.uint8), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.action_space.contains(action), action
        total = _total(action)
        return np.full((2, 2, 3), total % 256, np.uint8), float(total), False, False, {}


def _total(action: Any) -> int:
    return sum(map(_total, action.values())) if isinstance(action, dict) else int(np.sum(action))


def missing_package() -> gymnasium.Env:
    raise gymnasium.error.DependencyNotInstalled("somepackage is not installed,\nrun `pip install somepackage`")


REGISTERED = {
    "Diffworld/Rgb-v0": (lambda **kw: Walk((SIDE, SIDE, 3), **kw), None),
    "Diffworld/Grey-v0": (lambda **kw: Walk((SIDE, SIDE), **kw), None),
    "Diffworld/GreyChannel-v0": (lambda **kw: Walk((SIDE, SIDE, 1), **kw), None),
    "Diffworld/Rendered-v0": (lambda render_mode=None: Walk((1,), render_mode), None),
    "Diffworld/Short-v0": (lambda **kw: Walk((SIDE, SIDE, 3), **kw), 3),
    "Diffworld/Blind-v0": (lambda **kw: Blind((1,), **kw), None),
    "Diffworld/Continuous-v0": (Continuous, None),
    "Diffworld/Missing-v0": (missing_package, None),
    "Diffworld/Keys-v0": (lambda: Buttons(MultiBinary(3)), None),
    "Diffworld/Choices-v0": (lambda: Buttons(MultiDiscrete([2, 3])), None),
    "Diffworld/Both-v0": (
        lambda: Buttons(Dict({"buttons": MultiBinary(2), "mouse": Dict({"x": Discrete(3, start=-1)})})),
        None,
    ),
}


@pytest.fixture(autouse=True, scope="module")
def registered() -> Iterator[None]:
    for gym_id, (entry_point, max_episode_steps) in REGISTERED.items():
        gymnasium.register(gym_id, entry_point=entry_point, max_episode_steps=max_episode_steps)
    yield
    for gym_id in REGISTERED:
        del gymnasium.registry[gym_id]


def reference(seed: int, actions: list[int]) -> list[tuple[np.ndarray, float, bool, bool]]:
    """The game played directly: its rendering (8x8) and outcome after each step."""
    env = Walk((SIDE, SIDE, 3))
    env.reset(seed=seed)
    steps = []
    for action in actions:
        _, reward, terminated, truncated, _ = env.step(action - 1)
        steps.append((env.render(), reward, terminated, truncated))
        if terminated or truncated:
            break
    return steps


@pytest.mark.parametrize("name", ["Rgb", "Grey", "GreyChannel", "Rendered"])
@pytest.mark.parametrize("seed", [0, 1])
def test_plays_as_the_environment_itself(name: str, seed: int) -> None:
    env = walk(name, 2)
    assert env.spec.actions == ActionSpace.discrete(["-1", "0"])
    assert (env.spec.name, env.spec.steps_per_second) == (f"gym/Diffworld/{name}-v0", 10)
    env.reset([99, seed])
    actions = np.random.default_rng(seed).integers(2, size=30).tolist()
    for action, (image, reward, terminated, truncated) in zip(actions, reference(seed, actions), strict=False):
        if env.needs_reset[0]:
            env.reset([98], rows=[0])
        result = env.step(np.array([0, action]))
        expected = image if name in ("Rgb", "Rendered") else np.repeat(image[..., :1], 3, axis=-1)
        np.testing.assert_array_equal(result.frames[1], expected)
        assert result.rewards[1] == reward
        assert (result.terminated[1], result.truncated[1]) == (terminated, truncated)
        assert result.needs_reset[1] == (terminated or truncated)
    assert result.needs_reset[1], "the game must have ended for this test to tell anything"


@pytest.mark.parametrize(("action", "terminates"), [(1, True), (0, False)])
def test_termination_and_truncation_are_told_apart(action: int, terminates: bool) -> None:
    env = walk("Rgb")
    env.reset([0])
    while not (result := env.step(np.array([action]))).needs_reset[0]:
        assert not result.terminated[0] and not result.truncated[0]
    assert (result.terminated[0], result.truncated[0]) == (terminates, not terminates)


@pytest.mark.parametrize(("name", "max_steps", "length"), [("Short", 0, 3), ("Short", 2, 2), ("Rgb", 4, 4)])
def test_time_limits_truncate(name: str, max_steps: int, length: int) -> None:
    env = walk(name, settings=replace(SMALL, max_steps=max_steps))
    env.reset([3])
    for step in range(1, length + 1):
        result = env.step(np.array([step % 2]))
        assert not result.terminated[0]
        assert result.truncated[0] == result.needs_reset[0] == (step == length)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 12)), min_size=1, max_size=3))
def test_restore(games: list[tuple[int, int]]) -> None:
    histories = []
    for seed, length in games:
        played = reference(seed, [k % 2 for k in range(length)])
        histories.append(GameHistory(seed, tuple(k % 2 for k in range(len(played)))))
    env = walk("Rendered", len(games))
    frames = env.restore(histories)
    assert env.histories() == histories
    for row, history in enumerate(histories):
        played = reference(history.seed, list(history.actions))
        if played:
            np.testing.assert_array_equal(frames[row], played[-1][0])
            assert env.needs_reset[row] == (played[-1][2] or played[-1][3])


def test_sticky_actions_are_drawn_from_the_seed() -> None:
    env = walk("Rgb", 2, replace(SMALL, sticky_actions=0.5))
    plain = walk("Rgb")
    differs = False
    for seed in range(5):
        env.reset([seed, seed])
        plain.reset([seed])
        for action in (1, 0, 1, 0):
            if env.needs_reset.any() or plain.needs_reset.any():
                break
            frames = env.step(np.array([action, action])).frames
            np.testing.assert_array_equal(frames[0], frames[1])
            differs |= bool((frames[0] != plain.step(np.array([action])).frames[0]).any())
    assert differs


@pytest.mark.parametrize(
    ("name", "actions", "played"),
    [
        ("Keys", ActionSpace((Keys(("0", "1", "2")),)), [([0, 0, 0], 0), ([1, 0, 1], 2), ([1, 1, 1], 3)]),
        (
            "Choices",
            ActionSpace((Choice("0", ("0", "1")), Choice("1", ("0", "1", "2")))),
            [([1, 0, 1, 0, 0], 0), ([0, 1, 0, 0, 1], 3)],
        ),
        (
            "Both",
            ActionSpace((Keys(("buttons 0", "buttons 1")), Choice("mouse", ("-1", "0", "1")))),
            [([0, 0, 0, 1, 0], 0), ([1, 1, 0, 0, 1], 3), ([0, 0, 1, 0, 0], -1)],
        ),
    ],
)
def test_keys_and_several_choices_at_once(name: str, actions: ActionSpace, played: list[tuple[list[int], int]]) -> None:
    env = walk(name, 2, EnvironmentConfig(2, 2))
    assert env.spec.actions == actions
    env.reset([0, 1])
    np.testing.assert_array_equal(actions.idle, played[0][0])
    for vector, total in played:
        result = env.step(np.stack([actions.idle, np.array(vector, np.uint8)]))
        assert result.rewards.tolist() == [0, total]
        assert (result.frames[1] == total % 256).all()
    copy = walk(name, 2, EnvironmentConfig(2, 2))
    np.testing.assert_array_equal(copy.restore(env.histories()), result.frames)


def test_at_first_a_sticky_action_is_doing_nothing() -> None:
    env = walk("Keys", 1, EnvironmentConfig(2, 2, sticky_actions=1.0))
    env.reset([0])
    assert env.step(np.array([[1, 1, 1]])).rewards.tolist() == [0]


def test_history_must_end_with_its_game() -> None:
    env = walk("Rgb", 2)
    with pytest.raises(RuntimeError, match="reset rows"):
        env.restore([GameHistory(0, (1,) * 100), GameHistory(0, ())])
    with pytest.raises(ValueError, match="2 rows"):
        env.restore([GameHistory(0, ())])


@pytest.mark.parametrize(
    ("seeds", "rows"),
    [([1], None), ([1, 2, 3], None), ([1, 2], [0, 0]), ([1], [2]), ([1], [-1]), ([-1], [0]), ([2**31], [0])],
)
def test_bad_resets(seeds: list[int], rows: list[int] | None) -> None:
    env = walk("Rgb", 2)
    with pytest.raises(ValueError, match=r"rows|seeds"):
        env.reset(seeds, rows)


@pytest.mark.parametrize("actions", [[0], [0, 2], [-1, 0], [0.0, 1.0], [[0, 1]]])
def test_bad_actions(actions: list) -> None:
    env = walk("Rgb", 2)
    env.reset([0, 1])
    with pytest.raises(ValueError, match="actions must be"):
        env.step(np.array(actions))
    assert [history.actions for history in env.histories()] == [(), ()]


@pytest.mark.parametrize(
    ("gym_id", "message"),
    [
        ("Diffworld/Nothing-v0", "doesn't exist"),
        ("nosuchpackage:Env-v0", "nosuchpackage"),
        ("Diffworld/Continuous-v0", "Discrete"),
        ("Diffworld/Blind-v0", "rgb_array"),
        ("Diffworld/Missing-v0", "pip install somepackage"),
    ],
)
def test_errors(gym_id: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        make_env(f"gym/{gym_id}", SMALL)
    assert "\n" not in str(caught.value)


def test_numbers_with_bounds_are_binned_and_have_keys() -> None:
    env = make_env("gym/tests.games.boat:Boat-v0", EnvironmentConfig(16, 16))
    values = ("-1", "-0.5", "0", "0.5", "1")
    assert env.spec.actions == ActionSpace((Choice("axis 0", values), Choice("axis 1", values)))
    assert env.spec.steps_per_second == 20
    assert env.spec.keys == {
        "axis 0 -1": "ArrowLeft",
        "axis 0 1": "ArrowRight",
        "axis 1 -1": "ArrowDown",
        "axis 1 1": "ArrowUp",
    }
    env.reset([0])
    result = env.step(np.array([env.spec.actions.encode([4, 1])]))
    assert result.rewards[0] == 1 and tuple(result.frames[0, 7, 10]) == (240, 220, 120)  # 2 to the right, 1 up
    assert env.step(np.array([env.spec.actions.idle])).rewards[0] == 0
    env.close()


@pytest.mark.parametrize(
    ("space", "keys"),
    [
        (Discrete(3), {}),
        (MultiBinary(3), {}),
        (MultiDiscrete([2, 3]), {"0 1": "KeyQ", "1 1": "KeyA", "1 2": "KeyS"}),
        (Dict({"fire": MultiBinary(1), "x": Box(-1, 1, (1,))}), {"x axis -1": "ArrowLeft", "x axis 1": "ArrowRight"}),
        (Box(0, 1, (1,)), {}),
        (Box(-1, 1, (1,)), {"-1": "ArrowLeft", "1": "ArrowRight"}),
    ],
)
def test_values_of_choices_have_keys(space: gymnasium.Space, keys: dict[str, str]) -> None:
    actions = from_gymnasium(space)
    found = default_keys(actions)
    assert found == keys or {key.replace("x axis", "x"): code for key, code in keys.items()} == found
    assert {*found} <= {*actions.names}


def test_cartpole() -> None:
    """Drawing it takes pygame; without it the error says so."""
    if find_spec("pygame") is None:
        with pytest.raises(UserError, match="pygame"):
            make_env("gym/CartPole-v1", SMALL)
        return
    env = make_env("gym/CartPole-v1", EnvironmentConfig(32, 48), 2)
    assert env.reset([0, 1]).shape == (2, 32, 48, 3)
    while not (result := env.step(np.array([1, 0]))).needs_reset.any():
        pass
    assert result.terminated.any() and not result.truncated.any()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**31 - 1))
def test_area_resize_is_the_mean_over_each_area(h: int, w: int, new_h: int, new_w: int, seed: int) -> None:
    """Cut every old pixel into new_h x new_w parts: then each new pixel is the plain mean of h x w parts."""
    frames = np.random.default_rng(seed).integers(0, 256, size=(2, h, w, 3), dtype=np.uint8)
    resized = area_resize(frames, (new_h, new_w))
    parts = frames.repeat(new_h, axis=1).repeat(new_w, axis=2).astype(np.float64)
    means = parts.reshape(2, new_h, h, new_w, w, 3).mean(axis=(2, 4))
    assert resized.dtype == np.uint8 and resized.shape == (2, new_h, new_w, 3)
    assert np.abs(resized - means).max() <= 0.5 + 1e-9
