"""Test games: whoever plays them, and whatever is played beside them, they go the same."""

import os
import pickle
import signal
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffworld.data import GameStep
from diffworld.envs import ActionCounter, EnvironmentConfig, make_env
from diffworld.evaluation import held_out
from diffworld.evaluation.blind import play_blind
from diffworld.evaluation.games import TestGames
from diffworld.evaluation.held_out import TestRecorder, record
from diffworld.game import ActionSpace, GameSpec
from diffworld.models.actor_critic import ActorCritic, ActorCriticConfig
from diffworld.runtime.progress import Display
from diffworld.runtime.ranks import ALONE, Ranks, joined
from tests.several_ranks import Started

COUNTS = (1, 2, 5)
"""Numbers of games: fewer than three ranks, as many as two, a multiple of neither."""
KEPT = 30
"""Steps that are kept of these games: some of them in full, one in part."""


def games_of(ranks: Ranks = ALONE, num_envs: int = 2) -> TestGames:
    """Games of unequal lengths."""
    with closing(make_env("minatar/breakout", EnvironmentConfig(height=20, width=16, max_steps=60))) as env:
        return TestGames(env.spec, 3, num_envs, ranks=ranks)


def agent_of(tests: TestGames) -> ActorCritic:
    """Whose actions depend on what it sees."""
    torch.manual_seed(5)
    config = ActorCriticConfig(channels=(4, 4), pool=(True, True), lstm_channels=8)
    agent = ActorCritic(config, tests.spec.actions, tests.spec.frame_size)
    torch.nn.init.normal_(agent.policy_head.weight, std=3.0)
    return agent


def played(tests: TestGames, games: int) -> dict[str, Any]:
    """What all players score, and what is kept of the agent's games (in rank 0)."""
    recorder, pressed, seen = TestRecorder(), ActionCounter(), list[GameStep]()

    def watch(step: GameStep) -> None:
        recorder(step)
        pressed(step)
        seen.append(step)

    agent = tests.play(agent_of(tests), games, on_step=watch, policy_seed=4)
    assert {step.game for step in seen} == set(tests.ranks.share(games)), "each rank sees its own games"
    blind = play_blind(tests, pressed, games, Display(quiet=True))
    random = tests.play(None, games, policy_seed=4)
    steps = recorder.gathered(tests.ranks)
    assert tests.ranks.first or not steps
    kept = [(step.game, step.frame.tobytes(), step.action, step.reward, step.next_frame.tobytes()) for step in steps]
    return {"agent": agent, "random": random, "blind": asdict(blind), "kept": kept}


def play_all(out: Path) -> None:
    held_out.STEPS = KEPT
    torch.set_num_threads(1)
    with joined() as ranks:
        found = {games: played(games_of(ranks), games) for games in COUNTS}
        everywhere = [{games: each["agent"] for games, each in one.items()} for one in ranks.all(found)]
        assert all(each == everywhere[0] for each in everywhere), "all ranks know all results"
        if ranks.first:
            out.write_bytes(pickle.dumps(found))


def test_games_go_the_same_with_any_number_of_ranks(tmp_path: Path) -> None:
    """To the last bit: the network computes with as many rows in each."""
    found = []
    for count in (1, 2, 3):
        started = Started(play_all, [(tmp_path / f"{count}",)] * count, tmp_path / f"ranks-{count}")
        assert started.wait() == [0] * count, "\n".join(started.errors())
        found.append(pickle.loads((tmp_path / f"{count}").read_bytes()))
    assert found[0] == found[1] == found[2]
    agent, kept = found[0][5]["agent"], found[0][5]["kept"]
    assert [game.seed for game in agent] == sorted(game.seed for game in agent) and len(agent) == 5
    assert len({(game.steps, game.score) for game in agent}) > 1, "games differ"
    assert len(kept) == KEPT and [step[0] for step in kept] == sorted(step[0] for step in kept)
    assert found[0][1]["agent"] == agent[:1], "a game goes the same however many are played"


def test_games_go_the_same_beside_others() -> None:
    """The agent's up to rounding, which would have to tip the scales of a draw to be seen."""
    assert played(games_of(num_envs=1), 5) == played(games_of(num_envs=4), 5)


def test_other_numbers_draw_otherwise() -> None:
    tests = games_of()
    agent, random = agent_of(tests), tests.play(None, 3)
    assert tests.play(None, 3, policy_seed=1) != random == tests.play(None, 3)
    assert tests.play(agent, 3, policy_seed=1) != tests.play(agent, 3)


def test_the_first_steps_are_kept_by_number_not_by_time(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(held_out, "STEPS", 6)
    frame = np.zeros((2, 2, 3), np.uint8)
    recorder = TestRecorder()
    # Games 0, 1 and 2 side by side, of 4, 3 and 5 steps; then game 3.
    for time in range(5):
        for game, length in enumerate((4, 3, 5)):
            if time < length:
                last = time == length - 1
                recorder(GameStep(game, frame + time, 0, float(time), last, False, frame + 9, last))
                assert recorder.count <= 6
    recorder(GameStep(3, frame, 0, 0.0, False, False, frame))
    steps = recorder.gathered(ALONE)
    assert [(step.game, step.reward) for step in steps] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]
    spec = GameSpec("toy", 2, 2, ActionSpace.discrete(1))
    for kept in (steps, steps[:2]):
        with record(tmp_path / "held_out", spec, kept) as data:
            assert data.num_steps == len(kept), "what was there before is gone"


def die(at: int) -> None:
    with joined() as ranks:
        tests = games_of(ranks)
        steps = 0

        def watch(_: GameStep) -> None:
            nonlocal steps
            steps += 1
            if ranks.rank == 1 and steps == at:
                os.kill(os.getpid(), signal.SIGKILL)

        tests.play(None, 3000, on_step=watch)


def test_a_rank_that_is_killed_ends_the_games_of_all(tmp_path: Path) -> None:
    started = Started(die, [(20,)] * 3, tmp_path)
    codes = started.wait()
    assert codes[1] == -signal.SIGKILL and codes[0] == codes[2] == 1
    assert any("another rank has ended without a word" in line for line in started.errors())
