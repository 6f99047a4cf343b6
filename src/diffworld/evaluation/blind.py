"""What players score who never look at the screen. An agent that does not beat them may not be looking either."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from diffworld.envs import ActionCounter, BlindPolicy, EpisodeResult
from diffworld.envs.seeds import test_seed
from diffworld.evaluation.games import Pause, PlayerOf, TestGames, scores
from diffworld.evaluation.statistics import Interval, clearly_above, mean_interval
from diffworld.game import ActionSpace, Encoded
from diffworld.runtime.progress import Display

MOST_ACTIONS = 32
"""With more actions than that, or with keys, doing nothing is the only constant action that is played."""
TRIALS = 2
"""Games a round in which constant actions are tried."""
TRIALS_FROM = 500_000
"""Number of the first game of the trials: the best action is chosen in other games than its score is from."""


@dataclass(frozen=True)
class BlindScores:
    """Mean scores of the blind players.

    action: what the constant player presses in every step, in words: of all actions the one that pays best.
    constant: its score. mixture: that of drawing actions as often as the agent pressed them.
    """

    action: str
    constant: Interval
    mixture: Interval

    def note(self, agent: Interval) -> str:
        """What to say of an agent that is not clearly better than both; empty text for one that is."""
        said = {
            f"always pressing {self.action} scores": self.constant,
            "the agent's own actions, drawn without looking, score": self.mixture,
        }
        unbeaten = {who: score for who, score in said.items() if not clearly_above(agent, score)}
        if not unbeaten:
            return ""
        who, best = max(unbeaten.items(), key=lambda item: item[1].mean)
        return (
            f"{who} {'more' if clearly_above(best, agent) else 'as much'}: the agent may not be looking at the screen"
        )


@dataclass(frozen=True)
class BlindGames:
    """The games behind `BlindScores`, one for each game of the agent and with the same seeds."""

    action: str
    constant: tuple[EpisodeResult, ...]
    mixture: tuple[EpisodeResult, ...]

    @property
    def scores(self) -> BlindScores:
        """What they come to."""
        return BlindScores(self.action, *(mean_interval(scores(games)) for games in (self.constant, self.mixture)))


def play_blind(
    tests: TestGames, pressed: ActionCounter, games: int, display: Display, pause: Pause | None = None
) -> BlindGames:
    """Play the agent's test games without looking; `pressed` counted what the agent did in those of this rank."""
    tried = sum(len(tests.ranks.share(TRIALS * size)) for size in _rounds(tests.spec.actions)[:-1])
    with display.bar("test: actions tried", "game", tried) as advance:
        best = best_constant(tests, lambda _: advance(1), pause)
    mixture = ActionCounter(sum(tests.ranks.all(pressed.counts), Counter()))
    players: dict[str, PlayerOf] = {
        "best constant action": lambda _: BlindPolicy([best]),
        "blind mixture": mixture.player,
    }
    played = []
    for who, player in players.items():
        with display.bar(f"test: {who}", "game", len(tests.ranks.share(games))) as advance:
            played.append(tuple(tests.play(player, games, on_episode=lambda _: advance(1), pause=pause)))
    return BlindGames(tests.spec.actions.describe(best), *played)


def best_constant(
    tests: TestGames, on_episode: Callable[[EpisodeResult], None] | None = None, pause: Pause | None = None
) -> Encoded:
    """The action that pays best if nothing else is pressed, found by successive halving in games that are no tests."""
    first, *left = _rounds(tests.spec.actions)
    if not left:
        return tests.spec.actions.idle
    ranked, totals = list(range(first)), np.zeros(first)
    for number, kept in enumerate(left):
        seeds = [test_seed(tests.seed, TRIALS_FROM + number * TRIALS + game) for game in range(TRIALS)] * len(ranked)
        results = tests.play_seeds(partial(_constant, ranked), seeds, on_episode=on_episode, pause=pause)
        for game, result in enumerate(results):
            totals[ranked[game // TRIALS]] += result.score
        ranked = sorted(ranked, key=lambda action: -totals[action])[:kept]
    return ranked[0]


def _constant(ranked: Sequence[int], game: int) -> BlindPolicy:
    """Who plays the game of that number of a round, in which each action is tried in turn."""
    return BlindPolicy([ranked[game // TRIALS]])


def _rounds(actions: ActionSpace) -> list[int]:
    """How many constant actions each round of trials begins with, down to the one that is left."""
    sizes = [actions.size if actions.is_discrete and actions.size <= MOST_ACTIONS else 1]
    while sizes[-1] > 1:
        sizes.append(-(-sizes[-1] // 2))
    return sizes
