"""`diffworld report` from the command line."""

import json
from pathlib import Path

import pytest

from diffworld.commands import report
from diffworld.runtime.errors import UserError


def test_without_a_run_it_writes_the_published_methods(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "report"
    assert report.main(["--out", str(out)]) == 0
    names = {path.name for path in out.iterdir()}
    assert {"report.html", "report.json", "per_game.csv", "aggregates.png", "profiles.png"} <= names
    assert "runs.csv" not in names
    assert f"open {out / 'report.html'}" in capsys.readouterr().out


def test_a_place_that_is_taken_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="choose another --out"):
        report.main(["nowhere", "--out", str(tmp_path)])
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_inputs_that_cannot_be_used_leave_nothing(tmp_path: Path) -> None:
    scores = tmp_path / "scores.json"
    scores.write_text(json.dumps({"method": "Mine", "scores": {"Pnog": 3}}))
    for name, said in (
        (str(scores), "did you mean 'Pong'"),
        (str(tmp_path / "no"), "does not exist"),
        ("--demo", "diffworld evaluate --demo breakout prints its scores"),
    ):
        with pytest.raises(UserError, match=said):
            report.main([name, "--out", str(tmp_path / "report")])
    assert not (tmp_path / "report").exists()


def test_help_shows_how_to_write_scores(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        report.main(["--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert '{"method": "Name"' in said
    assert "sticky_actions" in said
