"""The loop's share: a real epoch with tiny networks is timed whole, and scaled by what each piece goes by."""

import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from benchmarks import loop_share
from diffworld.config import Config, EnvironmentConfig


def test_an_epoch_is_timed_piece_by_piece(small: Config, tmp_path: Path) -> None:
    paper = replace(small, environment=EnvironmentConfig(height=12, width=12))
    loop_share.report(paper, loop_share.Options(out=tmp_path, updates=2, replay=40))
    record = json.loads((tmp_path / "loop_share.json").read_text())
    measured, pieces = record["measured_seconds"], record["seconds_an_epoch"]
    assert set(pieces) == {"networks", "collection", "windows", "logging", "saving", "all else"}
    assert min(pieces.values()) > 0
    assert measured["windows"] < measured["updates"]
    named = sum(measured[name] for name in ("collection", "updates", "logging", "saving"))
    assert named <= measured["all"] * 1.001
    assert record["loop_share"] == pytest.approx(1 - pieces["networks"] / sum(pieces.values()), rel=1e-2)
    with Image.open(tmp_path / "loop_share.png") as picture:
        assert picture.size[0] > 500


def test_each_piece_is_scaled_by_what_it_goes_by(small: Config) -> None:
    seconds = {"collection": 3.0, "updates": 11.0, "windows": 1.0, "logging": 0.5, "saving": 2.0, "all": 16.6}
    pieces = loop_share.scaled(seconds, small, updates=4)  # of 400, and a save a minute
    assert pieces["networks"] == pytest.approx(1000) and pieces["windows"] == pytest.approx(100)
    assert pieces["collection"] == 3 and pieces["logging"] == 0.5
    assert pieces["all else"] == pytest.approx(10)
    assert pieces["saving"] == pytest.approx((1000 + 100 + 3.5 + 10) / 60 * 2)


def test_the_watch_counts_and_lets_go() -> None:
    owner = SimpleNamespace(work=lambda seconds: time.sleep(seconds) or seconds)
    original, watch = owner.work, loop_share.Stopwatch()
    with watch.watch(owner, "work", "sleep"):
        assert owner.work(0.02) == 0.02
        owner.work(0.01)
    assert owner.work is original
    assert 0.03 <= watch.seconds["sleep"] < 1


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, said in ((["--updates", "0"], "--updates is 0"), (["--no-such-option"], "try:")):
        assert loop_share.main(["--out", str(tmp_path / "out"), *more]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
