"""Players who never look at the screen: which constant action they press, what they score, and what is said of it."""

import pytest

from diffworld.envs import ActionCounter, EnvironmentConfig, EpisodeResult, make_env
from diffworld.envs.seeds import test_seed as seed_of_test_game
from diffworld.evaluation.blind import TRIALS, BlindScores, best_constant, play_blind
from diffworld.evaluation.games import TestGames, scores
from diffworld.evaluation.statistics import Interval
from diffworld.runtime.progress import Display
from tests.tiny_training import NINE


def games_of(env_id: str, seed: int = 0, num_envs: int = 3) -> TestGames:
    return TestGames(make_env(env_id, EnvironmentConfig(height=12, width=12)).spec, seed, num_envs)


def test_the_best_constant_action_is_found_in_games_that_are_no_tests() -> None:
    tests, tried = games_of(NINE), list[EpisodeResult]()
    assert best_constant(tests, tried.append) == 2
    assert [game.score for game in tried] == [-1] * TRIALS + [0] * TRIALS + [1] * TRIALS + [1] * TRIALS + [0] * TRIALS
    seeds = {game.seed for game in tried}
    assert len(seeds) == 2 * TRIALS, "each round has games of its own, the same for every action"
    assert not seeds & {seed_of_test_game(0, game) for game in range(10_000)}


@pytest.mark.parametrize(
    ("env_id", "idle"), [("gym/tests.games.pads:Keys-v0", "nothing"), ("gym/tests.games.pads:Many-v0", "0")]
)
def test_of_keys_and_of_many_actions_only_doing_nothing_is_played(env_id: str, idle: str) -> None:
    tests, counter = games_of(env_id), ActionCounter()
    agent = tests.play(None, 2, on_step=counter)
    tried = list[EpisodeResult]()
    assert tests.spec.actions.describe(best_constant(tests, tried.append)) == idle and not tried
    found = play_blind(tests, counter, 2, Display())
    assert found.action == idle and scores(found.constant) == [0, 0]
    assert [game.seed for game in found.mixture] == [game.seed for game in agent]


def test_they_play_the_games_of_the_agent_with_what_it_pressed() -> None:
    tests, counter = games_of(NINE, seed=4), ActionCounter()
    counter.counts.update({0: 5})
    found = play_blind(tests, counter, 3, Display())
    assert [game.seed for game in found.constant] == [seed_of_test_game(4, game) for game in range(3)]
    assert [game.seed for game in found.mixture] == [game.seed for game in found.constant]
    assert (found.action, scores(found.constant), scores(found.mixture)) == ("2", [1] * 3, [-1] * 3)
    assert found.scores == BlindScores("2", Interval(1, 1, 1), Interval(-1, -1, -1))
    assert play_blind(tests, counter, 3, Display()) == found


def interval(mean: float) -> Interval:
    return Interval(mean, mean - 1, mean + 1)


@pytest.mark.parametrize(
    ("agent", "constant", "mixture", "said"),
    [
        (10, 5, 6, ""),
        (10, 9, 6, "always pressing UP scores as much"),
        (10, 12, 6, "always pressing UP scores as much"),
        (10, 13, 6, "always pressing UP scores more"),
        (10, 5, 9, "the agent's own actions, drawn without looking, score as much"),
        (10, 13, 14, "the agent's own actions, drawn without looking, score more"),
        (0, 0, -5, "always pressing UP scores as much"),
    ],
)
def test_an_agent_that_is_no_better_is_told_so(agent: float, constant: float, mixture: float, said: str) -> None:
    note = BlindScores("UP", interval(constant), interval(mixture)).note(interval(agent))
    assert note == (said and f"{said}: the agent may not be looking at the screen")
