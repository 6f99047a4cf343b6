"""What a game is: frame size, actions and their names and keys, speed, what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from diffworld.game.actions import ActionSpace
from diffworld.runtime.checked import read_as
from diffworld.runtime.errors import UserError


@dataclass(frozen=True)
class GameSpec:
    """One game, or one recording of a game, described."""

    name: str  # its id, such as atari/Breakout, or what a recording is called
    height: int  # of the frames, in pixels
    width: int
    actions: ActionSpace
    steps_per_second: float = 15.0  # at which people play it
    keys: Mapping[str, str] = field(default_factory=dict)
    """Name of an action -> key of a keyboard (`KeyboardEvent.code`), where the usual ones do not do."""
    rewards: bool = True  # whether they are known
    ends: bool = True  # whether they are known
    presented: Mapping[str, bool | int | float] = field(default_factory=dict)
    """How the real game was presented (`EnvironmentConfig`'s fields); empty for recordings."""

    def __post_init__(self) -> None:
        """UserError for a description that no game can have."""
        for side in (self.height, self.width):
            if not isinstance(side, int) or isinstance(side, bool) or not 1 <= side <= 2**14:
                raise UserError(f"frames of {self.height}x{self.width} are not usable: give pixels, 1 to 16384 a side")
        if not 0 < self.steps_per_second < 1e6:
            raise UserError(f"steps_per_second is {self.steps_per_second}; it must be above 0")

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        return self.height, self.width, 3

    @property
    def frame_size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.height, self.width

    def differences(self, other: GameSpec) -> list[str]:
        """In words, what keeps data of one from being used as the other's: all of it, nothing of speed and keys."""
        found = []
        if self.name != other.name:
            found.append(f"game {self.name}, not {other.name}")
        if self.frame_size != other.frame_size:
            found.append(f"frames of {self.height}x{self.width}, not {other.height}x{other.width}")
        if self.actions != other.actions:
            same = self.actions.size == other.actions.size
            found.append("other actions" if same else f"{self.actions.size} actions, not {other.actions.size}")
        shared = sorted(self.presented.keys() & other.presented.keys() - {"height", "width"})
        changed = [name for name in shared if self.presented[name] != other.presented[name]]
        return found + [f"{name} {self.presented[name]}, not {other.presented[name]}" for name in changed]

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self) | {"actions": self.actions.to_json()}

    @classmethod
    def from_json(cls, data: Any) -> GameSpec:
        """What `to_json` gave; UserError for anything else."""
        try:
            actions = asdict(ActionSpace.from_json(data["actions"]))
            return read_as(cls, {**data, "actions": actions}, "game")
        except (TypeError, KeyError, UserError) as error:
            raise UserError(f"this is no description of a game: {error}") from error
