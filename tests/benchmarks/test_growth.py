"""The growth benchmark varies what it says, times each part, and finds the slope that is there."""

from pathlib import Path

import pytest
from PIL import Image

from benchmarks import growth
from diffworld.config import Config, differences
from diffworld.data import Dataset

TINY = growth.Options(
    out=Path("unused"),
    repetitions=1,
    batch=(2, 3),
    horizon=(1, 2),
    side=(12, 16),
    channels=(8, 16),
    denoising_steps=(1, 3),
    replay=(50, 1_050),
)


@pytest.mark.thorough
def test_every_part_is_timed_and_drawn(small: Config, tmp_path: Path) -> None:
    record = growth.measure(TINY, small)
    found = {entry["setting"]: entry for entry in record["growth"]}
    assert list(found) == ["batch", "horizon", "frame side", "channels", "denoising steps", "replay"]
    for entry in record["growth"]:
        for times in entry["parts"].values():
            assert len(times["seconds"]) == len(entry["values"]) == 2 and min(times["seconds"]) > 0
    # The centre is timed once, and is in every panel.
    centre = [found[name]["parts"]["actor-critic update"]["seconds"] for name in ("batch", "horizon", "channels")]
    assert centre[0][0] == centre[1][1] == centre[2][0]
    growth.draw_growth(record, tmp_path / "growth.png")
    with Image.open(tmp_path / "growth.png") as picture:
        assert picture.size[0] > 1000


def test_one_setting_at_a_time_is_varied(small: Config) -> None:
    fields = {
        "batch": "_updates.batch_size",
        "frame side": "environment.",
        "denoising steps": "sampler.denoising_steps",
    }
    for setting in growth.settings(TINY):
        changed = differences(small, setting.configure(small, 96))
        assert changed
        for name in changed:
            assert fields.get(setting.name, f"{setting.name} ") in name and "-> " in name and "96" in name


def test_the_slope_is_the_power() -> None:
    assert growth.slope([2, 4, 16], [3 * x**1.5 for x in (2, 4, 16)]) == pytest.approx(1.5)


def test_a_disturbed_time_is_taken_again() -> None:
    assert not growth.agree([1.0]) and not growth.agree([1.0, 4.0, 3.0])
    assert growth.agree([4.0, 1.0, 1.05])


def test_the_replay_grows_by_whole_episodes(small: Config, tmp_path: Path) -> None:
    with growth.random_data(small, tmp_path) as other, Dataset.create(tmp_path / "r", other.spec) as dataset:
        frames = other.gather_frames(other.episodes.step_rows[:3])
        growth.grow(dataset, frames, 5)
        growth.grow(dataset, frames, 2)
        assert [(e.length, e.terminated) for e in dataset.episodes] == [(5, True), (2, True)]


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for more, said in (
        (["--batch", "4"], "--batch needs two"),
        (["--denoising-steps", "0,1"], "--denoising-steps is 0"),
        (["--repetitions", "0"], "--repetitions is 0"),
        (["--out", str(tmp_path / "file" / "in")], "choose another --out"),
        (["--no-such-option"], "try:"),
    ):
        assert growth.main(["--out", str(tmp_path / "out"), *more]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
