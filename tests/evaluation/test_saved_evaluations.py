"""An evaluation comes back from disk as it was; a damaged one is refused in one line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from diffworld.envs import EpisodeResult
from diffworld.evaluation.blind import BlindGames
from diffworld.evaluation.protocol import ATARI_100K
from diffworld.evaluation.saved import Evaluation, read_evaluation, read_evaluations, save_evaluation
from diffworld.runtime.errors import UserError

EVALUATION = Evaluation(
    env="atari/Breakout",
    policy="agent",
    checkpoint=7,
    finished=True,
    env_steps=100_000,
    wall_seconds=12.5,
    temperature=1.0,
    test_seed=3,
    num_envs=2,
    protocol=ATARI_100K,
    episodes=(EpisodeResult(6_000_000, 30.5, 812, False), EpisodeResult(6_000_001, 1.7, 99, True)),
)
BLIND = BlindGames("UP", EVALUATION.episodes, EVALUATION.episodes[::-1])
REFERENCE = (1.7, 30.5)


@pytest.mark.parametrize("blind", [BLIND, None])
def test_it_comes_back_as_it_was(tmp_path: Path, blind: BlindGames | None) -> None:
    evaluation = replace(EVALUATION, blind=blind)
    path = save_evaluation(tmp_path, evaluation, REFERENCE)
    assert read_evaluation(path) == evaluation
    assert read_evaluations(tmp_path) == [evaluation]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_an_evaluation_of_before_has_no_blind_players(tmp_path: Path) -> None:
    path = save_evaluation(tmp_path, EVALUATION, REFERENCE)
    data = json.loads(path.read_text())
    del data["evaluation"]["blind"], data["summary"]["blind"]
    path.write_text(json.dumps(data))
    assert read_evaluation(path) == EVALUATION


def test_the_file_says_what_the_scores_mean(tmp_path: Path) -> None:
    summary = json.loads(save_evaluation(tmp_path, EVALUATION, REFERENCE).read_text())["summary"]
    assert summary["mean"]["mean"] == pytest.approx(16.1)
    assert summary["human_normalised"]["mean"] == pytest.approx(0.5)
    assert summary["comparable_with_atari_100k"] is True
    assert summary["departures"] == []


def test_other_rules_are_not_normalised_and_the_file_says_why(tmp_path: Path) -> None:
    sticky = replace(EVALUATION, protocol=replace(ATARI_100K, sticky_actions=0.25))
    summary = json.loads(save_evaluation(tmp_path, sticky, REFERENCE).read_text())["summary"]
    assert summary["human_normalised"] is None
    assert summary["comparable_with_atari_100k"] is False
    assert summary["departures"] == ["sticky actions with probability 0.25 (benchmark: 0)"]


def test_a_game_without_reference_scores(tmp_path: Path) -> None:
    other = replace(EVALUATION, env="minatar/breakout")
    summary = json.loads(save_evaluation(tmp_path, other, None).read_text())["summary"]
    assert summary["human_normalised"] is None
    assert summary["comparable_with_atari_100k"] is False


def test_evaluations_that_could_differ_have_files_of_their_own() -> None:
    changes = [
        {"checkpoint": 8},
        {"temperature": 0.5},
        {"test_seed": 4},
        {"num_envs": 1},
        {"policy": "random"},
        {"episodes": EVALUATION.episodes[:1]},
    ]
    names = {replace(EVALUATION, **change).name for change in changes}  # type: ignore[arg-type]
    assert len(names | {EVALUATION.name}) == len(changes) + 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:100],
        lambda text: "[]",
        lambda text: text.replace('"format": 1', '"format": 2'),
        lambda text: text.replace("30.5", "NaN"),
        lambda text: text.replace("30.5", '"many"'),
        lambda text: text.replace('"temperature"', '"warmth"'),
        lambda text: text.replace('"mixture"', '"mixed"'),
        lambda text: json.dumps({**json.loads(text), "evaluation": json.loads(text)["evaluation"] | {"blind": {}}}),
        lambda text: json.dumps({**json.loads(text), "evaluation": {}}),
        lambda text: json.dumps(json.loads(text) | {"evaluation": json.loads(text)["evaluation"] | {"episodes": []}}),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, damage: object) -> None:
    path = save_evaluation(tmp_path, replace(EVALUATION, blind=BLIND), None)
    path.write_text(damage(path.read_text()))  # type: ignore[operator]
    with pytest.raises(UserError, match="delete it and run diffworld evaluate again") as error:
        read_evaluation(path)
    assert "\n" not in str(error.value)
