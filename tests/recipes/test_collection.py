"""Collection from a real game: what the replay holds is what was played, before and after a restart."""

import io
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffworld.agents.policy import ActorCriticPolicy
from diffworld.data import Dataset
from diffworld.data.schema import FRAMES, ROWS
from diffworld.envs import EnvironmentConfig, VectorEnv, make_env
from diffworld.envs.seeds import training_seed
from diffworld.game import ActionSpace, GameSpec
from diffworld.models.actor_critic import ActorCritic, ActorCriticConfig
from diffworld.recipes.collection import Collector

SIZE, SEED = (16, 16), 3


@contextmanager
def breakout(num_envs: int) -> Iterator[VectorEnv]:
    env = make_env("atari/Breakout", EnvironmentConfig(*SIZE), num_envs)
    try:
        yield env
    finally:
        env.close()


class Watched(ActorCriticPolicy):
    """A policy that keeps which rows it was told to forget, round by round."""

    forgotten: list[list[bool]]

    def act(self, frames: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        self.forgotten = [*getattr(self, "forgotten", []), fresh.tolist()]
        return super().act(frames, fresh)


def agent(num_envs: int, epsilon: float = 0.1) -> Watched:
    torch.manual_seed(1)
    network = ActorCritic(
        ActorCriticConfig(lstm_channels=6, channels=(4, 4), pool=(True, True)), ActionSpace.discrete(4), SIZE
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter))  # so that what it remembers decides
    generator = torch.Generator().manual_seed(2)
    return Watched(network, num_envs, epsilon=epsilon, generator=generator)


def new_dataset(path: Path) -> Dataset:
    return Dataset.create(path, GameSpec("atari/Breakout", *SIZE, ActionSpace.discrete(4)))


@pytest.mark.parametrize("num_envs", [1, 2])
@pytest.mark.cases(every=2)
def test_the_replay_is_the_game_as_it_was_played(tmp_path: Path, num_envs: int) -> None:
    """The stored actions, played again in the emulator, give every stored frame, reward and end.

    A life lost ends an episode and the next begins on the very frame it led to; only after game over does an
    episode begin on a frame of a reset, and no episode ends on one.
    """
    with breakout(num_envs) as env, new_dataset(tmp_path / "replay") as dataset:
        policy = agent(num_envs, epsilon=1.0)
        finished = Collector(env, dataset, policy, SEED).collect(700)
        assert dataset.num_steps == 700
        episodes = {episode.id: episode for episode in dataset.episodes}
        frames = {id_: dataset.episode_frames(id_) for id_ in episodes}
        finals = {id_: dataset.final_frame(id_) for id_, episode in episodes.items() if episode.ended}

    ids, current, places = itertools.count(), [-1] * num_envs, [0] * num_envs
    scores, games, lives_lost = [0.0] * num_envs, num_envs, 0
    over_scores: list[float] = []
    with breakout(num_envs) as env:
        seen = env.reset([training_seed(SEED, game) for game in range(num_envs)])
        for forgotten in policy.forgotten:
            assert forgotten == [id_ < 0 for id_ in current], "the policy forgets where an episode begins"
            for row in range(num_envs):
                if current[row] < 0:
                    current[row], places[row] = next(ids), 0
            actions = np.array([episodes[id_].actions[t] for id_, t in zip(current, places, strict=True)])
            step = env.step(actions)
            for row, id_ in enumerate(current):
                t, episode = places[row], episodes[id_]
                np.testing.assert_array_equal(frames[id_][t], seen[row])
                assert episode.rewards[t] == step.rewards[row]
                scores[row] += float(step.rewards[row])
                places[row] += 1
                if step.terminated[row]:
                    assert episode.terminated and episode.length == places[row]
                    np.testing.assert_array_equal(finals[id_], step.frames[row])
                    current[row] = -1
                    lives_lost += not step.needs_reset[row]
                else:
                    assert episode.length > places[row] or not episode.ended
            seen = step.frames.copy()
            for row in np.flatnonzero(step.needs_reset).tolist():
                over_scores.append(scores[row])
                scores[row] = 0.0
                seen[row] = env.reset([training_seed(SEED, games)], [row])[0]
                games += 1
    assert len(episodes) == next(ids)
    assert lives_lost >= 4 and over_scores, "the game should have gone far enough to tell"
    assert finished == over_scores


def saved(state: dict[str, Any]) -> dict[str, Any]:
    """A state as a checkpoint keeps it."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def content(path: Path) -> tuple[bytes, bytes]:
    return (path / FRAMES).read_bytes(), (path / ROWS).read_bytes()


@pytest.mark.parametrize("num_envs", [1, 2])
@pytest.mark.parametrize("before", [0, 60, 330])
@pytest.mark.cases(every=3)
def test_a_restored_collector_goes_on_as_if_nothing_had_been(tmp_path: Path, num_envs: int, before: int) -> None:
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    with breakout(num_envs) as env, new_dataset(straight) as dataset:
        Collector(env, dataset, agent(num_envs), SEED).collect(before + 60)

    with breakout(num_envs) as env, new_dataset(resumed) as dataset:
        policy = agent(num_envs)
        collector = Collector(env, dataset, policy, SEED)
        collector.collect(before)
        state, rows = saved(collector.state_dict()), dataset.num_rows
        assert policy.generator is not None
        draws = policy.generator.get_state()
        collector.collect(34)  # lost: the run is killed before its next checkpoint

    with breakout(num_envs) as env, Dataset.open(resumed, writable=True, num_rows=rows) as dataset:
        policy = agent(num_envs)
        assert policy.generator is not None
        policy.generator.set_state(draws)
        collector = Collector(env, dataset, policy, SEED)
        collector.load_state_dict(state)
        collector.collect(60)
        assert dataset.num_steps == before + 60
    assert content(resumed) == content(straight)


def test_a_state_does_not_change_while_the_game_goes_on(tmp_path: Path) -> None:
    with breakout(2) as env, new_dataset(tmp_path / "replay") as dataset:
        collector = Collector(env, dataset, agent(2, epsilon=1.0), SEED)
        collector.collect(100)
        state = collector.state_dict()
        before = saved(state)
        for _ in range(40):
            collector.collect(20)
            if collector.driver.scores.tolist() != before["driver"]["scores"].tolist():
                break
        else:
            pytest.fail("no score changed")
    for name in ("scores", "fresh", "game"):
        assert torch.equal(state["driver"][name], before["driver"][name]), name
    assert state["writer"] == before["writer"] and state["driver"]["begun"] == before["driver"]["begun"]
    assert all(torch.equal(a, b) for a, b in zip(state["policy"], before["policy"], strict=True))
    assert [(seed, actions.tolist()) for seed, actions in state["driver"]["histories"]] == [
        (seed, actions.tolist()) for seed, actions in before["driver"]["histories"]
    ]


def test_rounds_are_whole(tmp_path: Path) -> None:
    with breakout(2) as env, new_dataset(tmp_path / "replay") as dataset:
        collector = Collector(env, dataset, agent(2), SEED)
        collector.collect(5)
        assert dataset.num_steps == 6
        collector.collect(0)
        assert dataset.num_steps == 6
        assert dataset.num_episodes == 2
