"""What each of several ranks draws and plays: its own, and the same whenever that is done again."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffworld.config import Config, NetworkName
from diffworld.envs import make_env
from diffworld.envs.seeds import training_seed
from diffworld.recipes import Materials
from diffworld.recipes.model_free import RealWorld
from diffworld.runtime.ranks import ALONE, Ranks
from tests.noise_data import noise_spec
from tests.tiny_training import playing

CPU = torch.device("cpu")
USUAL = Materials(noise_spec(), CPU, None, None, np.random.default_rng(3), 3, Ranks(rank=1, count=2))


def drawn(given: Materials, network: NetworkName = "denoiser", update: int = 7) -> tuple[float, ...]:
    """What an update of that number would draw."""
    given.rng.random(5)
    given.randn((5,))
    given.seed_update(network, update)
    return (*given.rng.random(3), *given.randn((3,)).tolist())


def test_an_update_draws_the_same_again() -> None:
    assert drawn(USUAL) == drawn(replace(USUAL, rng=np.random.default_rng(9)))


@pytest.mark.parametrize(
    "other",
    [
        lambda: drawn(replace(USUAL, ranks=Ranks(rank=0, count=2))),
        lambda: drawn(replace(USUAL, seed=4)),
        lambda: drawn(USUAL, "reward_end"),
        lambda: drawn(USUAL, update=8),
    ],
    ids=["rank", "seed", "network", "update"],
)
def test_another_one_draws_something_else(other) -> None:  # type: ignore[no-untyped-def]
    assert not set(drawn(USUAL)) & set(other())


def test_a_process_alone_draws_on_and_on() -> None:
    given = replace(USUAL, ranks=ALONE)
    before = given.rng.bit_generator.state, torch.get_rng_state()
    given.seed_update("denoiser", 7)
    assert given.rng.bit_generator.state == before[0] and torch.equal(torch.get_rng_state(), before[1])


def test_ranks_play_games_of_their_own_and_none_again_in_another_number(small: Config) -> None:
    config = playing(small)
    with closing(make_env(config.env, config.environment, 2)) as env:
        worlds = [RealWorld(env, 5, CPU, Ranks(rank, 2)) for rank in range(2)]
        played = [[world.driver.seed_of(game) for game in range(4)] for world in worlds]
        assert sorted(played[0] + played[1]) == [training_seed(5, game) for game in range(8)]
        states = []
        for world, begun in zip(worlds, (4, 3), strict=True):
            world.driver.begun, world.steps, world.finished = begun, 60, [float(begun)]
            states.append({"driver": {"begun": begun}, "steps": 60, "finished": [float(begun)]})
        others = [RealWorld(env, 5, CPU, Ranks(rank, 3)) for rank in range(3)]
        for other in others:
            other.regroup(states)
            other.start(2)
        following = [other.driver.seed_of(int(game)) for other in others for game in other.driver.game]
        assert min(following) >= training_seed(5, 8) and len(set(following)) == 6
        assert [other.steps for other in others] == [60] * 3
        assert [other.finished for other in others] == [[4.0, 3.0], [], []]
