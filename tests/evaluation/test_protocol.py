"""Which scores may be compared with the benchmark's, and what is said about those that may not."""

import re
from dataclasses import replace

import pytest

from diffworld.config import CollectionConfig, Config, EnvironmentConfig
from diffworld.config.presets import PRESETS
from diffworld.evaluation.protocol import ATARI_100K, Protocol, atari_game, departures, protocol_of, rules

BREAKOUT = Config()


def test_the_published_preset_keeps_the_benchmarks_rules() -> None:
    config = PRESETS["atari100k"]()
    assert protocol_of(config, 100_000) == ATARI_100K
    assert departures(config.env, protocol_of(config, 100_000)) == []


def test_steps_past_the_budget_come_from_games_side_by_side() -> None:
    assert protocol_of(BREAKOUT, 100_007) == ATARI_100K


def test_frame_size_and_networks_are_free() -> None:
    small = replace(BREAKOUT, environment=EnvironmentConfig(height=32, width=32), horizon=5)
    assert protocol_of(small, 100_000) == ATARI_100K


def test_a_limit_of_length_that_never_cuts_is_none() -> None:
    assert protocol_of(replace(BREAKOUT, environment=EnvironmentConfig(max_steps=27_000)), 100_000) == ATARI_100K


@pytest.mark.parametrize(
    ("config", "steps", "said"),
    [
        (replace(BREAKOUT, environment=EnvironmentConfig(sticky_actions=0.25)), 100_000, "sticky actions with prob"),
        (replace(BREAKOUT, environment=EnvironmentConfig(frame_skip=5)), 100_000, r"frame skip 5 \(benchmark: 4\)"),
        (replace(BREAKOUT, environment=EnvironmentConfig(noop_max=1)), 100_000, "no-op maximum 1"),
        (replace(BREAKOUT, environment=EnvironmentConfig(max_steps=500)), 100_000, "games cut after 500 steps"),
        (replace(BREAKOUT, environment=EnvironmentConfig(life_loss_ends=False)), 100_000, "a lost life does not end"),
        (replace(BREAKOUT, collection=CollectionConfig(total_steps=200_000)), 200_000, "200,000 real steps"),
        (BREAKOUT, 40_000, r"40,000 real steps \(benchmark: 100,000\)"),
        (replace(BREAKOUT, data="somewhere"), 100_000, "data or weights from elsewhere"),
        (replace(BREAKOUT, init_from="somewhere"), 100_000, "data or weights from elsewhere"),
        (replace(BREAKOUT, env="atari/Tennis"), 100_000, "is none of the benchmark's 26 games"),
        (replace(BREAKOUT, env="minatar/breakout"), 100_000, "is none of the benchmark's 26 games"),
    ],
)
def test_every_other_rule_sets_apart_and_is_named(config: Config, steps: int, said: str) -> None:
    found = departures(config.env, protocol_of(config, steps))
    assert len(found) == 1
    assert re.search(said, found[0])


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
