"""The controls of a play session."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from diffworld.models.sampler import SamplerConfig
from diffworld.play.players import Player
from diffworld.play.worlds import Rules
from diffworld.runs import Model
from diffworld.runtime.errors import UserError
from diffworld.spec import GameSpec

WorldName = Literal["dream", "real", "both"]
WORLDS: tuple[WorldName, ...] = get_args(WorldName)
PLAYERS: tuple[Player, ...] = get_args(Player)

MAX_FPS = 60

RANGES: dict[str, tuple[float, float]] = {
    "horizon": (1, 100_000),
    "denoising_steps": (1, 10),
    "order": (1, 2),
    "churn": (0.0, 80.0),
    "temperature": (0.0, 10.0),
    "seed": (0, 2**31 - 1),
}
"""Lowest and highest value of each setting that is a number."""

_WORD: tuple[Any, str] = (str, "one of its names")
_WHOLE: tuple[Any, str] = (int, "a whole number")
_NUMBER: tuple[Any, str] = (int | float, "a number")
KINDS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(("player", "world", "rules"), _WORD),
    **dict.fromkeys(("horizon", "denoising_steps", "order", "seed"), _WHOLE),
    **dict.fromkeys(("churn", "temperature"), _NUMBER),
    "inside": (bool, "true or false"),
}
"""What each setting may be, for Python and in words."""


@dataclass(frozen=True)
class Settings:
    """The controls of a session."""

    player: Player = "human"
    """Who plays."""
    world: WorldName = "dream"
    """The dream, the real game, or both side by side with the same actions."""
    rules: Rules = "test"
    """Of the real game: in training a lost life ends the episode, in a test only game over does."""
    horizon: int = 1000
    """Steps after which a dream is truncated."""
    denoising_steps: int = 0
    """Denoising steps a frame; 0 takes the model's own."""
    order: int = 0
    """1: Euler. 2: Heun, two evaluations a step. 0 takes the model's own."""
    churn: float = -1.0
    """Noise put back while a frame is drawn; below 0 takes the model's own."""
    temperature: float = 1.0
    """Of the agent's actions; 0 takes the likeliest."""
    seed: int = 0
    """Of starts, noise and random players; a new one counts from the next reset on."""
    inside: bool = False
    """Also show the context frames and the denoising trajectory."""

    def resolved(self, model: Model) -> "Settings":
        """With the model's own values where none were given, and nothing out of range. UserError otherwise."""
        own = model.config.sampler
        settings = dataclasses.replace(
            self,
            denoising_steps=self.denoising_steps or min(own.denoising_steps, 10),
            order=self.order or own.order,
            churn=min(own.churn, RANGES["churn"][1]) if self.churn < 0 else self.churn,
        )
        settings.check(model)
        return settings

    def changed(self, changes: dict[str, Any], model: Model) -> "Settings":
        """With some fields changed. UserError for what does not exist, does not fit or is not there."""
        for name, value in changes.items():
            if name not in KINDS:
                raise UserError(f"there is no setting '{name}': choose one of {', '.join(KINDS)}")
            kind, words = KINDS[name]
            if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
                raise UserError(f"{name} cannot be {value!r}: give {words}")
        settings = dataclasses.replace(self, **changes)
        settings.check(model)
        return settings

    def check(self, model: Model) -> None:
        """UserError for a value out of range, or a world or player that the model does not have."""
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise UserError(f"{name} is {value}; it must be between {low:g} and {high:g}")
        if self.rules not in get_args(Rules):
            raise UserError(f"rules cannot be {self.rules!r}: choose train or test")
        for what, value, reasons in (
            ("world", self.world, missing_worlds(model)),
            ("player", self.player, missing_players(model)),
        ):
            if value not in reasons:
                raise UserError(f"{what} cannot be {value!r}: choose one of {', '.join(reasons)}")
            if reasons[value]:
                raise UserError(f"{what} cannot be {value}: {reasons[value]}")

    def sampler(self, model: Model) -> SamplerConfig:
        """How frames are drawn: the model's own settings, with the player's."""
        return dataclasses.replace(
            model.config.sampler,
            denoising_steps=self.denoising_steps,
            order=2 if self.order == 2 else 1,
            churn=self.churn,
        )


def missing_worlds(model: Model) -> dict[str, str | None]:
    """Each world, and why it cannot be played; None where it can."""
    dream = None if model.world is not None else "this run has no world model"
    real = model.no_game or None
    return {"dream": dream, "real": real, "both": dream or real}


def missing_players(model: Model) -> dict[str, str | None]:
    """Each player, and why it cannot play; None where it can."""
    no_agent = None if model.policy is not None else "this run has no agent"
    return {name: no_agent if name == "agent" else None for name in PLAYERS}


def default_fps(spec: GameSpec) -> int:
    """Steps a second at which a game is played and filmed unless a player chooses otherwise."""
    return min(MAX_FPS, max(1, round(spec.steps_per_second)))
