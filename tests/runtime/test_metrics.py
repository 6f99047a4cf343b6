"""The record of a run: what is written comes back, and a resumed run forgets what its checkpoint lacks."""

import json
import math
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffworld.runtime.errors import UserError
from diffworld.runtime.metrics import METRICS_FILE, MetricsLog, read_metrics


def fill(folder: Path, epochs: range, tensorboard: bool = False) -> None:
    with MetricsLog(folder, tensorboard=tensorboard) as log:
        for epoch in epochs:
            log.write(epoch, {"env_steps": 100 * epoch}, {"denoiser/loss": 1 / epoch})


def tensorboard_points(folder: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(point.step, point.value) for point in events.Scalars(tag)]


def test_one_flat_line_per_entry(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, tensorboard=False) as log:
        log.write(1, {"env_steps": 5, "wall_seconds": 1.5}, {"denoiser/loss": 0.25})
        assert log.path.read_text() == '{"epoch": 1, "env_steps": 5, "wall_seconds": 1.5, "denoiser/loss": 0.25}\n'
        log.write(1, {"env_steps": 6}, {})
    assert [entry["env_steps"] for entry in read_metrics(tmp_path / METRICS_FILE)] == [5, 6]


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])).map("x/{}".format), st.floats()))
def test_values_come_back_and_no_number_is_null(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, float]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    with MetricsLog(folder, tensorboard=False) as log:
        log.write(3, {}, values)
    expected = {name: value if math.isfinite(value) else None for name, value in values.items()}
    assert read_metrics(folder / METRICS_FILE) == [{"epoch": 3, **expected}]
    json.loads((folder / METRICS_FILE).read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_a_name_used_twice_is_a_mistake(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, tensorboard=False)
    with pytest.raises(ValueError, match="used twice: env_steps"):
        log.write(1, {"env_steps": 1}, {"env_steps": 2})
    with pytest.raises(ValueError, match="used twice: epoch"):
        log.write(1, {"epoch": 1}, {})
    assert not log.path.exists()


def test_a_torn_last_line_is_passed_over_and_dropped(tmp_path: Path) -> None:
    fill(tmp_path, range(1, 4))
    path = tmp_path / METRICS_FILE
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert len(read_metrics(path)) == whole[:length].count(b"\n")
    path.write_bytes(whole[:-5])
    MetricsLog(tmp_path, 3, tensorboard=False)
    assert path.read_bytes() == whole[: whole.rindex(b"\n", 0, -1) + 1]


def test_a_line_of_zeros_after_a_power_cut(tmp_path: Path) -> None:
    fill(tmp_path, range(1, 3))
    path = tmp_path / METRICS_FILE
    with path.open("ab") as file:
        file.write(b"\0" * 20 + b"\n")
    assert len(read_metrics(path)) == 2


def test_damage_in_the_middle_is_reported(tmp_path: Path) -> None:
    path = tmp_path / METRICS_FILE
    path.write_text('{"epoch": 1}\n{"epo\n{"epoch": 2}\n')
    with pytest.raises(UserError, match="line 2, is no metrics entry"):
        read_metrics(path)


def test_no_record_yet(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give the folder of a run"):
        read_metrics(tmp_path / METRICS_FILE)
    MetricsLog(tmp_path, 7, tensorboard=False)
    assert not (tmp_path / METRICS_FILE).exists()


def test_an_interrupted_and_resumed_run_reads_like_one_that_never_stopped(tmp_path: Path) -> None:
    fill(tmp_path / "straight", range(1, 7), tensorboard=True)
    fill(tmp_path / "resumed", range(1, 5), tensorboard=True)
    with MetricsLog(tmp_path / "resumed", 2) as log:  # the last checkpoint was of epoch 2
        assert [entry["epoch"] for entry in read_metrics(log.path)] == [1, 2]
        for epoch in range(3, 7):
            log.write(epoch, {"env_steps": 100 * epoch}, {"denoiser/loss": 1 / epoch})
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    assert (resumed / METRICS_FILE).read_text() == (straight / METRICS_FILE).read_text()
    for tag in ["denoiser/loss", "counters/env_steps"]:
        assert tensorboard_points(resumed, tag) == tensorboard_points(straight, tag)
        assert len(tensorboard_points(resumed, tag)) == 6


def test_tensorboard_leaves_out_what_is_not_finite(tmp_path: Path) -> None:
    with MetricsLog(tmp_path) as log:
        log.write(1, {}, {"denoiser/loss": math.nan})
        log.write(2, {}, {"denoiser/loss": 0.5})
    assert tensorboard_points(tmp_path, "denoiser/loss") == [(2, 0.5)]
    assert json.loads((tmp_path / METRICS_FILE).read_text().splitlines()[0])["denoiser/loss"] is None


@pytest.mark.parametrize("logger", ["wandb", "trackio"])
def test_a_logger_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logger: str) -> None:
    monkeypatch.setitem(sys.modules, logger, None)  # how Python itself marks what cannot be imported
    with pytest.raises(UserError, match=rf'run: pip install "diffworld\[{logger}\]"$'):
        MetricsLog(tmp_path, tensorboard=False, log_to=[logger])


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        MetricsLog(tmp_path / "file" / "run")
    log = MetricsLog(tmp_path / "file" / "run", tensorboard=False)
    with pytest.raises(UserError, match="cannot write"):
        log.write(1, {}, {})


def test_what_the_version_before_called_otherwise(tmp_path: Path) -> None:
    line = {"epoch": 1, "env_steps": 5, "test/return_mean": 3.0, "latest/test/loss": 1.0}
    (tmp_path / METRICS_FILE).write_text(json.dumps(line) + "\n")
    expected = {"epoch": 1, "env_steps": 5, "eval/return_mean": 3.0, "latest/test/loss": 1.0}
    assert read_metrics(tmp_path / METRICS_FILE) == [expected]
