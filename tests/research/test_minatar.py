"""The study's numbers, from run folders whose scores are known."""

import json
from pathlib import Path

import pytest

from diffworld.runtime.errors import UserError
from research.minatar import Options, read_runs, run, study, tables
from tests.report.run_folders import make_run

GAMES = ("minatar/breakout", "minatar/asterix")
REFERENCE = {GAMES[0]: [9.0, 14.0], GAMES[1]: [11.5]}
"""Means of 11.5, where random play has 1.5: ten points apart."""


def campaign(folder: Path) -> Path:
    scores = {"dreams": (6.5, 8.5), "model-free": (2.5, 2.5)}
    for setting, of_seeds in scores.items():
        for game in GAMES:
            for seed, score in enumerate(of_seeds):
                place = folder / setting / game.replace("/", "-") / f"seed-{seed}"
                make_run(place, game, seed, (score - 1, score + 1), constant=3.0)
    return folder


def test_aggregates_lie_between_random_play_and_the_reference(tmp_path: Path) -> None:
    record = study(read_runs(campaign(tmp_path)), REFERENCE, {game: [4.5, 5.5] for game in GAMES})
    assert record["scores"]["dreams"] == {game: [6.5, 8.5] for game in GAMES}
    assert record["blind"][GAMES[0]] == {"random": 1.5, "best constant action": 3.0, "blind mixture": -2.0}
    values = {name: of["mean"] for name, of in record["aggregates"].items()}
    assert {name: value["value"] for name, value in values.items()} == pytest.approx(
        {"dreams": 0.6, "model-free": 0.1, "PPO": 0.35}
    )
    assert values["dreams"]["low"] == pytest.approx(0.5) and values["dreams"]["high"] == pytest.approx(0.7)
    assert {name: chance["value"] for name, chance in record["improvement"].items()} == {"model-free": 1.0, "PPO": 1.0}
    lines = list(tables(record))
    assert "| dreams | 6.50, 8.50 | 6.50, 8.50 | 0.60 (0.50 to 0.70) |  |" in lines
    assert len({line.count("|") for line in lines}) == 1


def test_files_go_in_and_come_out(tmp_path: Path) -> None:
    folder, reference = campaign(tmp_path / "runs"), tmp_path / "ppo.json"
    reference.write_text(json.dumps({"scores": {game: dict(enumerate(of)) for game, of in REFERENCE.items()}}))
    out, picture = tmp_path / "out.json", tmp_path / "out.png"
    run(Options(folder, reference, out, picture=picture))
    assert json.loads(out.read_text())["games"] == sorted(GAMES)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no finished run: diffworld sweep"):
        read_runs(tmp_path)
    with pytest.raises(UserError, match="no score of minatar/breakout"):
        study(read_runs(campaign(tmp_path)), {GAMES[1]: [1.0]}, {})
    broken = tmp_path / "broken.json"
    broken.write_text("[]")
    with pytest.raises(UserError, match="is no file of research"):
        run(Options(tmp_path, broken, tmp_path / "out.json"))
