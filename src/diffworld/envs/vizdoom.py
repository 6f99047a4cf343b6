"""ViZDoom's scenarios: a shooter seen through the player's eyes, played with keys and mouse.

Binary buttons are keys, named as players know them; turning is a choice of degrees, as a mouse would do it. The
scenario says which buttons there are, when a game ends and how hard it is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffworld.envs.base import EnvironmentConfig, area_resize
from diffworld.envs.serial import Game, Played, SerialEnv
from diffworld.game import MOUSE_X, MOUSE_Y, ActionSpace, Choice, Encoded, GameSpec, Keys
from diffworld.runtime.errors import UserError, one_line

TICS_A_SECOND = 35
FIELD_OF_VIEW = 90
"""Degrees, of the whole width."""

BUTTONS = {
    "MOVE_FORWARD": "w",
    "MOVE_LEFT": "a",
    "MOVE_BACKWARD": "s",
    "MOVE_RIGHT": "d",
    "JUMP": "space",
    "CROUCH": "ctrl",
    "SPEED": "shift",
    **{f"SELECT_WEAPON{number}": str(number) for number in range(1, 10)},
    "RELOAD": "r",
    "USE": "e",
    "ATTACK": "left click",
    "ALTATTACK": "right click",
}
"""Binary buttons, and the key or mouse button that each is. Others, such as those for the wheel, are left out; what
TURN_LEFT and TURN_RIGHT do, the mouse does."""
OPPOSITE = (("w", "s"), ("a", "d"))
DEGREES = {
    MOUSE_X: (-30, -14, -6, -2, 0, 2, 6, 14, 30),
    MOUSE_Y: (-8, -3, 0, 3, 8),
}
"""How far an action turns to the right, and down."""
AXES = {
    "TURN_LEFT_RIGHT_DELTA": MOUSE_X,
    "TURN_LEFT": MOUSE_X,
    "TURN_RIGHT": MOUSE_X,
    "LOOK_UP_DOWN_DELTA": MOUSE_Y,
}
"""Buttons that a mouse takes the place of."""
ARROWS = {
    f"{MOUSE_X} -6": "ArrowLeft",
    f"{MOUSE_X} 6": "ArrowRight",
    f"{MOUSE_Y} -3": "ArrowUp",
    f"{MOUSE_Y} 3": "ArrowDown",
}
SCREEN = "RES_320X240"
LEFT = Path("_vizdoom")
"""What the engine makes where the program was started. The program dies where it cannot, as when two start at once."""


@dataclass(frozen=True)
class Sighting:
    """A monster on the screen."""

    degrees: float
    """Of its middle, to the right of where the player aims."""
    half_width: float
    """In degrees."""


class DoomGame(Game):
    """One game of a scenario. Reward: 1 for each kill, and the change of health in hundredths; death ends it."""

    def __init__(self, scenario: Path, actions: ActionSpace, frame_size: tuple[int, int], tics: int) -> None:
        vizdoom = _library()
        try:
            LEFT.mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"ViZDoom cannot make its folder {LEFT.absolute()}: {one_line(error)}") from error
        self._actions, self._frame_size, self._tics = actions, frame_size, tics
        self._folder = TemporaryDirectory(prefix="diffworld-vizdoom-")
        self._game = game = vizdoom.DoomGame()
        game.load_config(str(scenario))
        game.set_doom_config_path(f"{self._folder.name}/vizdoom.ini")
        game.set_window_visible(False)
        game.set_sound_enabled(False)
        game.set_screen_format(vizdoom.ScreenFormat.RGB24)
        game.set_screen_resolution(getattr(vizdoom.ScreenResolution, SCREEN))
        game.set_labels_buffer_enabled(True)
        buttons = {name: button for button, name in BUTTONS.items()}
        axes = {MOUSE_X: "TURN_LEFT_RIGHT_DELTA", MOUSE_Y: "LOOK_UP_DOWN_DELTA"}
        names = [
            name
            for part in actions.parts
            for name in ([axes[part.name]] if isinstance(part, Choice) else [buttons[key] for key in part.names])
        ]
        game.set_available_buttons([getattr(vizdoom.Button, name) for name in names])
        self._variables = [getattr(vizdoom.GameVariable, name) for name in ("KILLCOUNT", "HEALTH")]
        self._place = [getattr(vizdoom.GameVariable, f"POSITION_{axis}") for axis in "XY"]
        with _telling():
            game.init()
        self._frame: NDArray[np.uint8] = np.zeros((*frame_size, 3), np.uint8)
        self._known = (0.0, 0.0)

    def reset(self, seed: int) -> NDArray[np.uint8]:
        with _telling():
            self._game.set_seed(seed)
            self._game.new_episode()
        self._known = self._kills_and_health()
        return self._seen()

    def step(self, action: Encoded) -> Played:
        with _telling():
            self._game.make_action(self._buttons(action), self._tics)
        over = bool(self._game.is_episode_finished())
        cut = over and bool(self._game.is_episode_timeout_reached()) and not self._game.is_player_dead()
        (kills, health), (kills_before, health_before) = self._kills_and_health(), self._known
        self._known = kills, health
        reward = kills - kills_before + (health - health_before) / 100
        return Played(self._seen(), reward, over and not cut, cut)

    def close(self) -> None:
        self._game.close()
        self._folder.cleanup()
        with suppress(OSError):  # empty, or another game's
            LEFT.rmdir()

    @property
    def place(self) -> tuple[float, float]:
        """Where the player stands, in the map's units."""
        x, y = (float(self._game.get_game_variable(variable)) for variable in self._place)
        return x, y

    def sightings(self) -> list[Sighting]:
        """The monsters on the screen, the broadest and so about the nearest first."""
        if (state := self._game.get_state()) is None:
            return []
        middle = state.screen_buffer.shape[1] / 2
        scale = math.tan(math.radians(FIELD_OF_VIEW / 2)) / middle
        found = []
        for label in state.labels:
            if label.object_category == "Monster":
                left, right = (math.degrees(math.atan((x - middle) * scale)) for x in (label.x, label.x + label.width))
                found.append(Sighting((left + right) / 2, (right - left) / 2))
        return sorted(found, key=lambda sighting: -sighting.half_width)

    def _kills_and_health(self) -> tuple[float, float]:
        kills, health = (float(self._game.get_game_variable(variable)) for variable in self._variables)
        return kills, max(health, 0.0)

    def _buttons(self, action: Encoded) -> list[float]:
        """The engine's buttons; a turn is spread over the action's tics."""
        pressed: list[float] = []
        for part, value in zip(self._actions.parts, self._actions.decode(action), strict=True):
            pressed += [part.numbers[value] / self._tics] if isinstance(part, Choice) else value.tolist()
        return pressed

    def _seen(self) -> NDArray[np.uint8]:
        """The screen; once the game is over the engine shows none, and the last one stands."""
        if (state := self._game.get_state()) is not None:
            self._frame = area_resize(state.screen_buffer, self._frame_size)
        return self._frame.copy()


class DoomEnv(SerialEnv):
    """Rows of a scenario."""

    def __init__(self, spec: GameSpec, games: Sequence[DoomGame], settings: EnvironmentConfig) -> None:
        super().__init__(spec, games, settings)
        self.games = list(games)

    def scripted(self, seed: int) -> ScriptedPlayer:
        """A player who walks about and shoots; see `ScriptedPlayer`."""
        return ScriptedPlayer(self.games, self.spec.actions, seed)


class ScriptedPlayer:
    """A `Policy` that walks, turns, aims at monsters on the screen and shoots; varied, so that there is much to learn.

    It does one thing for a while, then another: walk and bend its way, look about, step aside, stand. What it sees it
    mostly turns to and shoots at. Where it gets stuck it turns away. It looks into the games, not at the frames.
    """

    def __init__(self, games: Sequence[DoomGame], actions: ActionSpace, seed: int) -> None:
        self._games, self._actions = games, actions
        self._rng = np.random.default_rng(seed)
        self._minds = [Mind() for _ in games]

    def act(self, frames: NDArray[np.uint8], fresh: NDArray[np.bool_]) -> NDArray[Any]:
        """One action for each row."""
        for row in np.flatnonzero(fresh).tolist():
            self._minds[row] = Mind()
        chosen = []
        for row, game in enumerate(self._games):
            self._minds[row] = mind = self._next(self._minds[row], game)
            chosen.append(self._encoded(mind))
        return np.stack(chosen)

    def _next(self, mind: Mind, game: DoomGame) -> Mind:
        """What a player has in mind at the next step."""
        rng, place = self._rng, game.place
        stuck = bool(mind.keys & {"w", "s", "a", "d"}) and math.dist(place, mind.place) < 1
        if mind.left <= 0 or (stuck and rng.random() < 0.5):
            mind = self._idea(stuck)
        turn, keys = mind.turn + rng.normal() * mind.waver, mind.keys - {"left click"}
        targets = game.sightings()
        if targets and not mind.blind:
            nearest = targets[0]
            turn = nearest.degrees
            if abs(nearest.degrees) < max(3, nearest.half_width):
                keys |= {"left click"}
        elif rng.random() < 0.03:
            keys |= {"left click"}
        return replace(mind, left=mind.left - 1, keys=keys, now=float(turn), place=place)

    def _idea(self, stuck: bool) -> Mind:
        rng = self._rng
        left, blind = int(rng.integers(6, 40)), bool(rng.random() < 0.25)
        side = float(rng.choice([-1, 1]))
        if stuck:
            return Mind(left // 3 + 2, frozenset(), side * float(rng.choice([6, 14, 30])), 0, True)
        kind = rng.choice(["walk", "bend", "look", "aside", "stand", "back"], p=[0.35, 0.2, 0.2, 0.1, 0.05, 0.1])
        ahead = {"w", "shift"} if rng.random() < 0.3 else {"w"}
        across = {"a" if side < 0 else "d"}
        return {
            "walk": Mind(left, frozenset(ahead), 0, 1.5, blind),
            "bend": Mind(left, frozenset(ahead), side * float(rng.choice([2, 6, 14])), 2, blind),
            "look": Mind(left, frozenset(), side * float(rng.choice([2, 6, 14, 30])), 1, blind),
            "aside": Mind(left // 2, frozenset(across | (ahead if rng.random() < 0.5 else set())), 0, 3, blind),
            "stand": Mind(left // 3, frozenset(), 0, 0, blind),
            "back": Mind(left // 3, frozenset({"s"}), 0, 2, blind),
        }[str(kind)]

    def _encoded(self, mind: Mind) -> Encoded:
        values: list[Any] = []
        for part in self._actions.parts:
            if isinstance(part, Keys):
                values.append(np.array([name in mind.keys for name in part.names], np.uint8))
            else:
                wanted = mind.now if part.name == MOUSE_X else 0.0
                values.append(int(np.argmin([abs(value - wanted) for value in part.numbers])))
        return self._actions.encode(values)


@dataclass(frozen=True)
class Mind:
    """What a scripted player is up to."""

    left: int = 0
    """Steps for which it goes on."""
    keys: frozenset[str] = frozenset()
    turn: float = 0.0
    """Degrees a step, on the whole."""
    waver: float = 0.0
    """Standard deviation of it."""
    blind: bool = False
    """Whether it heeds no monsters."""
    now: float = 0.0
    """Degrees of this step."""
    place: tuple[float, float] = (math.inf, math.inf)
    """Where it stood."""


def make(scenario: str, num_envs: int, settings: EnvironmentConfig) -> DoomEnv:
    """N games of a scenario, such as deadly_corridor. An action lasts `frame_skip` tics of 1/35 s.

    Seed and actions alone decide how a game goes. UserError on an unknown scenario or without the package vizdoom.
    """
    known = scenarios()
    if scenario not in known:
        raise UserError(f"no ViZDoom scenario {scenario!r}; use one of {', '.join(known)}")
    actions, size = _actions(_available(known[scenario])), (settings.height, settings.width)
    games = [DoomGame(known[scenario], actions, size, settings.frame_skip) for _ in range(num_envs)]
    speed = TICS_A_SECOND / settings.frame_skip
    arrows = {name: code for name, code in ARROWS.items() if name in actions.names}
    spec = GameSpec(f"vizdoom/{scenario}", *size, actions, speed, keys=arrows, presented=asdict(settings))
    return DoomEnv(spec, games, settings)


@cache
def scenarios() -> dict[str, Path]:
    """The package's scenarios for one player that bring a map of their own, by name: their configuration."""
    folder = Path(_library().scenarios_path)
    return {path.stem: path for path in sorted(folder.glob("*.cfg")) if path.with_suffix(".wad").exists()}


def _available(scenario: Path) -> list[str]:
    """Names of a scenario's buttons."""
    game = _library().DoomGame()
    game.load_config(str(scenario))
    return [button.name for button in game.get_available_buttons()]


def _actions(buttons: Sequence[str]) -> ActionSpace:
    """Keys in one order for all scenarios, then the mouse."""
    keys = tuple(key for button, key in BUTTONS.items() if button in buttons)
    weapons = [key for key in keys if key.isdigit()]
    exclusive = [pair for pair in OPPOSITE if set(pair) <= set(keys)] + list(itertools.combinations(weapons, 2))
    axes = dict.fromkeys(AXES[button] for button in AXES if button in buttons)
    mouse = [Choice(axis, tuple(map(str, DEGREES[axis]))) for axis in axes]
    return ActionSpace((*([Keys(keys, tuple(exclusive))] if keys else []), *mouse))


@contextmanager
def _telling() -> Iterator[None]:
    """Turn what the engine raises, such as when its process was killed, into a UserError, one line."""
    try:
        yield
    except Exception as error:
        raise UserError(f"ViZDoom stopped ({type(error).__name__}: {one_line(error)}): start again") from error


def _library() -> Any:
    try:
        import vizdoom
    except ImportError as error:
        raise UserError('ViZDoom is not installed; pip install "diffworld[vizdoom]"') from error
    return vizdoom
