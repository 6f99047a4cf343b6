"""Environments that break Gymnasium's rules: one line says which, what it did, and what to do."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, Text

from diffworld.cli import main
from diffworld.envs import EnvironmentConfig, make_env
from diffworld.runtime.errors import UserError

SIDE = 8
SMALL = EnvironmentConfig(height=SIDE, width=SIDE)
IMAGE = np.full((SIDE, SIDE, 3), 9, np.uint8)
ID = "Misbehaving/Env-v0"
RESET = "reset(seed=..., options=...) must return (observation, info)"
STEP = "step(action) must return (observation, reward, terminated, truncated, info), reward a finite number"
FRAME = "a frame must be a uint8 image (H, W, 3) in RGB or (H, W) in grey, and all of one size"
MEND = "mend the environment, or choose another"


class Behaved(gymnasium.Env):
    """A game of one picture, as it should be; each entry of the tables below takes one thing away.

    `first` is what its first reset gives, `then` what every step gives.
    """

    metadata: ClassVar[Any] = {"render_modes": ["rgb_array"]}
    observation_space: Any = Box(0, 255, IMAGE.shape, np.uint8)
    action_space: Any = Discrete(2)
    first: Any = (IMAGE, {})
    then: Any = (IMAGE, 1.0, False, False, {})

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return self.first

    def step(self, action: int) -> Any:
        return self.then

    def render(self) -> Any:
        return IMAGE


def but(**changes: Any) -> type[Behaved]:
    return type("Changed", (Behaved,), changes)


def drawing(image: Any) -> type[Behaved]:
    """With observations that are no pixels, so that what it renders is seen."""
    return but(
        observation_space=Box(0, 1, (2,)),
        first=(np.zeros(2), {}),
        then=(np.zeros(2), 1.0, False, False, {}),
        render=lambda self: image,
    )


def stepping(*values: Any) -> type[Behaved]:
    return but(then=values)


def rewarding(reward: Any) -> type[Behaved]:
    return stepping(IMAGE, reward, False, False, {})


def raising(error: BaseException) -> Callable[..., Any]:
    def method(*_: Any, **__: Any) -> Any:
        raise error

    return method


class OldReset(Behaved):
    def reset(self) -> Any:  # type: ignore[override]
        return IMAGE


class Growing(Behaved):
    """Each frame is a row higher than the one before."""

    rows = SIDE

    def step(self, action: int) -> Any:
        self.rows += 1
        return np.zeros((self.rows, SIDE, 3), np.uint8), 0.0, False, False, {}


BLIND: dict[str, Any] = {"render_modes": []}
HERE = "test_misbehaving_envs.py"
BAD: dict[str, tuple[Callable[..., Any], str]] = {
    "init raises": (but(__init__=raising(OSError("no\nGL"))), f": making it raised OSError at {HERE}: no GL; {MEND}"),
    "init exits": (but(__init__=raising(SystemExit(3))), f": making it raised SystemExit at {HERE}: 3; {MEND}"),
    "wants arguments": (lambda level: Behaved(), f": making it raised TypeError: * argument: 'level' *; {MEND}"),
    "is none": (lambda: 3, f": making it raised TypeError: The environment must inherit *; {MEND}"),
    "reset raises": (but(reset=raising(KeyError("score"))), f": reset raised KeyError at {HERE}: 'score'; {RESET}"),
    "reset exits": (but(reset=raising(SystemExit("bye"))), f": reset raised SystemExit at {HERE}: bye; {RESET}"),
    "reset without seed": (OldReset, f": reset raised TypeError: *'seed'; {RESET}"),
    "reset without info": (but(first=IMAGE), f": reset returned ndarray; {RESET}"),
    "reset of three": (but(first=(IMAGE, {}, 1)), f": reset returned 3 values; {RESET}"),
    "step raises": (but(step=raising(ValueError("x" * 999))), f": step * at {HERE}: {'x' * 300} ...; {STEP}"),
    "step exits": (but(step=raising(SystemExit())), f": step raised SystemExit at {HERE}: ; {STEP}"),
    "step of four": (stepping(IMAGE, 0.0, False, {}), f": step returned 4 values; {STEP}"),
    "step of none": (but(then=None), f": step returned NoneType; {STEP}"),
    "reward None": (rewarding(None), f": step gave reward None; {STEP}"),
    "reward of an array": (rewarding(np.ones(1)), f": step gave reward array([1.]); {STEP}"),
    "reward NaN": (rewarding(np.nan), f": step gave reward nan; {STEP}"),
    "reward infinite": (rewarding(np.float32(-np.inf)), f": step gave reward *-inf*; {STEP}"),
    "reward too large": (rewarding(1e300), f": step gave reward 1e+300; {STEP}"),
    "reward in words": (rewarding("1"), f": step gave reward '1'; {STEP}"),
    "end None": (stepping(IMAGE, 0.0, None, False, {}), f": step gave terminated None; {STEP}"),
    "info before the limit": (stepping(IMAGE, 0.0, False, {}, False), f": step gave truncated {{}}; {STEP}"),
    "RGBA seen": (but(first=(np.zeros((8, 8, 4), np.uint8), {})), f": reset gave uint8 (8, 8, 4); {FRAME}"),
    "float seen": (but(first=(IMAGE / 255, {})), f": reset gave float64 (8, 8, 3); {FRAME}"),
    "channels first": (but(first=(IMAGE.T, {})), f": reset gave uint8 (3, 8, 8); {FRAME}"),
    "no pixels": (but(first=(IMAGE[:0], {})), f": reset gave uint8 (0, 8, 3); {FRAME}"),
    "None seen": (but(first=(None, {})), f": reset gave None; {FRAME}"),
    "ragged": (but(first=([[1], [2, 3]], {})), f": reset raised ValueError: *; {FRAME}"),
    "frames that grow": (Growing, f": step gave an image of (9, 8, 3) after one of (8, 8, 3); {FRAME}"),
    "render gives None": (drawing(None), f": render gave None; {FRAME}"),
    "render gives RGBA": (drawing(np.zeros((8, 8, 4), np.uint8)), f": render gave uint8 (8, 8, 4); {FRAME}"),
    "render gives a list": (drawing([IMAGE, IMAGE]), f": render gave uint8 (2, 8, 8, 3); {FRAME}"),
    "render raises": (
        but(observation_space=Discrete(3), render=raising(RuntimeError("no GL"))),
        f": render raised RuntimeError at {HERE}: no GL; {FRAME}",
    ),
    "RGBA and no rendering": (
        but(observation_space=Box(0, 255, (8, 8, 4), np.uint8), metadata=BLIND),
        f" observes Box(0, 255, (8, 8, 4), uint8), no uint8 image (H, W, 3), and cannot draw rgb_array; {MEND}",
    ),
    "floats and no rendering": (
        but(observation_space=Box(0, 1, (8, 8, 3)), metadata=BLIND),
        f" observes Box(0.0, 1.0, (8, 8, 3), float32), no uint8 image (H, W, 3), and cannot draw rgb_array; {MEND}",
    ),
    "no metadata": (but(metadata=None), f": making it raised InvalidMetadata: *; {MEND}"),
    "no observation space": (but(observation_space=None, metadata=BLIND), f" observes None, *; {MEND}"),
    "no action space": (but(action_space=None), ": actions of None are neither choices nor keys: use Discrete, *"),
    "actions without bounds": (
        but(action_space=Box(-np.inf, 1, (2,))),
        ": actions of Box* are neither choices nor keys: use *",
    ),
    "words as actions": (but(action_space=Dict({"say": Text(3)})), ": actions of Text* are neither *"),
    "too many actions": (but(action_space=Discrete(5000)), ": an action part needs 1 to 4096 different names, not *"),
}  # fmt: skip
"""What an environment is, and what is said of it: * is anything, and line numbers are left out."""


@pytest.fixture
def register() -> Iterator[Callable[..., str]]:
    """Registers an environment until the test is over, and returns its id."""

    def register_(entry_point: Callable[..., Any], **options: Any) -> str:
        gymnasium.register(ID, entry_point, **options)
        return f"gym/{ID}"

    yield register_
    gymnasium.registry.pop(ID, None)


def said_of(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def fits(line: str, expected: str) -> bool:
    """Whether a line is as expected, where * is anything."""
    return re.fullmatch(".*".join(map(re.escape, expected.split("*"))), line) is not None


def test_a_behaved_one_is_taken(register: Callable[..., str]) -> None:
    env = make_env(register(Behaved), SMALL, 2)
    assert (env.reset([0, 1]) == 9).all() and env.step(np.array([0, 1])).rewards.tolist() == [1, 1]


@pytest.mark.parametrize("reward", [True, 2, np.float32(0.5), np.int64(3), torch.tensor(1.5), np.array(2.0)])
def test_every_number_is_a_reward(register: Callable[..., str], reward: Any) -> None:
    env = make_env(register(rewarding(reward)), SMALL)
    env.reset([0])
    assert env.step(np.array([0])).rewards.tolist() == [float(reward)]


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3)])
def test_grey_is_seen_in_grey(register: Callable[..., str], shape: tuple[int, ...]) -> None:
    image = np.full(shape, 77, np.uint8)
    step = (image, 0.0, False, False, {})
    env = make_env(register(but(observation_space=Box(0, 255, shape, np.uint8), first=(image, {}), then=step)), SMALL)
    assert (env.reset([0]) == 77).all()


@pytest.mark.parametrize("what", BAD)
def test_one_line_names_it_and_says_what_to_do(register: Callable[..., str], what: str) -> None:
    entry_point, said = BAD[what]
    name = register(entry_point)
    line = said_of(lambda: make_env(name, SMALL, 2))
    assert fits(re.sub(rf"{HERE}:\d+", HERE, line), name + said), line


def test_a_limit_of_length_does_not_hide_an_old_step(register: Callable[..., str]) -> None:
    name = register(stepping(IMAGE, 0.0, False, {}), max_episode_steps=5)
    line = said_of(lambda: make_env(name, SMALL))
    assert "step raised ValueError: not enough values to unpack (expected 5, got 4)" in line and line.endswith(STEP)


def test_a_close_that_fails_costs_nothing(register: Callable[..., str]) -> None:
    make_env(register(but(close=raising(RuntimeError("already closed")))), SMALL).close()


@pytest.mark.parametrize("method", ["reset", "step"])
def test_what_goes_wrong_later_is_told_as_well(register: Callable[..., str], method: str) -> None:
    class Tiring(Behaved):
        calls = 0

        def _tire(self) -> None:
            self.calls += 1
            if self.calls > 3:
                raise OSError("worn out")

        def reset(self, **options: Any) -> Any:
            if method == "reset":
                self._tire()
            return super().reset(**options)

        def step(self, action: int) -> Any:
            if method == "step":
                self._tire()
            return super().step(action)

    env = make_env(register(Tiring), SMALL)
    for _ in range(2):
        env.reset([0])
        env.step(np.array([0]))
    line = said_of(lambda: (env.reset([0]), env.step(np.array([0]))))
    assert line.startswith(f"gym/{ID}: {method} raised OSError at {HERE}:") and "worn out" in line


KNOWN = "a game of your own is gym/<module>:<Id>, and importing the module must register the Id"
IMPORT = "install the module, or name the folder it lies in in PYTHONPATH"
MODULES = {
    "wellmade": f"import gymnasium\nfrom {__name__} import Behaved\ngymnasium.register('Own-v0', Behaved)",
    "leaving": "import sys\nsys.exit(4)",
    "torn": "def",
    "lacking": "import nosuchpackage",
    "empty": "",
}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nosuchmodule:Own-v0", f"importing nosuchmodule raised ModuleNotFoundError: *; {IMPORT}"),
        ("leaving:Own-v0", f"importing leaving raised SystemExit at leaving.py:2: 4; {IMPORT}"),
        ("torn:Own-v0", f"importing torn raised SyntaxError: invalid syntax (torn.py, line 1); {IMPORT}"),
        ("lacking:Own-v0", f"importing lacking raised ModuleNotFoundError at lacking.py:1: *'nosuchpackage'; {IMPORT}"),
        (".up:Own-v0", f"importing .up raised TypeError: *; {IMPORT}"),
        ("empty:Own-v0", f"making it raised NameNotFound: Environment `Own` doesn't exist.; {KNOWN}"),
        ("wellmade:Own-v1", f"making it raised VersionNotFound: * versioned environments: [ `v0` ].; {KNOWN}"),
        ("wellmade:", f"making it raised Error: Malformed environment ID: *; {KNOWN}"),
        ("CartPol-v1", f"making it raised NameNotFound: * Did you mean: `CartPole`?; {KNOWN}"),
        ("Nowhere/CartPole-v1", f"making it raised NamespaceNotFound: Namespace Nowhere not found. *; {KNOWN}"),
    ],
)
def test_an_id_that_leads_nowhere(name: str, said: str, modules: None) -> None:
    line = said_of(lambda: make_env(f"gym/{name}", SMALL))
    assert fits(line, f"gym/{name}: {said}"), line


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Some modules that can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    yield
    gymnasium.registry.pop("Own-v0", None)
    for name in MODULES:
        sys.modules.pop(name, None)


def test_a_module_of_ones_own_is_imported(modules: None) -> None:
    assert make_env("gym/wellmade:Own-v0", SMALL).spec.name == "gym/wellmade:Own-v0"


@pytest.mark.parametrize("name", ["Breakout", "Atari/Breakout", "gym/", "gym", "mine:Own-v0"])
def test_an_unknown_family_is_told_all_of_them(name: str) -> None:
    line = said_of(lambda: make_env(name, SMALL))
    assert line == (
        f"unknown environment '{name}'; use atari/<Game>, minatar/<game>, vizdoom/<scenario>, gym/<registered "
        "Gymnasium id> or, for a game of your own, gym/<module>:<Id>, whose module registers the Id"
    )


@pytest.mark.parametrize("command", ["train", "record"])
def test_help_tells_of_games_of_ones_own(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert "gym/<module>:<Id>" in "".join(capsys.readouterr().out.split("\n"))


@pytest.mark.parametrize("command", ["train", "record"])
def test_on_the_command_line_it_is_one_line_and_nothing_is_written(
    register: Callable[..., str], command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name = register(rewarding(None))
    assert main([command, "--env", name, "--out", str(tmp_path / "out")]) == 2
    said = capfd.readouterr()
    assert said.err == f"error: {name}: step gave reward None; {STEP}\n" and not (tmp_path / "out").exists()
