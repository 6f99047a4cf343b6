"""`diffworld sweep --ray`: the same campaign on the nodes of a cluster, some of which are killed or will not do."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from test_sweep import HEAD, TINY, table, written

from diffworld.cli import main
from diffworld.runs.folder import RunFolder
from diffworld.runtime.errors import UserError
from diffworld.runtime.locks import held
from diffworld.runtime.progress import Display
from diffworld.sweep.campaign import Campaign, ThisMachine
from diffworld.sweep.plan import read_sweep
from diffworld.sweep.sitting import Order, Shared, Sitting
from tests.full_disk import OWN_MOUNTS
from tests.ray_cluster import cluster, environment, wait_for_end_of
from tests.small_disk import files_no_larger_than

LIMIT = 1200  # seconds; only to end what hangs
with_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install '.[dev]'")
SMALL_DISK = "1m"
"""Holds the beginning of a run."""
CAMPAIGN = 'out = "out"\ngames = ["minatar/breakout"]\nseeds = [0]\n'


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- what is refused before anything is made -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "--ray is ''"),
        ("head", "--ray is 'head': give the head node as HOST:PORT, or auto"),
        ("ray://head:10001", "--ray is 'ray://head:10001'"),
        ("head:six", "--ray is 'head:six'"),
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1 ([Errno 111] Connection refused): check the address"),
        ("127.0.0.1:99999", "no Ray cluster answers at 127.0.0.1:99999"),
        ("no-such-host.invalid:6379", "no Ray cluster answers at no-such-host.invalid:6379"),
    ],
)
def test_an_address_where_no_cluster_is(address: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    written(HEAD)
    assert main(["sweep", "sweep.toml", f"--ray={address}"]) == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1 and os.listdir() == ["sweep.toml"]


def test_without_ray_its_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    written(HEAD)
    assert main(["sweep", "sweep.toml", "--ray=local"]) == 2
    assert "--ray needs the extra ray on every machine: pip install 'diffworld[ray]'" in capsys.readouterr().err


def test_a_cluster_that_cannot_be_joined(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Such as one of another Ray or Python, or on another machine."""

    class Ray:
        @staticmethod
        def init(*_: object, **__: object) -> None:
            raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.1\n    Python: 3.9")

    monkeypatch.setitem(sys.modules, "ray", Ray)
    written(HEAD)
    assert main(["sweep", "sweep.toml", "--ray=auto"]) == 2
    said = (
        "cannot join the Ray cluster at 'auto' (Version mismatch: The cluster was started with: Ray: 2.1 Python: 3.9): "
    )
    assert said + "start the sweep on one of its machines, with its Ray and its Python\n" in capsys.readouterr().err
    assert os.listdir() == ["sweep.toml"]


# --- whether a node will do ------------------------------------------------------------------------------------------


def test_a_node_is_asked_for_all_that_runs_rely_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "rows.bin").write_bytes(b"123")
    lock = Path("out/.lock")
    with held(lock, "out"):
        good = Shared.here(lock, {data})
        assert good.missing() == "" and os.listdir("out") == [".lock"]
        said = lock.read_text()
        wrong: dict[str, dict[str, Any]] = {
            "has torch": {"versions": {**good.versions, "torch": "1.0"}},
            "has python": {"versions": {**good.versions, "python": "2.7"}},
            "has other files in": {"data": {data: {"rows.bin": 4}}},
            "has no /nowhere: give every node the same data": {"data": {Path("/nowhere"): {"rows.bin": 3}}},
            "has no folder /nowhere: start the sweep where": {"folder": Path("/nowhere")},
            "does not see the sweep's files in out: put it on a disk that all nodes share": {"said": f"{said}0"},
            "does not see the sweep's files in nowhere": {"lock": Path("nowhere/.lock")},
        }
        for objection, changes in wrong.items():
            assert replace(good, **changes).missing().startswith(objection)
        with files_no_larger_than(0):
            assert good.missing().startswith("is of no use: cannot write ")
        monkeypatch.setattr("os.replace", lambda *_: raising(OSError(38, "Function not implemented")))
        assert (
            good.missing() == "is of no use: cannot write out: Function not implemented; check the disk and run the "
            "same command again"
        )
        monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert good.missing() == "does not see in out what others lock: mount it with locks that all nodes share (NFSv4)"


def raising(error: Exception) -> None:
    raise error


# --- a sitting -------------------------------------------------------------------------------------------------------


def test_a_run_waits_for_the_process_that_trained_it_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """That process may be on a node that is thought dead, and be alive."""
    order = Order(("--no-such-option",), Path("run/.lock"), Path("run.log"), 1)
    sitting = Sitting(order)
    with held(order.lock, "run"):
        assert sitting.look() is None and not order.log.exists()
        monkeypatch.setattr("diffworld.sweep.sitting.WAIT_SECONDS", -1.0)
        said = sitting.look()
        assert isinstance(said, str) and f"run is still being trained by process {os.getpid()} on " in said
    assert sitting.look(patience=LIMIT) == 2
    assert "$ diffworld train --no-such-option\nerror: " in order.log.read_text()
    assert Sitting(order).look(stop=True) == -signal.SIGTERM, "never begun"


PARENT = """
import sys, time
from diffworld.sweep.sitting import CHILD
import subprocess
subprocess.Popen([sys.executable, str(CHILD), "train", *sys.argv[1:]])
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_a_run_saves_and_ends_when_what_started_it_is_killed() -> None:
    run = RunFolder(Path("run"))
    options = read_sweep(written(CAMPAIGN + TINY)).runs()[0].options
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *options, "--out=run"], env=environment("/tmp"))
    wait_for(lambda: len(run.checkpoints()) > 1)
    assert run.claimed_by
    parent.kill()
    parent.wait()
    wait_for(lambda: not run.claimed_by)
    assert not run.summary_path.exists() and run.load() is not None


def wait_for(condition: Any, process: "subprocess.Popen[str] | None" = None) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end and (process is None or process.poll() is None)
        time.sleep(0.02)


# --- whole campaigns -------------------------------------------------------------------------------------------------


def start(env: dict[str, str], address: str) -> "subprocess.Popen[str]":
    """The command, which prints into two files."""
    command = [sys.executable, "-m", "diffworld.cli", "sweep", "sweep.toml", "--ray", address]
    with Path("said").open("w") as said, Path("errors").open("w") as errors:
        return subprocess.Popen(command, env=env, stdout=said, stderr=errors, text=True, process_group=0)


def end(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Wait for its end: its exit code, and what it printed."""
    try:
        process.wait(LIMIT)
    finally:
        process.kill()
    return process.returncode, Path("said").read_text(), Path("errors").read_text()


def finish(env: dict[str, str], address: str) -> tuple[int, str, str]:
    """Start it, and wait for its end."""
    return end(start(env, address))


@with_ray
def test_a_campaign_on_this_machine_alone() -> None:
    temporary = os.path.realpath(subprocess.check_output(["mktemp", "-d", "/tmp/ray-XXXXXX"], text=True).strip())
    written(CAMPAIGN + TINY + "[settings.one]\n")
    code, said, errors = finish(environment(temporary), "local")
    wait_for_end_of(temporary)
    subprocess.check_call(["rm", "-r", temporary])
    assert code == 0 and errors == "", said + errors
    assert said.startswith("Ray cluster: 1 node with ")
    assert re.search(r"^begins: one, minatar/breakout, seed 0, on \S+$", said, re.MULTILINE)
    assert said.count("finished: ") == 1 and [row["method"] for row in table("runs")] == ["one"]


def saves(run: RunFolder) -> int:
    return int(found[-1].name) if (found := run.checkpoints()) else 0


def trained(run: RunFolder) -> tuple[Any, ...]:
    """All that a run leaves but for what depends on the clock."""
    files = (run.checkpoints()[-1] / "weights.safetensors", run.replay / "rows.bin", run.replay / "frames.bin")
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads(run.summary_path.read_text())
    timeless = [{name: value for name, value in line.items() if "seconds" not in name} for line in lines]
    return *(file.read_bytes() for file in files), timeless, summary["agent"], summary["held_out"]


def process_of(run: RunFolder) -> int:
    found = re.match(r"process (\d+) on ", run.claimed_by)
    assert found is not None
    return int(found[1])


@with_ray
@pytest.mark.cluster
def test_a_campaign_goes_on_whatever_is_killed() -> None:
    """Interrupted, the sweep killed, a node killed with all its processes, Ray's part of another one killed."""
    settings = "[settings.one]\ncollection.total-steps = 300\n[settings.two]\nsampler.denoising-steps = 2\n"
    written(CAMPAIGN.replace('"out"', '"straight"') + TINY + settings)
    assert main(["sweep", "sweep.toml"]) == 0
    written(CAMPAIGN + TINY + settings + "[settings.never]\ndevice = 'cuda:99'\n")
    one, two = (RunFolder(Path(f"out/{name}/minatar-breakout/seed-0")) for name in ("one", "two"))
    log = one.path.with_name("seed-0.log")

    with cluster() as (nodes, env):
        address = nodes.add(num_cpus=0)
        for _ in range(2):
            nodes.add(num_cpus=1)
        driver = start(env, address)
        wait_for(lambda: saves(one) >= 3, driver)
        os.killpg(driver.pid, signal.SIGINT)
        code, said, errors = end(driver)
        assert code == 130 and "failed: one" not in said, said + errors
        assert errors.endswith("runs are finished, and the same command goes on from here\n")
        assert not one.claimed_by and not two.claimed_by

        driver, before = start(env, address), saves(one)
        wait_for(lambda: saves(one) >= before + 3, driver)
        with pytest.raises(UserError, match=f"the campaign in out is being trained by process {driver.pid} on "):
            Campaign(Path("out"), {}, ThisMachine(1), Display()).train()
        driver.kill()
        driver.wait()

        driver, before = start(env, address), saves(one)
        wait_for(lambda: saves(one) >= before + 3, driver)
        assert b"\0CUDA_VISIBLE_DEVICES=\0" in Path(f"/proc/{process_of(one)}/environ").read_bytes()
        nodes.kill(process_of(one))
        before = saves(one)
        wait_for(lambda: saves(one) >= before + 3, driver)

        # Of a node that is thought dead a process is alive: what is to go on elsewhere waits for its end.
        alive = process_of(one)
        os.kill(alive, signal.SIGSTOP)
        nodes.add(num_cpus=1)
        nodes.crash(alive)
        wait_for(lambda: Path("said").read_text().count("goes on: one, ") == 3, driver)
        before = log.read_bytes().count(b"$ diffworld train"), saves(one)
        assert process_of(one) == alive
        assert (log.read_bytes().count(b"$ diffworld train"), saves(one)) == before
        os.kill(alive, signal.SIGCONT)
        code, said, errors = end(driver)

    assert code == 1 and errors == "", said + errors
    assert said.count("lost, and will go on elsewhere: one, minatar/breakout, seed 0: node ") == 2, said
    assert said.count("failed: ") == 1
    assert "failed: never, minatar/breakout, seed 0: exit code 2: error: device 'cuda:99' is not available" in said
    assert [row["method"] for row in table("runs")] == ["one", "two"]
    for run in (one, two):
        assert trained(run) == trained(RunFolder(Path("straight", *run.path.parts[1:])))


STRANGE = """
import importlib.metadata, os, time
real, now = importlib.metadata.version, time.time
if "OTHER_TORCH" in os.environ:
    importlib.metadata.version = lambda name: "0.0.1" if name == "torch" else real(name)
if "OTHER_TIME" in os.environ:
    time.time = lambda: now() - 3600
if "NO_DIFFWORLD" in os.environ:
    import sys
    sys.modules["diffworld"] = None
"""


@with_ray
@pytest.mark.cluster
def test_nodes_that_will_not_do_are_left_out() -> None:
    Path("strange").mkdir()
    Path("strange/sitecustomize.py").write_text(STRANGE)
    with cluster() as (nodes, env):
        address = nodes.add(num_cpus=0)
        path = f"{Path('strange').absolute()}{os.pathsep}{env['PYTHONPATH']}"
        for name in ("OTHER_TORCH", "OTHER_TIME", "NO_DIFFWORLD"):
            nodes.add(num_cpus=1, env_vars={name: "1", "PYTHONPATH": path})

        written(CAMPAIGN + TINY + "[resources]\ngpus = 0.5\nmemory = '900 GiB'\n")
        code, said, errors = finish(env, address)
        assert code == 2 and errors.count("\n") == 1, said + errors
        assert "demo, minatar/breakout, seed 0 takes 1 cores, 0.5 GPUs, 900.0 GiB of memory, which no node" in errors
        written(CAMPAIGN + TINY + "[resources]\ncpus = 2\n")
        assert "takes 2 cores, which no node of the cluster has (each at most 1 cores, " in finish(env, address)[2]

        written(CAMPAIGN + TINY)
        code, said, errors = finish(env, address)
        assert code == 1 and errors == "", said + errors
        left_out = [line for line in said.splitlines() if line.startswith("left out: node ")]
        assert len(left_out) == 3 and not Path("out/demo").exists()
        for reason in ("has torch 0.0.1, and the sweep ", "s behind the sweep's: set both by NTP", "its diffworld ("):
            assert sum(reason in line for line in left_out) == 1, left_out
        assert "failed: demo, minatar/breakout, seed 0: node " in said

        nodes.add(num_cpus=1)
        code, said, errors = finish(env, address)
        assert code == 0 and "finished: demo" in said, said + errors


@with_ray
@pytest.mark.cluster
def test_a_disk_that_fills_up_under_the_runs_fails_them_and_the_same_command_ends_them() -> None:
    if not shutil.which("unshare") or subprocess.run([*OWN_MOUNTS, "true"], check=False).returncode:
        pytest.skip("this system lets nobody mount a small disk")
    written(CAMPAIGN.replace('"out"', '"straight"') + TINY + "[settings.one]\n")
    assert main(["sweep", "sweep.toml"]) == 0
    written(CAMPAIGN + TINY + "[settings.one]\n")
    Path("out").mkdir()
    command = f"{sys.executable} -m diffworld.cli sweep sweep.toml --ray local"
    steps = (
        f"mount -t tmpfs -o size={SMALL_DISK} tmpfs out",
        f"{command} > full 2>&1 && echo 0 >> codes || echo $? >> codes",
        "mount -o remount,size=100m out",
        f"{command} > larger 2>&1 && echo 0 >> codes || echo $? >> codes",
        "cp -r out kept",
    )
    temporary = os.path.realpath(subprocess.check_output(["mktemp", "-d", "/tmp/ray-XXXXXX"], text=True).strip())
    subprocess.run([*OWN_MOUNTS, "sh", "-ec", "\n".join(steps)], env=environment(temporary), timeout=LIMIT, check=True)
    wait_for_end_of(temporary)
    shutil.rmtree(temporary)
    full, larger = Path("full").read_text(), Path("larger").read_text()
    assert Path("codes").read_text().split() == ["1", "0"], full + larger
    assert re.search(r"^failed: one, minatar/breakout, seed 0: .*No space left on device", full, re.MULTILINE), full
    assert "Traceback" not in full and "finished: one" in larger, full + larger
    one = Path("one/minatar-breakout/seed-0")
    assert trained(RunFolder("kept" / one)) == trained(RunFolder("straight" / one))
