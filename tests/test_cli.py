"""The command line: every mistake is one line and exit code 2, and lists may be written either way."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffworld import __version__
from diffworld.cli import main
from diffworld.config import Config

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"

TINY = """
    --environment.height 16 --environment.width 16 --reward-end.window 1 --horizon 1
    --denoiser.context-frames 2 --denoiser.cond-channels 8
    --denoiser.channels 8,16 --denoiser.depths 1,1 --denoiser.attention False,True
    --reward-end.channels 8 --reward-end.depths 1 --reward-end.attention False --reward-end.lstm-channels 8
    --actor-critic.channels 8,8 --actor-critic.pool True,True --actor-critic.lstm-channels 8
    --denoiser-updates.batch-size 1 --reward-end-updates.batch-size 1 --actor-critic-updates.batch-size 1
    --device cpu --precision float32
""".split()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No command may leave something in the repository."""
    monkeypatch.chdir(tmp_path)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a wrong command says."""
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ") and said.err.endswith("\n") and said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("trian", "unknown command 'trian': did you mean 'train'?"),
        ("--preset demo", "unknown command '--preset'"),
        ("train --preset atari", "unknown preset 'atari': choose one of demo"),
        ("train --preset=atari", "unknown preset 'atari'"),
        ("train --preset", "preset"),
        ("train --no-such-field 3", "--no-such-field"),
        ("train --sampler.denoising-stepz 3", "--sampler.denoising-stepz"),
        ("train surplus", "surplus"),
        ("train --horizon many", "many"),
        ("train --horizon", "--horizon"),
        ("train --horizon 1.5", "1.5"),
        ("train --precision float8", "float8"),
        ("train --networks denoiser,critic", "critic"),
        ("train --recipe maybe", "maybe"),
        ("train --denoiser.channels 16,wide", "wide"),
        ("train --denoiser.channels 16,32", "denoiser.channels, .depths and .attention"),
        ("train --sampler.order 3", "invalid choice '3' for argument '--sampler.order'"),
        ("train --horizon 0 --dry-run", "horizon is 0"),
        ("train --device tpu", "unknown device 'tpu': choose auto, cpu, cuda or mps"),
        ("train --device tpu --dry-run", "unknown device 'tpu'"),
        ("train --env atari/Brekout", "Breakout"),
        ("train --env pong", "unknown environment 'pong'"),
        ("train --data nowhere", "nowhere"),
        ("train --init-from nowhere", "nowhere"),
        ("verify-golden", "folder"),
        ("verify-golden nowhere", "holds no golden numbers"),
        ("verify-golden one two", "two"),
        ("verify-golden --salt", "salt"),
    ],
)
def test_a_mistake_is_one_line(arguments: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(arguments.split(), capsys)
    assert said.lower() in line.lower()


@pytest.mark.parametrize(
    "mistake", ["--device tpu", "--env pong", "--data nowhere", "--init-from nowhere", "--environment.height 1"]
)
def test_a_mistake_claims_no_folder(tmp_path: Path, mistake: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same command put right must not be refused as another configuration."""
    refused([*"train --preset demo --out run".split(), *mistake.split()], capsys)
    assert not (tmp_path / "run").exists()


def test_in_a_process_of_its_own() -> None:
    """As the user meets it: no traceback, nothing else, exit code 2."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "diffworld.cli", "train", "--device", "tpu"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: unknown device 'tpu': choose auto, cpu, cuda or mps\n"


# --- help ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "diffworld train --preset demo" in said.out and "diffworld verify-golden FOLDER" in said.out
    assert said.err == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_help_documents_every_option_with_the_presets_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--preset", "atari100k", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for option in ("--sampler.denoising-steps", "--denoiser-updates.learning-rate", "--out", "--dry-run"):
        assert option in said
    assert "Denoising steps N" in said and "100000" in said


def test_help_of_the_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify-golden", "--help"]) == 0
    assert "--salt" in capsys.readouterr().out


# --- options ---------------------------------------------------------------------------------------------------------


def resolved(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    """The configuration that is printed on request."""
    assert main(["train", "--show-config", *TINY, *options]) == 0
    config: dict[str, Any] = json.loads(capsys.readouterr().out)
    return config


def test_lists_with_commas_or_spaces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_commas = resolved(capsys, "--init-networks", "denoiser,reward_end", "--env", "atari/Breakout")
    assert with_commas["init_networks"] == ["denoiser", "reward_end"]
    assert with_commas["denoiser"]["channels"] == [8, 16]
    assert with_commas["denoiser"]["attention"] == [False, True]
    assert with_commas["env"] == "atari/Breakout"
    spaces = "--init-networks denoiser reward_end --env atari/Breakout --denoiser.channels 8 16"
    assert resolved(capsys, *spaces.split()) == with_commas
    equals = "--init-networks=denoiser,reward_end --env=atari/Breakout --denoiser.channels=8,16"
    assert resolved(capsys, *equals.split()) == with_commas
    assert list(tmp_path.iterdir()) == [], "to show it writes nothing"


def test_options_override_the_preset(capsys: pytest.CaptureFixture[str]) -> None:
    options = "--preset atari100k --seed 3 --sampler.denoising-steps=1 --environment.no-life-loss-ends"
    config = resolved(capsys, *options.split())
    assert config["seed"] == 3 and config["sampler"]["denoising_steps"] == 1
    assert config["environment"]["life_loss_ends"] is False
    assert config["collection"]["total_steps"] == Config().collection.total_steps


# --- verify-golden ---------------------------------------------------------------------------------------------------


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """The smallest part of the golden numbers."""
    folder = tmp_path / "few"
    folder.mkdir()
    for file in ("actor_critic_loss.npz", "actor_critic_forward.npz", "atari_config.json"):
        shutil.copy(GOLDEN / file, folder)
    return folder


def test_verify_golden_passes(few: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify-golden", str(few)]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == "2 of 2 passed"
    assert [line.split()[:2] for line in lines] == [["PASS", "actor_critic_forward"], ["PASS", "actor_critic_loss"]]


def test_verify_golden_fails(few: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = few / "actor_critic_loss.npz"
    with np.load(path) as data:
        arrays = dict(data)
    np.savez(path, **arrays | {"loss": arrays["loss"] + 0.01})
    assert main(["verify-golden", str(few)]) == 1
    said = capsys.readouterr()
    assert [line.split()[0] for line in said.out.splitlines()[:-1]] == ["PASS", "FAIL"]
    assert said.out.endswith("\n1 of 2 passed\n")
    assert said.err == ""
    assert main(["verify-golden", str(few), "--salt", "x"]) == 1
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[:-1]] == ["FAIL", "FAIL"]


def test_a_reader_that_leaves_is_no_traceback(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep.toml"
    sweep.write_text(f'out = "{tmp_path / "out"}"\ngames = ["minatar/breakout"]\nseeds = {list(range(3000))}\n')
    command = [sys.executable, "-m", "diffworld.cli", "sweep", str(sweep), "--dry-run"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
        assert process.wait() == 1
