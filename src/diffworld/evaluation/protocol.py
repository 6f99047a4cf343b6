"""Under which rules a score was made. Only scores made under the same rules may stand in one table.

The rules of the Atari 100k benchmark are defined here and nowhere else: `ATARI_100K`. They are those of the tests
and training of Kaiser et al. 2020 (arXiv 1903.00374) and Alonso et al. 2024 (arXiv 2405.12399). What a method is
free to choose (frame size, networks, exploration, temperature, number of test games) is no part of them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from diffworld.envs import ATARI_100K_GAMES, EnvironmentConfig
from diffworld.runtime.checked import Amount, Natural, read_as
from diffworld.runtime.errors import UserError

_CUSTOMARY_LIMIT = 108_000  # game frames: ALE's own limit, 30 minutes


@dataclass(frozen=True)
class Protocol:
    """How the game was played; the defaults are the benchmark's."""

    frame_skip: Natural = 4
    """Game frames an action lasts."""
    sticky_actions: Amount = 0.0
    """Probability that the game repeats the previous action instead."""
    noop_max: Natural = 30
    """Up to about this many idle frames at the start of a game."""
    max_steps: Natural = 0
    """Games are cut after this many steps; 0: whole games, up to the customary 108,000 frames."""
    life_loss_ends: bool = True
    """Whether a lost life ended an episode for the learner; tests are of whole games in either case."""
    real_steps: Natural = 100_000
    """Steps in the real game that the agent was trained on."""
    outside_experience: bool = False
    """Whether real steps beyond those were used, through a given data set or the weights of another run."""


ATARI_100K = Protocol()
_WORDS = {
    "frame_skip": "frame skip {}",
    "sticky_actions": "sticky actions with probability {}",
    "noop_max": "no-op maximum {}",
    "max_steps": "games cut after {} steps",
    "real_steps": "{} real steps",
}
_SAID_OTHERWISE: dict[tuple[str, float], str] = {
    ("sticky_actions", 0): "no sticky actions",
    ("max_steps", 0): "whole games",
    ("life_loss_ends", True): "a lost life ends the learner's episode",
    ("life_loss_ends", False): "a lost life does not end the learner's episode",
    ("outside_experience", True): "data or weights from elsewhere",
    ("outside_experience", False): "no data or weights from elsewhere",
}
_TRAINING = ("life_loss_ends", "real_steps", "outside_experience")  # nothing a random policy depends on


def protocol_of(
    presented: Mapping[str, Any], env_steps: int, *, total_steps: int, outside_experience: bool
) -> Protocol:
    """The protocol of an agent after `env_steps` real steps of a game presented like that (`GameSpec.presented`).

    Steps past the budget of `total_steps`, which come from games played side by side, are not counted.
    """
    e = read_as(EnvironmentConfig, dict(presented), "the game's settings")
    whole = not e.max_steps or e.max_steps * e.frame_skip >= _CUSTOMARY_LIMIT
    return Protocol(
        frame_skip=e.frame_skip,
        sticky_actions=e.sticky_actions,
        noop_max=e.noop_max,
        max_steps=0 if whole else e.max_steps,
        life_loss_ends=e.life_loss_ends,
        real_steps=min(env_steps, total_steps),
        outside_experience=outside_experience,
    )


def protocol_from(data: Any, where: str) -> Protocol:
    """A protocol from JSON data that names what differs from the benchmark; UserError on anything else."""
    if not isinstance(data, dict):
        raise UserError(f'{where} should be a JSON object, such as {{"frame_skip": 4}}')
    usual = asdict(ATARI_100K)
    if unknown := [name for name in data if name not in usual]:
        raise UserError(f"{where} has an unknown field '{unknown[0]}': choose from {', '.join(usual)}")
    return read_as(Protocol, usual | data, where)


def departures(env: str, protocol: Protocol, policy: str = "agent") -> list[str]:
    """What sets scores of `env` apart from the benchmark, in words; empty if they may be compared with it."""
    found = [] if atari_game(env) else [f"{env} is none of the benchmark's 26 games"]
    for name, value in asdict(protocol).items():
        usual = getattr(ATARI_100K, name)
        if value != usual and not (policy == "random" and name in _TRAINING):
            same = "" if isinstance(value, bool) else f" (benchmark: {_usual(name)})"
            found.append(_said(name, value) + same)
    return found


def rules(protocol: Protocol) -> list[str]:
    """A protocol in words, one rule an entry."""
    return [_said(name, value) for name, value in asdict(protocol).items()]


def _said(name: str, value: float | bool) -> str:
    return _SAID_OTHERWISE.get((name, value)) or _WORDS[name].format(_plain(value))


def _usual(name: str) -> str:
    usual = getattr(ATARI_100K, name)
    return _said(name, usual) if name == "max_steps" else _plain(usual)


def atari_game(env: str) -> str | None:
    """The benchmark's name of an environment's game, such as Breakout for atari/Breakout; None if it has none."""
    game = env.removeprefix("atari/")
    return game if env.startswith("atari/") and game in ATARI_100K_GAMES else None


def _plain(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
