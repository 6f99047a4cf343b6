"""The controls of a play session."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_type_hints

from annotated_types import Interval

from diffworld.game import GameSpec
from diffworld.play.players import Player
from diffworld.play.worlds import Rules
from diffworld.runs import Model
from diffworld.runtime.checked import checked
from diffworld.runtime.errors import UserError
from diffworld.world import Samplers

MAX_FPS = 60
WorldName = Literal["dream", "real", "both"]


@dataclass(frozen=True)
class Settings:
    """The controls of a session. The page's message `set` has these fields, with these ranges."""

    player: Player = "human"
    """Who plays."""
    world: WorldName = "dream"
    """The dream, the real game, or both side by side with the same actions."""
    rules: Rules = "test"
    """Of the real game: in training a lost life ends the episode, in a test only game over does."""
    horizon: Annotated[int, Interval(ge=1, le=100_000)] = 1000
    """Steps after which a dream is truncated."""
    denoising_steps: Annotated[int, Interval(ge=1, le=10)] = 3
    """Denoising steps a frame."""
    order: Literal[1, 2] = 1
    """1: Euler. 2: Heun, two evaluations a step."""
    churn: Annotated[float, Interval(ge=0, le=80)] = 0.0
    """Noise put back while a frame is drawn."""
    upsampling_steps: Annotated[int, Interval(ge=1, le=10)] = 1
    """Denoising steps of a large frame, in a world of two stages."""
    upsampling_order: Literal[1, 2] = 1
    """1: Euler. 2: Heun, two evaluations a step."""
    upsampling_churn: Annotated[float, Interval(ge=0, le=80)] = 0.0
    """Noise put back while a large frame is drawn."""
    temperature: Annotated[float, Interval(ge=0, le=10)] = 1.0
    """Of the agent's actions; 0 takes the likeliest."""
    seed: Annotated[int, Interval(ge=0, le=2**31 - 1)] = 0
    """Of starts, noise and random players; a new one counts from the next reset on."""
    inside: bool = False
    """Also show the context frames and the denoising trajectory."""

    @classmethod
    def of(cls, model: Model, **given: Any) -> "Settings":
        """The world that the model has and its own way to draw frames, but for what is given. UserError as below."""
        own = cls(
            world="real" if model.world is None else "dream",
            **{
                name: min(getattr(sampler, field), RANGES[name][1]) if name in RANGES else getattr(sampler, field)
                for sampler, names in zip(model.world.samplers if model.world else (), OF_STAGES, strict=False)
                for field, name in names.items()
            },
        )
        return own.changed(given).check(model)

    def changed(self, changes: Mapping[str, Any]) -> "Settings":
        """With some fields changed. UserError for what does not exist or is out of range."""
        names = [field.name for field in dataclasses.fields(self)]
        if unknown := sorted(changes.keys() - names):
            raise UserError(f"there is no setting '{unknown[0]}': choose one of {', '.join(names)}")
        settings = dataclasses.replace(self, **changes)
        checked(settings)
        return settings

    def check(self, model: Model) -> "Settings":
        """These settings; UserError for a world or player that the model does not have."""
        for what, reasons in missing(model).items():
            value = getattr(self, what)
            if reasons[value]:
                raise UserError(f"{what} cannot be {value}: {reasons[value]}")
        if self.player == "replay" and self.world != "dream":
            raise UserError("what was done after a start is played in the dream alone: choose the dream as world")
        return self

    def samplers(self, own: Samplers) -> Samplers:
        """How each stage draws: the model's own settings, with the player's."""
        return tuple(
            dataclasses.replace(sampler, **{field: getattr(self, name) for field, name in names.items()})
            for sampler, names in zip(own, OF_STAGES, strict=False)
        )


OF_STAGES = (
    {"denoising_steps": "denoising_steps", "order": "order", "churn": "churn"},
    {"denoising_steps": "upsampling_steps", "order": "upsampling_order", "churn": "upsampling_churn"},
)
"""For each stage of a world, field of its sampler -> the setting that a player has for it."""

RANGES: dict[str, list[Any]] = {
    name: [limits.ge, limits.le]
    for name, kind in get_type_hints(Settings, include_extras=True).items()
    for limits in getattr(kind, "__metadata__", ())
}
"""Lowest and highest value of each setting that is a number on a scale."""

OF_THE_PANEL = ("rules", "horizon", "temperature", *(name for names in OF_STAGES for name in names.values()))
"""Settings that a reset to defaults brings back; who plays where, and the seed, are no matter of taste."""


def missing(model: Model) -> dict[str, dict[str, str | None]]:
    """Of each world and player, why it cannot be chosen; None where it can."""
    dream = None if model.world is not None else "this run has no world model"
    agent = None if model.policy is not None else "this run has no agent"
    real = model.no_game or None
    worlds = {"dream": dream, "real": real, "both": dream or real}
    return {"world": worlds, "player": {**dict.fromkeys(get_args(Player)), "agent": agent, "replay": dream}}


def default_fps(spec: GameSpec) -> int:
    """Steps a second at which a game is played and filmed unless a player chooses otherwise."""
    return min(MAX_FPS, max(5, round(spec.steps_per_second)))  # slower than 5 looks like a page that hangs
