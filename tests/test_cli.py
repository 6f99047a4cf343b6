"""The command line: every mistake is one line and exit code 2, and lists may be written either way."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from diffworld import __version__
from diffworld.cli import main
from diffworld.config import Config
from diffworld.runtime.errors import UserError

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
        ("train", "say what to train: --preset demo"),
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
        ("train --denoiser.channels 16,32,32", "denoiser.channels, .depths and .attention"),
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


# --- what a library or the system does -------------------------------------------------------------------------------


def ending(error: BaseException) -> Callable[[list[str]], int]:
    """A command that ends like that."""

    def command(_: list[str]) -> int:
        raise error

    return command


LONG = "x" * 300


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SystemExit(0), "something in the command ended the program (exit code 0): it is not done"),
        (SystemExit(), "ended the program (exit code None)"),
        (SystemExit("bye"), "ended the program (exit code bye)"),
        (UserError("two\nlines"), "two lines"),
        (PermissionError(errno.EACCES, "whatever", "/data/x"), "cannot use /data/x: Permission denied; choose another"),
        (OSError(errno.ENOSPC, "whatever"), "cannot go on: No space left on device; free some space"),
        (UnicodeEncodeError("ascii", "/é", 1, 2, "no"), r"the locale cannot spell '/\xe9': set LC_ALL=C.UTF-8"),
    ],
)
def test_whatever_ends_a_command_is_one_line_and_never_success(
    error: BaseException, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("diffworld.commands.report.main", ending(error))
    assert main(["report"]) == 2
    line = capsys.readouterr().err
    assert said in line and line.startswith("error: ") and line.count("\n") == 1


class Quitting(gymnasium.Env[np.ndarray, int]):
    """A game that ends the whole program in its third step."""

    observation_space = gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)
    steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        return np.zeros((8, 8, 3), np.uint8), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        if self.steps == 3:
            sys.exit(0)
        return np.zeros((8, 8, 3), np.uint8), 0.0, False, False, {}


gymnasium.register("Quitting-v0", Quitting)


def test_a_game_that_quits_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = ("--height", "8", "--width", "8")
    assert main(["record", "--env", "gym/Quitting-v0", *size, "--steps", "9", "--out", str(tmp_path / "data")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        "train --out NAME --env minatar/breakout --device cpu",
        "train --data NAME",
        "train --init-from NAME --device cpu --env minatar/breakout",
        "evaluate NAME",
        "fidelity NAME",
        "play NAME --port 0",
        "play --demo --port 0 --recordings NAME",
        "report NAME",
        "report --out NAME",
        "record --env minatar/breakout --out NAME",
        "import-weights NAME --env atari/Pong",
        "sweep NAME",
        "verify-golden NAME",
    ],
)
@pytest.mark.parametrize(("name", "said"), [(LONG, "File name too long"), ("a\0b", "holds a NUL character")])
def test_a_name_that_no_file_can_have(
    arguments: str, name: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert said in refused([name if word == "NAME" else word for word in arguments.split()], capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.thorough
def test_a_folder_that_the_locale_cannot_spell(tmp_path: Path) -> None:
    """Recorded in it, trained on it, with TensorBoard: paths are bytes, whatever the locale makes of them."""
    folder = os.fsencode(tmp_path) + "/é".encode()
    os.mkdir(folder)
    places = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", ROOT))), "LC_ALL": "C", "PYTHONUTF8": "0"}
    code = (
        "import sys; from pathlib import Path; from diffworld.cli import main\n"
        "from diffworld.runtime.metrics import MetricsLog\n"
        "folder = Path(sys.argv[1])\n"
        "size = ('--height', '10', '--width', '10')\n"
        "record = ('record', '--env', 'minatar/breakout', *size, '--steps', '5')\n"
        "assert main([*record, '--out', str(folder / 'data')]) == 0\n"
        "assert main(['train', '--data', str(folder / 'data'), '--dry-run', '--device', 'cpu']) == 0\n"
        "with MetricsLog(folder / 'run') as log: log.write(1, {}, {'x/y': 1.0})\n"
    )
    subprocess.run([sys.executable, "-c", code, folder], env={**os.environ, **places}, check=True, capture_output=True)
    inside = [name for _, _, names in os.walk(folder) for name in names]
    assert {b"dataset.json", b"metrics.jsonl"} <= {*inside} and any(b"tfevents" in name for name in inside)


@pytest.mark.thorough
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
