"""Which scores may be compared with the benchmark's, and what is said about those that may not."""

import re
from dataclasses import asdict, replace
from typing import Any

import pytest

from diffworld.config import preset
from diffworld.envs import EnvironmentConfig
from diffworld.evaluation.protocol import ATARI_100K, Protocol, atari_game, departures, protocol_of, rules


def protocol(steps: int = 100_000, total: int = 100_000, outside: bool = False, **changes: Any) -> Protocol:
    presented = asdict(EnvironmentConfig(**changes))
    return protocol_of(presented, steps, total_steps=total, outside_experience=outside)


def test_the_published_preset_keeps_the_benchmarks_rules() -> None:
    config = preset("atari100k")
    found = protocol(total=config.collection.total_steps, **asdict(config.environment))
    assert found == ATARI_100K
    assert departures(config.env, found) == []


def test_steps_past_the_budget_come_from_games_side_by_side() -> None:
    assert protocol(100_007) == ATARI_100K


def test_frame_size_is_free() -> None:
    assert protocol(height=32, width=32) == ATARI_100K


def test_a_limit_of_length_that_never_cuts_is_none() -> None:
    assert protocol(max_steps=27_000) == ATARI_100K


@pytest.mark.parametrize(
    ("env", "found", "said"),
    [
        ("atari/Breakout", protocol(sticky_actions=0.25), "sticky actions with prob"),
        ("atari/Breakout", protocol(frame_skip=5), r"frame skip 5 \(benchmark: 4\)"),
        ("atari/Breakout", protocol(noop_max=1), "no-op maximum 1"),
        ("atari/Breakout", protocol(max_steps=500), "games cut after 500 steps"),
        ("atari/Breakout", protocol(life_loss_ends=False), "a lost life does not end"),
        ("atari/Breakout", protocol(200_000, total=200_000), "200,000 real steps"),
        ("atari/Breakout", protocol(40_000), r"40,000 real steps \(benchmark: 100,000\)"),
        ("atari/Breakout", protocol(outside=True), "data or weights from elsewhere"),
        ("atari/Tennis", protocol(), "is none of the benchmark's 26 games"),
        ("minatar/breakout", protocol(), "is none of the benchmark's 26 games"),
    ],
)
def test_every_other_rule_sets_apart_and_is_named(env: str, found: Protocol, said: str) -> None:
    (departure,) = departures(env, found)
    assert re.search(said, departure)


def test_random_play_depends_on_the_games_rules_alone() -> None:
    untrained = Protocol(real_steps=0, life_loss_ends=False, outside_experience=True)
    assert departures("atari/Pong", untrained, "random") == []
    assert len(departures("atari/Pong", untrained)) == 3
    assert departures("atari/Pong", replace(untrained, frame_skip=30), "random") == ["frame skip 30 (benchmark: 4)"]


def test_rules_in_words() -> None:
    assert rules(ATARI_100K) == [
        "frame skip 4",
        "no sticky actions",
        "no-op maximum 30",
        "whole games",
        "a lost life ends the learner's episode",
        "100,000 real steps",
        "no data or weights from elsewhere",
    ]


def test_names_of_games() -> None:
    assert atari_game("atari/MsPacman") == "MsPacman"
    assert atari_game("gym/MsPacman") is None
    assert atari_game("atari/Tennis") is None
