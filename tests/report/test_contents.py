"""Who is compared with whom: nothing missing is counted, nothing under other rules is mixed in."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from run_folders import BENCHMARK_CONFIG, make_run

from diffworld.envs import EnvironmentConfig
from diffworld.report.contents import gather
from diffworld.report.scores import load_benchmark
from diffworld.runtime.errors import UserError

GAMES = load_benchmark().games


def scores_file(path: Path, name: str, games: tuple[str, ...] = GAMES, runs: int = 2, **more: object) -> Path:
    human = load_benchmark().human
    data = {"method": name, "scores": {game: [human[game] * (1 + 0.1 * i) for i in range(runs)] for game in games}}
    path.write_text(json.dumps(data | more))
    return path


def test_without_a_run_the_published_methods_alone() -> None:
    contents = gather([], resamples=100)
    assert len(contents.aggregates) == 16
    assert contents.own == []
    assert contents.notes == ()
    assert {x for x, _ in contents.improvement} == {"DIAMOND"}
    assert contents.ranked()[0] == "EfficientZero"
    diamond = contents.aggregates["DIAMOND"]
    assert diamond["iqm"].low is not None
    assert diamond["iqm"].low < 0.641 < (diamond["iqm"].high or 0)
    assert contents.aggregates["EfficientZero"]["iqm"].low is None


def test_a_complete_file_joins_every_comparison(tmp_path: Path) -> None:
    contents = gather([scores_file(tmp_path / "a.json", "Mine")], resamples=100)
    assert contents.methods[0].name == "Mine"
    assert contents.aggregates["Mine"]["above_human"].value == 26
    assert {x for x, _ in contents.improvement} == {"Mine"}
    assert contents.notes == ()


def test_missing_games_are_named_and_nothing_is_aggregated_over_them(tmp_path: Path) -> None:
    contents = gather([scores_file(tmp_path / "a.json", "Mine", GAMES[:3])], resamples=100)
    assert "Mine" not in contents.aggregates
    assert "Mine" not in contents.profiles
    assert all("Mine" not in pair for pair in contents.improvement)
    assert contents.notes[0].startswith("Mine has 3 of the 26 games")
    assert all(game in contents.notes[0] for game in GAMES[3:])
    assert contents.subsets["Mine"]["Mine"]["above_human"].value == 3
    assert set(contents.subsets["Mine"]) == {"Mine", *contents.aggregates}


def test_one_game_has_no_aggregates_at_all(tmp_path: Path) -> None:
    assert gather([scores_file(tmp_path / "a.json", "Mine", GAMES[:1])], resamples=100).subsets == {}


def test_one_run_a_game_has_no_intervals_and_a_note(tmp_path: Path) -> None:
    contents = gather([scores_file(tmp_path / "a.json", "Mine", runs=1)], resamples=100)
    assert contents.aggregates["Mine"]["mean"].low is None
    assert contents.profiles["Mine"].low is None
    assert contents.improvement["Mine", "DIAMOND"].low is None
    assert "no intervals" in contents.notes[0]


def test_runs_of_one_method_are_its_runs_and_those_under_other_rules_are_not(tmp_path: Path) -> None:
    sticky = replace(BENCHMARK_CONFIG, environment=EnvironmentConfig(sticky_actions=0.25))
    paths = [
        make_run(tmp_path / "a", seed=0, scores=[10, 20]),
        make_run(tmp_path / "b", seed=1, scores=[30, 40]),
        make_run(tmp_path / "c", "Pong", scores=[1, 2]),
        make_run(tmp_path / "d", config=sticky, scores=[900, 900]),
        make_run(tmp_path / "e", "minatar/breakout", scores=[900, 900]),
    ]
    contents = gather(
        [*paths, paths[0], scores_file(tmp_path / "x.json", "Sticky", protocol={"sticky_actions": 0.25})], resamples=100
    )
    assert [method.name for method in contents.own] == ["diffworld atari100k"]
    assert contents.own[0].scores == {"Breakout": (15.0, 35.0), "Pong": (1.5,)}
    assert [run.comparable for run in contents.runs] == [True, True, True, False, False]
    assert [method.name for method in contents.apart] == ["Sticky"]
    assert "3 of your results were made under other rules" in " ".join(contents.notes)


def test_names_that_clash_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    files = [scores_file(tmp_path / f"{i}.json", "Mine") for i in range(2)]
    for paths, name, said in (
        (files, None, "two of the inputs are called 'Mine'"),
        ([run, files[0]], "Mine", "two of the inputs are called 'Mine'"),
        ([run], "IRIS", "choose another"),
        ([run], " ", "choose another"),
    ):
        with pytest.raises(UserError, match=said):
            gather(paths, name, resamples=100)
