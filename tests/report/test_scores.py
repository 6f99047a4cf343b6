"""The shipped scores are whole, and other people's files are read strictly."""

import json
from pathlib import Path
from typing import Any

import pytest

from diffworld.envs import ATARI_100K_GAMES
from diffworld.report.scores import Method, load_benchmark, read_method
from diffworld.runtime.errors import UserError

BENCHMARK = load_benchmark()


def read(folder: Path, data: Any) -> Method:
    path = folder / "scores.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return read_method(path, BENCHMARK)


def test_shipped_scores_are_of_the_benchmarks_games_and_name_their_sources() -> None:
    assert BENCHMARK.games == ATARI_100K_GAMES
    assert len(BENCHMARK.methods) == 16
    for method in BENCHMARK.methods:
        assert BENCHMARK.missing(method) == []
        assert "/" in method.source
    assert all("source" in entry for entry in BENCHMARK.aggregates.values())
    assert all(BENCHMARK.human[game] > BENCHMARK.random[game] for game in BENCHMARK.games)


def test_human_normalised_scores() -> None:
    # Breakout: random 1.7, human 30.5.
    method = Method("x", {"Breakout": (1.7, 30.5, 59.3)}, "")
    assert BENCHMARK.normalised("Breakout", method.scores["Breakout"]) == pytest.approx([0, 1, 2])
    assert len(BENCHMARK.missing(method)) == 25
    assert BENCHMARK.reference("Breakout") == (1.7, 30.5)
    assert BENCHMARK.reference(None) is None


def test_a_file_of_scores(tmp_path: Path) -> None:
    method = read(tmp_path, {"method": " Mine ", "scores": {"Pong": [1, 2.5], "Alien": 300}, "source": "a paper"})
    assert method.name == "Mine"
    assert method.scores == {"Pong": (1.0, 2.5), "Alien": (300.0,)}
    assert method.own
    assert not method.departures
    assert method.source == "a paper"


def test_a_file_that_names_other_rules_is_set_apart(tmp_path: Path) -> None:
    scores = {"Pong": [1.0]}
    same = read(tmp_path, {"method": "x", "scores": scores, "protocol": {"frame_skip": 4, "sticky_actions": 0}})
    assert same.departures == ()
    sticky = read(tmp_path, {"method": "x", "scores": scores, "protocol": {"sticky_actions": 0.25}})
    assert sticky.departures == ("sticky actions with probability 0.25 (benchmark: 0)",)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("", "cannot read scores"),
        ("[" * 100_000, "cannot read scores"),
        ([], "is no file of scores"),
        ({"method": "x"}, "is no file of scores"),
        ({"method": "x", "scores": {}}, "at least one game"),
        ({"method": "", "scores": {"Pong": 1}}, "method should be"),
        ({"method": "x\ny", "scores": {"Pong": 1}}, "method should be"),
        ({"method": 3, "scores": {"Pong": 1}}, "method should be"),
        ({"method": "x", "scores": {"Pong": 1}, "seeds": 3}, "unknown field 'seeds'"),
        ({"method": "DIAMOND", "scores": {"Pong": 1}}, "already has a method 'DIAMOND'"),
        ({"method": "Human", "scores": {"Pong": 1}}, "already has a method 'Human'"),
        ({"method": "game", "scores": {"Pong": 1}}, "already has a method 'game'"),
        ({"method": "EDELINE", "scores": {"Pong": 1}}, "already has a method 'EDELINE'"),
        ({"method": "x", "scores": {"pong": 1}}, "did you mean 'Pong'"),
        ({"method": "x", "scores": {"Chess": 1}}, "is no Atari 100k game"),
        ({"method": "x", "scores": {"Pong": []}}, "one or more finite numbers"),
        ({"method": "x", "scores": {"Pong": [True]}}, "one or more finite numbers"),
        ({"method": "x", "scores": {"Pong": ["1"]}}, "one or more finite numbers"),
        ({"method": "x", "scores": {"Pong": None}}, "one or more finite numbers"),
        ({"method": "x", "scores": {"Pong": 10**400}}, "one or more finite numbers"),
        ('{"method": "x", "scores": {"Pong": [NaN]}}', "one or more finite numbers"),
        ('{"method": "x", "scores": {"Pong": [1e999]}}', "one or more finite numbers"),
        ('{"method": "x", "scores": {"Pong": 1, "Pong": 2}}', "it has 'Pong' twice"),
        ({"method": "x", "scores": {"Pong": 1}, "protocol": 4}, "protocol should be"),
        ({"method": "x", "scores": {"Pong": 1}, "protocol": {"skip": 4}}, "unknown field 'skip'"),
        ({"method": "x", "scores": {"Pong": 1}, "protocol": {"frame_skip": "4"}}, "frame_skip is 4"),
        ('{"method": "x", "scores": {"Pong": 1}, "protocol": {"sticky_actions": NaN}}', "sticky_actions is nan"),
    ],
)
def test_anything_else_is_refused_in_one_line(tmp_path: Path, data: Any, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        read(tmp_path, data)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot read scores"):
        read_method(tmp_path / "scores.json", BENCHMARK)
