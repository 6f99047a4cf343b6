"""The precision benchmark: both formats begin alike and see the same, and what came out is said right."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noise_data import fill
from research import precision


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    train, held = fill(tmp_path / "train", 40), fill(tmp_path / "held", 30)
    small = "--updates 4 --every 2 --seeds 2 --device cpu"
    return ["--data", str(train), "--held-out", str(held), "--out", str(tmp_path / "out"), *small.split()]


@pytest.mark.thorough
def test_both_formats_learn_from_the_same(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert precision.main(arguments) == 0
    record = json.loads((tmp_path / "out" / "precision.json").read_text())
    for part in precision.LEARNT:
        curves = {name: np.array(of) for name, of in record["parts"][part]["curves"].items()}
        assert curves["float32"].shape == curves["bfloat16"].shape == (2, 2)
        # The first updates differ by rounding alone, seeds by far more.
        np.testing.assert_allclose(curves["float32"][:, 0], curves["bfloat16"][:, 0], rtol=0.03)
        assert (curves["float32"] != curves["bfloat16"]).any()
        assert curves["float32"][0, 0] != curves["float32"][1, 0]
    assert record["steps"] == {"training": 40, "held out": 30}
    assert "spread over seeds" in capsys.readouterr().out
    with Image.open(tmp_path / "out" / "precision.png") as picture:
        assert picture.size[0] > 800


def test_the_difference_is_that_of_a_seed_with_itself() -> None:
    def runs(*losses: float) -> list[precision.Learnt]:
        each = [{"denoiser": loss, "reward_end": loss} for loss in losses]
        return [precision.Learnt({part: [1.0] for part in precision.LEARNT}, loss) for loss in each]

    found = precision.compare({"float32": runs(1.0, 3.0), "bfloat16": runs(1.2, 3.4)}, "denoiser")
    assert found["difference"] == pytest.approx(0.3)
    assert found["difference_standard_error"] == pytest.approx(0.1)
    assert found["spread_over_seeds"] == pytest.approx(2**0.5)
    assert "(+15.0%)" in precision.sentence("denoiser", found)


def test_bad_input_is_one_line(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = str(fill(tmp_path / "other", 12, num_actions=5))
    for more, said in (
        (["--held-out", arguments[1]], "--data itself"),
        (["--held-out", other], "differ in actions.size (3, 5)"),
        (["--data", str(tmp_path / "none")], "none"),
        (["--updates", "0"], "--updates is 0"),
        (["--updates", "5"], "no multiple of --every 2"),
        (["--no-such-option"], "try:"),
    ):
        assert precision.main([*arguments, *more]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
