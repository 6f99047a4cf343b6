"""Tests of an agent in the real game, as training and the evaluation command run them."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, count, repeat
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from diffworld.agents.actions import draw_actions
from diffworld.agents.policy import ActorCriticPolicy
from diffworld.data import GameStep
from diffworld.envs import EpisodeResult, Policy, RandomPolicy, play_episodes
from diffworld.envs.driver import OnStep
from diffworld.envs.make import make_game
from diffworld.envs.seeds import test_seed
from diffworld.game import GameSpec
from diffworld.models.actor_critic import ActorCritic
from diffworld.runtime.ranks import ALONE, Ranks

T = TypeVar("T")

PlayerOf = Callable[[int], Policy]
"""Makes the player of one game, given the game's number."""
Player = ActorCritic | PlayerOf | Policy | None
"""Who plays: an agent's network; whom that function makes for each game; a policy, which draws as it likes; None at
random. But for a policy, a game's draws follow from the game's number."""
Pause = Callable[[bool], bool]
"""Called by all ranks now and then with whether this one is still at work; whether any is. It may end the work."""
ROUNDS = 5
"""Steps of all rows between two pauses."""


@dataclass(frozen=True)
class TestGames:
    """Which games are tests, and how they are played.

    Several ranks share them out, and all know all results. These depend neither on the number of ranks nor on which
    games are played beside each other, but for rounding where networks compute with another `num_envs`.
    """

    __test__ = False  # for pytest, which collects what is called so

    spec: GameSpec
    seed: int
    """Of the list of games; each game's own seed follows from it, and no training game has that."""
    num_envs: int = 1
    """Games played side by side, by each rank."""
    temperature: float = 1.0
    """Of the agent's actions."""
    ranks: Ranks = ALONE
    """Who plays together; all must call the same."""

    def play(
        self,
        player: Player,
        games: int,
        *,
        on_episode: Callable[[EpisodeResult], None] | None = None,
        on_step: OnStep | None = None,
        policy_seed: int = 0,
        pause: Pause | None = None,
    ) -> list[EpisodeResult]:
        """Play the first `games` test games to their ends; `on_episode` and `on_step` are told of this rank's alone.

        Draws come from generators of their own, so that testing does not change what training does next.
        """
        seeds = [test_seed(self.seed, game) for game in range(games)]
        return self.play_seeds(
            player, seeds, on_episode=on_episode, on_step=on_step, policy_seed=policy_seed, pause=pause
        )

    def play_seeds(
        self,
        player: Player,
        seeds: Sequence[int],
        *,
        on_episode: Callable[[EpisodeResult], None] | None = None,
        on_step: OnStep | None = None,
        policy_seed: int = 0,
        pause: Pause | None = None,
    ) -> list[EpisodeResult]:
        """As `play`, games of any seeds; a game's number is its place among them."""
        mine, results, rounds = self.ranks.share(len(seeds)), list[EpisodeResult](), count(1)
        pause = pause or (lambda at_work: self.ranks.any(at_work)[0])

        def see(step: GameStep) -> None:
            if on_step is not None:
                on_step(replace(step, game=mine[step.game]))

        def round_over() -> None:
            if next(rounds) % ROUNDS == 0:
                pause(True)

        if mine:
            with closing(make_game(self.spec, min(self.num_envs, len(mine)))) as env:
                policy = self._policy(player, mine, min(self.num_envs, len(seeds)), policy_seed)
                own = [seeds[game] for game in mine]
                results = play_episodes(env, policy, own, on_episode, see, round_over)
        while pause(False):  # for those who are not done yet
            pass
        shares = self.ranks.all(results)
        return [shares[game % self.ranks.count][game // self.ranks.count] for game in range(len(seeds))]

    def _policy(self, player: Player, games: Sequence[int], rows: int, seed: int) -> Policy:
        """Who plays those games one after another, at most `rows` side by side in any rank."""
        if isinstance(player, ActorCritic):
            return _Agent(player, rows, self.temperature, games, seed)
        if isinstance(player, Policy):
            return player
        return _EachItsOwn(player or (lambda game: RandomPolicy(self.spec.actions, (seed, game))), games)


class _OfRows(Generic[T]):
    """What each row has for the game that it plays, made of the game's number when that begins."""

    def __init__(self, make: Callable[[int], T], games: Iterable[int]) -> None:
        self.make, self.games, self.rows = make, chain(games, repeat(0)), dict[int, T]()

    def see(self, fresh: NDArray[np.bool_]) -> list[T]:
        """What the rows (N,) have, of which the fresh ones begin the next games in order."""
        for row in np.flatnonzero(fresh).tolist():
            self.rows[row] = self.make(next(self.games))
        return [self.rows[row] for row in range(len(fresh))]


class _EachItsOwn:
    """Each game has a player of its own."""

    def __init__(self, player_of: PlayerOf, games: Iterable[int]) -> None:
        self.players = _OfRows(player_of, games)

    def act(self, frames: NDArray[np.uint8], fresh: NDArray[np.bool_]) -> NDArray[Any]:
        """See `Policy`."""
        rows = enumerate(self.players.see(fresh))
        return np.concatenate([player.act(frames[row : row + 1], fresh[row : row + 1]) for row, player in rows])


class _Agent:
    """An agent's network plays all games, each with random numbers of its own.

    It always computes with as many rows, the last ones dark if need be: with others sums are rounded otherwise.
    """

    def __init__(self, network: ActorCritic, rows: int, temperature: float, games: Iterable[int], seed: int) -> None:
        self.policy, self.rows, self.temperature = ActorCriticPolicy(network, rows), rows, temperature
        self.generators = _OfRows(lambda game: _generator(seed, game), games)

    def act(self, frames: NDArray[np.uint8], fresh: NDArray[np.bool_]) -> NDArray[Any]:
        """See `Policy`."""
        dark = self.rows - len(frames)
        seen = np.concatenate([frames, np.zeros((dark, *frames.shape[1:]), np.uint8)])
        logits = self.policy.see(seen, np.concatenate([fresh, np.ones(dark, np.bool_)]))[: len(frames)].cpu()
        space, rows = self.policy.actor_critic.actions, zip(logits.split(1), self.generators.see(fresh), strict=True)
        return torch.cat([draw_actions(space, row, self.temperature, generator) for row, generator in rows]).numpy()


def _generator(seed: int, game: int) -> torch.Generator:
    """Random numbers of one game."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence((seed, game)).generate_state(1)[0]))


def scores(results: Sequence[EpisodeResult]) -> list[float]:
    """The scores alone."""
    return [result.score for result in results]
