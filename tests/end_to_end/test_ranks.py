"""One run over several processes: it trains, is killed, goes on, and says in one line what is wrong."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny import LIMIT, TINY, environment, final_weights, results, saves, train

import diffworld
from diffworld.cli import main
from diffworld.evaluation.saved import read_evaluation
from tests.full_disk import OWN_MOUNTS
from tests.noise_data import noise_spec
from tests.several_ranks import Started, free_port
from tests.small_disk import files_no_larger_than
from tests.tiny_training import NINE, noise_of

SHORT = "--collection.total-steps 120 --collection.first-steps 40 --evaluation.final-episodes 1".split()
SHORT += f"--evaluation.episodes 1 --env {NINE} --environment.height 12 --environment.width 12".split()
SELDOM, OFTEN = ("--checkpoint-seconds", "1000"), ("--checkpoint-seconds", "0")


def command_line(out: Path, *options: str) -> list[str]:
    return ["train", *TINY, *SHORT, "--out", str(out), *options]


def start(out: Path, *options: str, count: int = 2) -> Started:
    """A tiny run over several ranks; later options win."""
    return Started(main, [(command_line(out, *options),)] * count, out.with_suffix(".ranks"))


def finish(out: Path, *options: str, count: int = 2) -> str:
    """Train it to its end; what it printed."""
    started = start(out, *options, count=count)
    assert started.wait() == [0] * count, "\n".join(started.errors())
    printed, *silent = started.printed()
    assert not any(silent), "only rank 0 speaks"
    return printed


def kill_one(out: Path, *options: str, rank: int = 1, after: int = 8, count: int = 2) -> Started:
    """Kill a rank of a run once it has saved so often, and wait until the others have ended by themselves."""
    started = start(out, *OFTEN, *options, count=count)
    while saves(out) < after:
        assert all(process.is_alive() for process in started.processes), started.errors()
        time.sleep(0.01)
    started.processes[rank].kill()
    codes = started.wait()
    assert codes.pop(rank) == -signal.SIGKILL and codes == [2] * (count - 1)
    return started


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over two ranks without interruption."""
    out = tmp_path_factory.mktemp("ranks") / "whole"
    printed = finish(out, *SELDOM)
    assert "2 ranks" in printed and "over 1 games" in printed
    return out


def test_a_killed_rank_ends_all_and_the_same_command_goes_on_bit_for_bit(whole: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "run", tmp_path / "other"
    (said,) = kill_one(out).errors()
    assert said.startswith("error: another rank has ended without a word") and "the same command goes on" in said
    shutil.copytree(out, other)
    assert "resuming" in finish(out, *SELDOM)
    assert final_weights(out) == final_weights(whole)
    assert results(out) == results(whole)
    for file in ("rows.bin", "frames.bin"):
        assert (out / "replay" / file).read_bytes() == (whole / "replay" / file).read_bytes()

    alone = train(other, *SHORT)  # one process
    assert alone.returncode == 0, alone.stderr
    assert "note: 2 ranks trained before, and now 1: other windows and noise" in alone.stdout
    assert final_weights(other).keys() == final_weights(whole).keys()


@pytest.mark.cluster
def test_rank_0_may_be_killed_as_well(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    (said,) = kill_one(out, rank=0, after=12).errors()
    assert "the same command goes on" in said
    finish(out, *SELDOM)
    assert final_weights(out) == final_weights(whole) and results(out) == results(whole)


@pytest.mark.cluster
def test_a_run_of_one_process_is_tested_and_evaluated_alike_by_two_and_by_four(tmp_path: Path) -> None:
    """Four are more ranks than games, and three games no multiple of two."""
    out, games = tmp_path / "run", "--evaluation.final-episodes 3 --evaluation.num-envs 2".split()
    assert train(out, *SHORT, *games).returncode == 0
    weights, found = final_weights(out), results_of(out)
    for count, before in ((2, "1 rank"), (4, "2 ranks")):
        (out / "summary.json").unlink()
        printed = finish(out, *SELDOM, *games, count=count)
        assert f"note: {before} trained before, and now {count}" in printed
        assert final_weights(out) == weights and results_of(out) == found

    evaluate, evaluations = ["evaluate", str(out), "--episodes", "3", "--device", "cpu"], []
    for count in (1, 2, 4):
        started = Started(main, [(evaluate,)] * count, tmp_path / f"evaluated-{count}")
        assert started.wait() == [0] * count, "\n".join(started.errors())
        said, *silent = started.printed()
        assert "3 games" in said and not any(silent)
        (path,) = (out / "evaluations").iterdir()
        evaluations.append(read_evaluation(path))
        path.unlink()
    assert evaluations[0] == evaluations[1] == evaluations[2]


def results_of(out: Path) -> dict[str, Any]:
    """What a run's last test found and wrote."""
    summary = json.loads((out / "summary.json").read_text())
    del summary["counters"]["wall_seconds"]
    return summary | {name: (out / "held_out" / name).read_bytes() for name in ("rows.bin", "frames.bin")}


def data_set(folder: Path) -> Path:
    return noise_of(folder, noise_spec(height=12, width=12), [9, 30, 4, 12, 25])


SHOOTER = "--upsampler.channels 8 8 --upsampler.depths 1 1 --upsampler.attention False False".split()
SHOOTER += "--upsampler.cond-channels 8 --upsampler.factor 2 --upsampler-updates.first-steps 4".split()
SHOOTER += "--upsampler-updates.steps 4 --upsampler-updates.batch-size 4 --upsampler-updates.accumulate 2".split()
GAMES = "--recipe model_free --collection.total-steps 400 --actor-critic-updates.first-steps 15".split()


def of_data(data: Path, *options: str) -> list[str]:
    return ["--data", str(data), "--epochs", "3", "--evaluation.every-epochs", "1", *options]


OTHERS: dict[str, Callable[[Path], list[str]]] = {
    "world": lambda data: of_data(data, "--networks", "denoiser", "reward_end", "actor_critic"),
    "shooter": lambda data: of_data(data, "--recipe", "shooter", *SHOOTER),
    "shooter, sharded": lambda data: of_data(data, "--recipe", "shooter", "--shard-optimisers", *SHOOTER),
    "model_free": lambda data: GAMES,
}


@pytest.mark.cluster
@pytest.mark.parametrize("recipe", OTHERS)
def test_every_recipe_is_killed_and_goes_on(recipe: str, tmp_path: Path) -> None:
    options = OTHERS[recipe](data_set(tmp_path / "data"))
    straight, out, other = (tmp_path / name for name in ("straight", "run", "other"))
    finish(straight, *SELDOM, *options)
    kill_one(out, *options, after=6)
    shutil.copytree(out, other)
    finish(out, *SELDOM, *options)
    assert final_weights(out) == final_weights(straight)
    assert results(out) == results(straight)
    options = [option for option in options if option != "--shard-optimisers"]
    assert "note: 2 ranks trained before, and now 4" in finish(other, *SELDOM, *options, count=4)


@pytest.mark.cluster
def test_three_ranks_go_on_bit_for_bit_too(tmp_path: Path) -> None:
    """Of three numbers the order in which they are summed matters."""
    batches = "--denoiser-updates.batch-size 6 --reward-end-updates.batch-size 6".split()
    batches += "--actor-critic-updates.batch-size 6".split()
    straight, out = tmp_path / "straight", tmp_path / "run"
    finish(straight, *SELDOM, *batches, count=3)
    kill_one(out, *batches, count=3)
    finish(out, *SELDOM, *batches, count=3)
    assert final_weights(out) == final_weights(straight)


@pytest.mark.cluster
def test_shards_learn_what_whole_optimisers_learn(tmp_path: Path) -> None:
    options = [*OTHERS["shooter"](data_set(tmp_path / "data")), "--epochs", "1"]
    finish(tmp_path / "whole", *SELDOM, *options)
    finish(tmp_path / "shards", *SELDOM, *options, "--shard-optimisers")
    assert final_weights(tmp_path / "shards") == final_weights(tmp_path / "whole")


# --- what torchrun does ----------------------------------------------------------------------------------------------


def torchrun(out: Path, *options: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "diffworld"]
    return subprocess.Popen(
        [*line, *command_line(out, *options)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.cluster
def test_ctrl_c_on_torchrun_saves_in_all_ranks(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = torchrun(out, *OFTEN)
    while process.poll() is None and saves(out) < 8:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT)
    ours = [line for line in errors.splitlines() if line.startswith(("stopped", "error"))]
    assert ours == [f"stopped; everything is saved in {out}, and the same command goes on from here"], errors
    finish(out, *SELDOM)
    assert final_weights(out) == final_weights(whole)


@pytest.mark.cluster
def test_torchrun_ends_where_a_rank_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = torchrun(out, *OFTEN)
    while process.poll() is None and saves(out) < 8:
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    (said,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert said.endswith("the last checkpoint is whole, and the same command goes on from there")


@pytest.mark.cluster
def test_torchrun_ends_with_the_line_of_whoever_failed(tmp_path: Path) -> None:
    process = torchrun(tmp_path / "run", "--horizon", "0")
    _, errors = process.communicate(timeout=LIMIT)
    said = [line for line in errors.splitlines() if "horizon is 0; it must be at least 1" in line]
    assert process.returncode == 1 and said[0].startswith("error: ") and "traceback :" in said[-1], errors
    assert sum(line.startswith("error: ") for line in errors.splitlines()) == 1


# --- bad input: one line, from all ranks together ---------------------------------------------------------------------


def of_version(arguments: list[str], version: str) -> int:
    diffworld.__version__ = version
    return main(arguments)


def in_folder(arguments: list[str], folder: Path) -> int:
    os.chdir(folder)
    return main(arguments)


def with_small_disk(arguments: list[str], size: int) -> int:
    with files_no_larger_than(size):
        return main(arguments)


def in_environment(arguments: list[str], name: str, value: str) -> int:
    os.environ[name] = value
    return main(arguments)


Arguments = Sequence[Sequence[Any]]


def bad_calls(out: Path, folder: Path) -> dict[str, tuple[Callable[..., int], Arguments, str]]:
    """By name: what each rank does, and what must be said."""
    usual = command_line(out)
    of_here = [*command_line(out), *of_data(Path("data")), "--epochs", "1"]
    data_set(folder / "here" / "data")
    (folder / "there").mkdir()
    noise_of(folder / "elsewhere" / "data", noise_spec(height=12, width=12), [9, 30])
    run = command_line(Path("run"))
    places = [(of_here, folder / name) for name in ("here", "there", "elsewhere")]
    return {
        "settings": (
            main,
            [(usual,), (command_line(out, "--seed", "1"),)],
            "other settings than rank 0: seed (0 -> 1)",
        ),
        "folders": (main, [(usual,), (command_line(out.with_name("b")),)], "other settings than rank 0: out ("),
        "versions": (of_version, [(usual, "1.0"), (usual, "1.1")], "has diffworld 1.1, and rank 0 1.0: install"),
        "batches": (main, [(command_line(out, "--reward-end-updates.batch-size", "5"),)] * 2, "no equal parts"),
        "range": (main, [(command_line(out, "--horizon", "0"),)] * 2, "horizon is 0; it must be at least 1"),
        "no data": (in_folder, [places[0], places[1]], "rank 1 on"),
        "other data": (in_folder, [places[0], places[2]], "has other data in data than rank 0"),
        "disk": (in_folder, [(run, folder / "here"), (run, folder / "there")], "on a disk that all machines share"),
        "place": (
            in_environment,
            [(usual, "RANK", "first"), (usual, "RANK", "1")],
            "RANK is 'first' in the environment",
        ),
    }


BAD = ("settings", "folders", "versions", "batches", "range", "no data", "other data", "disk", "place")


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in BAD[:4] else pytest.mark.cluster) for n in BAD])
def test_bad_input_is_one_line(name: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    work, arguments, said = bad_calls(out, tmp_path)[name]
    started = Started(work, arguments, tmp_path / "ranks")
    if name == "place":
        started.processes[0].join(LIMIT)
        started.processes[1].kill()  # it would wait for minutes
    else:
        assert started.wait() == [2, 2]
    (line,) = started.errors()
    assert line.startswith("error: ") and said in line
    assert not out.exists()


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        started = Started(main, [(command_line(tmp_path / "run"),)] * 2, tmp_path / "ranks", taken.getsockname()[1])
        started.processes[0].join(LIMIT)
        started.processes[1].kill()  # torchrun does so
        started.wait()
    errors = [line for line in started.errors() if not line.startswith("[W")]
    assert [line for line in errors if "is in use: give torchrun another --master-port" in line] == errors, errors
    assert len(errors) == 1


@pytest.mark.cluster
def test_a_full_disk_is_one_line_and_nothing_is_lost(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    usual = command_line(out, *OFTEN)
    started = Started(with_small_disk, [(usual, 60 * 1024), (usual, 10**9)], tmp_path / "ranks")
    assert started.wait() == [2, 2]
    (line,) = started.errors()
    assert line.startswith("error: ") and "Traceback" not in line
    finish(out, *SELDOM)
    assert final_weights(out) == final_weights(whole)


@pytest.mark.cluster
def test_a_disk_that_is_full_in_the_middle_ends_all_and_the_same_command_goes_on(whole: Path, tmp_path: Path) -> None:
    if not shutil.which("unshare") or subprocess.run([*OWN_MOUNTS, "true"], check=False).returncode:
        pytest.skip("this system lets nobody mount a small disk")
    script = Path(__file__).parents[1] / "full_disk.py"
    command = [*OWN_MOUNTS, sys.executable, str(script), str(tmp_path), "1400", *TINY, *SHORT, *OFTEN]
    paths = os.pathsep.join([environment()["PYTHONPATH"], str(script.parents[1])])
    done = subprocess.run(
        command, env=environment() | {"PYTHONPATH": paths}, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["full"]["codes"] == [2, 2] and found["torn"] == []
    (line,) = found["full"]["errors"]
    assert re.fullmatch(
        r"error: cannot write .*/run/checkpoints/[0-9]+: No space left on device; free some space and run .*", line
    )
    assert found["larger"] == {"codes": [0, 0], "errors": []}
    assert final_weights(tmp_path / "run") == final_weights(whole) and results(tmp_path / "run") == results(whole)
