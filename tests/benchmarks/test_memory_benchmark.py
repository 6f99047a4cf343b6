"""The memory benchmark compares what is taken with what was foretold, and fails where they differ."""

import pytest

from benchmarks import memory

SMALL = ["--small", "--updates", "2", "--device", "cpu"]


@pytest.mark.thorough
def test_what_is_foretold_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert memory.main(SMALL) == 0
    said = capsys.readouterr().out
    assert "denoiser: " in said and said.endswith("foretold within 15%\n")


@pytest.mark.thorough
def test_a_wrong_forecast_fails(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SHARE", 1e-6)
    assert memory.main(SMALL) == 2
    assert capsys.readouterr().err.startswith("error: what an update of the denoiser takes was foretold ")


@pytest.mark.parametrize(("taken", "wrong"), [(100, False), (116, False), (118, True), (88, False), (86, True)])
def test_a_forecast_may_be_off_by_15_percent(taken: int, wrong: bool) -> None:
    assert bool(memory.off("memory", taken, 100)) == wrong
