"""The comparison on two small data sets of noise: it ends, goes on where it stopped, and refuses what it must."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffworld.data import Dataset
from diffworld.evaluation.fidelity.starts import RealEpisode
from diffworld.runtime.errors import UserError
from diffworld.runtime.progress import Display
from noise_data import fill
from research import edm_ddpm, edm_ddpm_training

full_starts, main = edm_ddpm.full_starts, edm_ddpm.main
Settings, Training, train = edm_ddpm_training.Settings, edm_ddpm_training.Training, edm_ddpm_training.train
HEIGHT, WIDTH, ACTIONS, CPU = 16, 16, 3, torch.device("cpu")


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    train_path, held = fill(tmp_path / "train", 30), fill(tmp_path / "held", 25)
    small = "--batch 2 --channels 8 --depths 1 --cond-channels 8 --denoising-steps 1,3 --starts 2 --device cpu"
    return ["--data", str(train_path), "--held-out", str(held), "--out", str(tmp_path / "out"), *small.split()]


def settings(rows: int, updates: int = 8) -> edm_ddpm_training.Settings:
    return Settings(updates, 2, 1e-3, (8,), (1,), 8, 4, 0, 0.3, 0, ACTIONS, HEIGHT, WIDTH, rows)


def test_it_ends_in_a_record_and_pictures(data: list[str], tmp_path: Path) -> None:
    assert main([*data, "--updates", "3", "--horizon", "12"]) == 0
    text = (tmp_path / "out" / "edm_ddpm.json").read_text()
    record = json.loads(text)
    assert len(text) < 200_000
    dreams = [name for name, film in record["films"].items() if film["kind"] in ("edm", "ddpm")]
    assert dreams == ["EDM, 1 step", "EDM, 3 steps", "DDPM, 1 step", "DDPM, 3 steps"]
    assert record["films"]["DDPM, 3 steps"]["time_steps"] == [1000, 500, 1]
    for name in dreams:
        assert {"psnr", "ssim", "contrast_error", "unseen_here"} <= record["films"][name]["ranges"].keys()
        assert len(record["films"][name]["ranges"]["psnr"]) == 2  # steps 1-10 and 11-12
        assert record["films"][name]["curves"]["psnr"]["steps"][-1] == 12
    assert record["films"]["real game"]["ranges"]["contrast"]
    assert record["command"].startswith("python -m research.edm_ddpm --data")
    for name in ("edm_ddpm.png", "edm_ddpm_strip.png"):
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.size[0] > 300


@pytest.mark.parametrize("kind", ["edm", "ddpm"])
@pytest.mark.cases(every=2)
def test_a_training_that_was_stopped_comes_out_the_same(kind: str, tmp_path: Path) -> None:
    dataset = Dataset.open(fill(tmp_path / "train", 30))
    s = settings(dataset.num_rows)
    whole = train(kind, s, dataset, tmp_path / "whole", CPU, Display(), 60)  # type: ignore[arg-type]
    first = Training(kind, s, dataset, CPU)  # type: ignore[arg-type]
    for _ in range(5):
        first.update()
    first.save(tmp_path / "parts" / kind)
    torch.manual_seed(99)
    second = train(kind, s, dataset, tmp_path / "parts", CPU, Display(), 60)  # type: ignore[arg-type]
    assert whole.losses == second.losses
    for name, tensor in whole.denoiser.state_dict().items():
        assert torch.equal(tensor, second.denoiser.state_dict()[name]), name
    assert [path.name for path in (tmp_path / "parts" / kind).iterdir()] == ["00000008"]


def test_both_methods_begin_alike_and_see_the_same_windows(tmp_path: Path) -> None:
    dataset = Dataset.open(fill(tmp_path / "train", 30))
    edm, other = (Training(kind, settings(dataset.num_rows), dataset, CPU) for kind in ("edm", "ddpm"))
    for name, tensor in edm.denoiser.state_dict().items():
        assert torch.equal(tensor, other.denoiser.state_dict()[name]), name
    edm.update()
    other.update()
    assert edm.windows.bit_generator.state == other.windows.bit_generator.state


def test_other_settings_are_not_gone_on_with(tmp_path: Path) -> None:
    dataset = Dataset.open(fill(tmp_path / "train", 30))
    training = Training("ddpm", settings(dataset.num_rows), dataset, CPU)
    training.save(tmp_path / "ddpm")
    with pytest.raises(UserError, match=r"updates \(8 -> 9\)"):
        Training("ddpm", settings(dataset.num_rows, updates=9), dataset, CPU).restore(tmp_path / "ddpm")


def test_the_learning_rate_falls_over_the_last_third() -> None:
    s = settings(30, updates=300)
    assert s.rate(0) == s.rate(200) == 1e-3
    assert s.rate(250) == pytest.approx(5e-4)
    assert s.rate(299) == pytest.approx(1e-5)


def test_starts_go_on_for_the_whole_horizon() -> None:
    def episode(number: int, steps: int) -> RealEpisode:
        frames = np.zeros((steps + 1, 2, 2, 3), np.uint8)
        frames[..., 0], frames[..., 1] = number, np.arange(steps + 1)[:, None, None]
        actions = np.arange(steps)
        return RealEpisode(actions, actions.astype(np.float32), actions == steps - 1, lambda a, b: frames[a:b])

    episodes = [episode(0, 9), episode(1, 20), episode(2, 14)]
    starts = full_starts(episodes, 100, 4, 10, np.random.default_rng(0))
    # Steps 3 to 10 of episode 1 and 3 to 4 of episode 2 have 3 frames before and 10 steps after.
    assert starts.places.tolist() == [*([1, step] for step in range(3, 11)), [2, 3], [2, 4]]
    for row, (number, step) in enumerate(starts.places.tolist()):
        assert (starts.context[row, :, 0, 0, 0] == number).all()
        assert starts.context[row, :, 0, 0, 1].tolist() == list(range(step - 3, step + 1))
        assert starts.truth[row, :, 0, 0, 1].tolist() == list(range(step + 1, step + 11))
        assert starts.actions[row].tolist() == list(range(step - 3, step + 10))
        assert starts.rewards[row].tolist() == list(range(step, step + 10))
    assert starts.valid.all() and len(full_starts(episodes, 3, 4, 10, np.random.default_rng(0)).lengths) == 3
    with pytest.raises(UserError, match="--horizon 17 or less"):
        full_starts(episodes, 3, 4, 18, np.random.default_rng(0))


def test_bad_input_is_one_line(data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = str(fill(tmp_path / "other", 12, num_actions=5))
    for more, said in (
        (["--held-out", data[1]], "--data itself"),
        (["--held-out", other], "differ in actions.size (3, 5)"),
        (["--horizon", "500"], "--horizon 22 or less"),
        (["--denoising-steps", "0"], "--denoising-steps"),
        (["--updates", "0"], "--updates"),
        (["--channels", "33"], "multiples of 32"),
        (["--no-such-option"], "try:"),
    ):
        assert main([*data, *more]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
