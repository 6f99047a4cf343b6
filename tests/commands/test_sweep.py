"""`diffworld sweep`: what a file means, what is refused, and a campaign that is interrupted, fails and goes on."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffworld.cli import main
from diffworld.commands.sweep import _conclude
from diffworld.commands.train import resolve
from diffworld.config import preset
from diffworld.runs.folder import RunFolder
from diffworld.runtime.errors import UserError
from diffworld.runtime.progress import Display
from diffworld.sweep.campaign import Campaign, News, ThisMachine, last_line, last_words
from diffworld.sweep.plan import PlannedRun, Resources, read_sweep
from tests.report.run_folders import make_run
from tests.small_disk import files_no_larger_than

ROOT = Path(__file__).parents[2]
HEAD = 'out = "runs/x"\ngames = ["atari/Freeway"]\nseeds = [0]\n'
TINY = """
[options]
device = "cpu"
precision = "float32"
horizon = 2
epochs = 0
checkpoint-seconds = 0.0
environment = { height = 16, width = 16, max-steps = 20 }
denoiser = { channels = [8], depths = [1], attention = [false], cond-channels = 8 }
reward-end = { channels = [8], depths = [1], attention = [false], lstm-channels = 8, cond-channels = 8, window = 2 }
actor-critic = { channels = [8], pool = [true], lstm-channels = 8 }
denoiser-updates = { first-steps = 3, steps = 3, batch-size = 2 }
reward-end-updates = { first-steps = 3, steps = 3, batch-size = 2 }
actor-critic-updates = { first-steps = 3, steps = 3, batch-size = 2 }
collection = { total-steps = 140, first-steps = 60, steps-per-epoch = 20 }
evaluation.every-epochs = 0
evaluation.final-episodes = 2
evaluation.num-envs = 2
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No command may leave something in the repository."""
    monkeypatch.chdir(tmp_path)


def written(text: str) -> Path:
    path = Path("sweep.toml")
    path.write_text(text)
    return path


def refused(text: str, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The one line that a sweep file is refused with, before anything was made."""
    written(text)
    before = sorted(Path().rglob("*"))
    assert main(["sweep", "sweep.toml", *options]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: sweep.toml") and said.err.count("\n") == 1 and said.err.endswith("\n")
    assert sorted(Path().rglob("*")) == before
    return said.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("out = ", "is no TOML file"),
        ("\ufeff\x00", "is no TOML file"),
        ("", "'out' is missing, such as out ="),
        (HEAD.replace("seeds", "seed"), "unknown key 'seed': choose from out, preset"),
        (HEAD.replace("[0]", "[]"), "'seeds' should be a list of whole numbers"),
        (HEAD.replace("[0]", "[true]"), "'seeds' should be"),
        (HEAD.replace("[0]", "[-1]"), "'seeds' should be"),
        (HEAD.replace("[0]", "3"), "'seeds' should be"),
        (HEAD.replace("[0]", "[1, 0, 1]"), "'seeds' has 1 twice"),
        (HEAD.replace('["atari/Freeway"]', '"atari/Freeway"'), "'games' should be a list"),
        (HEAD.replace('["atari/Freeway"]', '["atari/Freeway", "atari/Freeway"]'), "'games' has 'atari/Freeway' twice"),
        (HEAD.replace('["atari/Freeway"]', '["gym/a/b", "gym/a-b"]'), "'gym/a/b' and 'gym/a-b'"),
        (HEAD.replace('"runs/x"', '"a\\u0000"'), "'out' should be a folder"),
        (HEAD.replace('"runs/x"', '" "'), "'out' should be a folder"),
        (HEAD.replace("runs/x", "s3://bucket/x"), "'out' is an address"),
        (HEAD + "[resources]\ngpu = 1", "[resources]: unknown key 'gpu': choose from gpus, cpus, memory"),
        (HEAD + "resources = 3", "'resources' should be a table"),
        (HEAD + "[resources]\ngpus = 2", "'gpus' should be a number from 0 to 1"),
        (HEAD + "[resources]\ngpus = 0.001", "'gpus' should be"),
        (HEAD + "[resources]\ncpus = true", "'cpus' should be a number of cores"),
        (HEAD + "[resources]\ncpus = nan", "'cpus' should be"),
        (HEAD + "[resources]\nmemory = 8", "'memory' should be an amount in MiB or GiB"),
        (HEAD + "[resources]\nmemory = '0 GiB'", "'memory' should be"),
        (HEAD + "[settings.a]\nresources = 1", "[settings.a.resources]: it should be a table"),
        (HEAD + "[settings.a.resources]\ncores = 1", "[settings.a.resources]: unknown key 'cores'"),
        (HEAD + 'preset = "dmeo"', "unknown preset 'dmeo'"),
        (HEAD + "settings = 3", "'settings' should be a table"),
        (HEAD + "[settings]\nhorizon = 3", "setting 'horizon' should be a table"),
        (HEAD + '[settings."../up"]', "would name a folder"),
        (HEAD + "[settings.Report]", "would name a folder"),
        (HEAD + "[settings.a]\n[settings.A]\nhorizon = 3", "'a' and 'A'"),
        (HEAD + "[settings.a]\nhorizon = 15\n[settings.b]", "setting 'b': it comes to the same configuration as 'a'"),
        (HEAD + "[settings.DIAMOND]", "name of a method in the report"),
        (HEAD + "[settings.a]\nhorizom = 3", "setting 'a': Unrecognized options"),
        (HEAD + "[settings.a]\nhorizon = 'long'", "--horizon: 'long' is no whole number"),
        (HEAD + "[settings.a]\nhorizon = 0", "setting 'a': horizon is 0"),
        (HEAD + "[settings.a]\nhorizon = true", "--horizon"),
        (HEAD + "[settings.a]\nhorizon = 1979-05-27", "'horizon' should be a string, a number"),
        (HEAD + "[settings.a]\nnetworks = ['--help']", "begins with '-'"),
        (HEAD + "[settings.a]\nhelp = true", "'help' is no option of a run"),
        (HEAD + "[settings.a]\ndry_run = true", "'dry_run' is no option of a run"),
        (HEAD + "[settings.a]\nseed = 3", "'seeds' at the top decides it"),
        (HEAD + "[options]\nout = 'there'", "'out' at the top decides it"),
        (HEAD + "[settings.a]\npreset = 'atari'", "setting 'a': unknown preset 'atari'"),
        (HEAD.replace("Freeway", "Freewya"), "demo, atari/Freewya, seed 0: "),
        (HEAD + "[options]\ndevice = 'tpu'", "unknown device 'tpu'"),
        (HEAD + "[options]\nepochs = 1\ndata = 'nowhere'", "no data set at nowhere"),
        (HEAD + "[options]\ndata = 'nowhere'", "epochs is 0"),
    ],
)
def test_a_mistake_is_one_line_before_the_first_run(text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in refused(text, capsys)


def test_a_file_or_a_number_of_jobs_that_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    written(HEAD)
    for arguments, said in (
        (["nowhere.toml"], "cannot read nowhere.toml"),
        (["."], "cannot read .: Is a directory"),
        (["sweep.toml", "--jobs", "0"], "--jobs is 0"),
        (["sweep.toml", "--jobs", "2", "--ray", "local"], "--jobs is for this machine alone"),
        ([], "PATH"),
    ):
        assert main(["sweep", *arguments]) == 2
        line = capsys.readouterr().err
        assert said in line and line.count("\n") == 1


def test_what_is_in_the_way_is_told_before_the_first_run(capsys: pytest.CaptureFixture[str]) -> None:
    run = Path("runs/x/demo/atari-Freeway/seed-0")
    run.mkdir(parents=True)
    (run / "thesis.tex").write_text("years of work")
    assert f"{run} exists and is no run folder" in refused(HEAD, capsys)
    report = Path("runs/x/report")
    report.mkdir()
    (report / "thesis.tex").write_text("years of work")
    (run / "thesis.tex").unlink()
    assert main(["sweep", "sweep.toml"]) == 2
    assert "runs/x/report is not empty and holds no report" in capsys.readouterr().err


words = st.text(st.characters(categories=("L", "N", "P", "S"), include_characters=" "), min_size=1).filter(str.strip)


@settings(max_examples=10)
@given(
    seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3, unique=True),
    games=st.lists(st.sampled_from(["atari/Freeway", "atari/Boxing", "gym/x:Y-v0"]), min_size=1, unique=True),
    path=words,
    rate=st.floats(1e-12, 1e12),
    lives=st.booleans(),
    channels=st.lists(st.integers(1, 9), min_size=1, max_size=4),
)
def test_every_run_gets_the_options_of_the_file(
    seeds: list[int], games: list[str], path: str, rate: float, lives: bool, channels: list[int]
) -> None:
    text = f"""out = {json.dumps(path, ensure_ascii=False)}\nseeds = {seeds}\ngames = {json.dumps(games)}
        [options]\ndata = {json.dumps(path, ensure_ascii=False)}
        [settings.a]\nreturns.lambda-return = 0.5\n"denoiser-updates.learning-rate" = {rate!r}
        [settings.b]\nenvironment.life-loss-ends = {json.dumps(lives)}\ndenoiser.channels = {channels}"""
    runs = read_sweep(written(text)).runs()
    assert [(run.seed, run.game, run.setting) for run in runs] == [
        (seed, game, setting) for seed in seeds for game in games for setting in "ab"
    ]
    assert len({run.folder for run in runs}) == len(runs)
    for run in runs[-2:]:
        options = resolve(list(run.options))
        assert (options.preset, options.out) == ("demo", run.folder)
        assert (options.config.env, options.config.seed, options.config.data) == (run.game, run.seed, path)
        if run.setting == "a":
            assert (options.config.returns.lambda_return, options.config.denoiser_updates.learning_rate) == (0.5, rate)
        else:
            assert options.config.environment.life_loss_ends == lives
            assert options.config.denoiser.channels == tuple(channels)


def test_each_setting_takes_what_it_says() -> None:
    text = "[resources]\ngpus = 0.25\nmemory = '1.5 GiB'\n[settings.a]\nhorizon = 3\n"
    a, b = read_sweep(written(HEAD + text + "[settings.b.resources]\ngpus = 0\ncpus = 4")).runs()
    assert a.resources == Resources(0.25, 1.0, 3 * 2**29) and b.resources == Resources(0, 4, 3 * 2**29)
    assert not any("resources" in option for run in (a, b) for option in run.options)
    assert read_sweep(written(HEAD)).runs()[0].resources == Resources(None, 1.0, 0)


def test_the_example_in_the_documentation_is_a_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    file = ROOT / "docs" / "sweeps" / "demo.toml"
    assert main(["sweep", str(file), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("6 runs in runs/sweep-demo, seed by seed: 0 finished, 0 unfinished\n")
    folder = "runs/sweep-demo/three-steps/minatar-breakout/seed-1"
    assert "not begun: three-steps, minatar/breakout, seed 1\n" in said
    command = "diffworld train --preset=demo --sampler.denoising-steps=3 --env=minatar/breakout --seed=1"
    assert f"    {command} --out={folder}\n" in said
    assert list(Path().iterdir()) == []


def test_epochs_of_all_runs_are_counted() -> None:
    runs = [PlannedRun("a", "atari/Pong", seed, Path(f"seed-{seed}"), ()) for seed in range(3)]
    for run in runs:
        run.folder.mkdir()
    (runs[0].folder / "summary.json").write_text("{}")
    ten = replace(preset("world-small"), epochs=10)
    campaign = Campaign(Path("out"), dict.fromkeys(runs, ten), ThisMachine(1), Display())
    assert campaign.epochs() == 10, "a finished run has all of its epochs, whatever its record holds"
    (runs[1].folder / "metrics.jsonl").write_text("{}\n{}\n{torn")
    assert campaign.epochs() == 12


def test_a_run_that_is_being_trained_is_told_from_others(capsys: pytest.CaptureFixture[str]) -> None:
    written(HEAD.replace("[0]", "[0, 1]"))
    run = RunFolder(Path("runs/x/demo/atari-Freeway/seed-0"))
    with run.claimed():
        assert main(["sweep", "sweep.toml", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("2 runs in runs/x, seed by seed: 0 finished, 1 running, 0 unfinished\n")
    assert f"running: demo, atari/Freeway, seed 0, 0 of 3 epochs by process {os.getpid()} on " in said
    assert "\nnot begun: demo, atari/Freeway, seed 1\n" in said


class Losing:
    """A place that loses every run it is given, and sometimes had it save before."""

    def __init__(self, saves: list[bool]) -> None:
        self.saves, self.runs, self.given = saves, list[PlannedRun](), 0

    def open(self, lock: Path, configs: object) -> None:
        """Nothing is needed."""

    def room(self) -> bool:
        return True

    def add(self, run: PlannedRun) -> None:
        self.runs.append(run)
        if self.saves[self.given]:
            (run.folder / "checkpoints" / f"{self.given:08d}").mkdir(parents=True)
        self.given += 1

    def news(self, stop: bool) -> list[News]:
        lost, self.runs = self.runs, []
        return [News(run, "lost", "its node died") for run in lost]

    def close(self) -> None:
        """Nothing is left."""


@pytest.mark.parametrize(
    ("saves", "losses"),
    [([False] * 4, 4), ([True, False, False, False], 4), ([True, False, True, True, *[False] * 3], 7)],
)
def test_a_run_that_is_lost_goes_on_while_it_gets_further(
    saves: list[bool], losses: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run, place = PlannedRun("a", "atari/Pong", 0, Path("out/a/pong/seed-0"), ()), Losing(saves)
    campaign = Campaign(Path("out"), {run: preset("demo")}, place, Display())
    campaign.train()
    assert place.given == losses
    assert campaign.failures == {run: "lost 4 times without a checkpoint in between, at last: its node died"}
    assert (
        capsys.readouterr().out.count("lost, and will go on elsewhere: a, atari/Pong, seed 0: its node") == losses - 1
    )


def test_the_last_words_are_those_of_the_last_sitting() -> None:
    log = Path("run.log")
    assert last_line(log) == ""
    log.write_text("\n$ diffworld train\nepoch 1\nerror: disk full\n")
    assert last_line(log) == "error: disk full"
    with log.open("a") as file:
        file.write("torn\n$ diffworld train\n")
    assert last_line(log) == ""


def test_of_a_full_disk_the_last_words_say_so_whatever_is_in_the_log() -> None:
    log = Path("run.log")
    assert last_words(log) == "it said nothing"
    log.write_text("\n$ diffworld train\nepoch 1 | 20 st")
    with files_no_larger_than(0):
        assert last_words(log).startswith("cannot write .: File too large")
    assert last_words(log) == "epoch 1 | 20 st"


def test_children_that_cannot_even_start_are_failures(capsys: pytest.CaptureFixture[str]) -> None:
    """Here a file has the name of a folder: the campaign goes on, and ends without a report."""
    written(HEAD.replace("[0]", "[0, 1]"))
    Path("runs/x/demo").mkdir(parents=True)
    Path("runs/x/demo/atari-Freeway").write_text("in the way")
    assert main(["sweep", "sweep.toml"]) == 1
    said = capsys.readouterr().out
    assert said.count("failed, cannot write runs/x/demo/atari-Freeway/seed-") == 2
    assert "no agent was tested, so there is no report: see the logs" in said
    assert not Path("runs/x/report").exists()


def test_world_models_alone_are_finished_without_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    run = PlannedRun("a", "atari/Pong", 0, Path("seed-0"), ())
    run.folder.mkdir()
    summary = {"counters": {"env_steps": 9, "wall_seconds": 1.0}, "held_out": {"denoiser/held_out_loss": 0.1}}
    (run.folder / "summary.json").write_text(json.dumps(summary))
    _conclude(Path("out"), [run], {})
    said = capsys.readouterr().out
    assert said.splitlines()[2].split(maxsplit=3) == ["a", "atari/Pong", "0", "no agent"]
    assert said.endswith("no agent was tested, so there is no report\n") and not Path("out").exists()


@pytest.mark.parametrize(
    ("constant", "shown"), [(30.0, "30 (30 to 30) always UP  25 (25 to 25)"), (None, "-                     -")]
)
@pytest.mark.cases(every=2)
def test_the_table_has_those_who_do_not_look(
    constant: float | None, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_run(Path("out/a/seed-0"), scores=[40.0, 40.0], constant=constant)
    _conclude(Path("out"), [PlannedRun("a", "atari/Breakout", 0, path, ())], {})
    head, row = capsys.readouterr().out.splitlines()[1:3]
    assert "best constant action" in head and "blind mixture" in head and shown in row and row.endswith("40 (40 to 40)")


@pytest.mark.parametrize(("jobs", "small", "large"), [(1, 1, 8), (3, 1, 2), (99, 1, 1)])
def test_runs_side_by_side_share_the_threads(
    monkeypatch: pytest.MonkeyPatch, jobs: int, small: int, large: int
) -> None:
    monkeypatch.setattr("diffworld.runtime.device.CORES", 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    run = PlannedRun("a", "atari/Pong", 0, Path("seed-0"), ())
    for name, threads in (("demo", small), ("atari100k", large)):
        place = ThisMachine(jobs)
        place.open(Path(), {run: preset(name)})
        assert place.threads(run) == threads
    run.folder.mkdir()
    (run.folder / "version.json").write_text('{"threads": 5}')
    assert place.threads(run) == 5, "as it began"


def sweep() -> "subprocess.Popen[str]":
    """The command in a process group of its own, as a shell would start it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "diffworld.cli", "sweep", "sweep.toml"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, process_group=0)


def checkpoints(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("[0-9]*"))


@pytest.mark.thorough
def test_a_campaign_interrupted_with_a_failing_run_and_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    head = 'out = "out"\ngames = ["minatar/breakout"]\nseeds = [0]\n'
    changes = "[settings.one]\n[settings.two]\nsampler.denoising-steps = 2\n"
    written(head + TINY + changes)
    first = Path("out/one/minatar-breakout/seed-0")

    campaign = sweep()
    while len(checkpoints(first)) < 2 and campaign.poll() is None:
        time.sleep(0.02)
    with pytest.raises(UserError, match=rf"the campaign in out is being trained by process {campaign.pid} on "):
        Campaign(Path("out"), {}, ThisMachine(1), Display()).train()
    os.killpg(campaign.pid, signal.SIGINT)  # a terminal's Ctrl-C goes to the whole group
    said, errors = campaign.communicate(timeout=600)
    assert campaign.returncode == 130, said + errors
    assert errors == "stopped; 0 of 2 runs are finished, and the same command goes on from here\n"
    assert last_line(first.with_name("seed-0.log")).startswith("stopped; everything is saved in out/one")
    assert not Path("out/two").exists() and not Path("out/report").exists()

    damaged = checkpoints(first)[-1]
    (damaged / "weights.safetensors").write_bytes(b"no weights")
    assert main(["sweep", "sweep.toml", "--jobs", "2"]) == 1
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if line.startswith(("one ", "two "))]
    assert [line.split()[:3] for line in lines] == [["one", "minatar/breakout", "0"], ["two", "minatar/breakout", "0"]]
    assert f"failed, exit code 2: error: checkpoint {damaged} is damaged" in lines[0]
    assert said.count("finished: ") == 1 and "(" in lines[1]
    assert [row["method"] for row in table("runs")] == ["two"]
    assert f"open {Path('out/report/report.html')}" in said

    shutil.rmtree(damaged)
    assert main(["sweep", "sweep.toml"]) == 0
    said = capsys.readouterr().out
    assert said.count("goes on: ") == said.count("finished: ") == 1 and "begins: " not in said
    assert "resuming out/one/minatar-breakout/seed-0 in epoch" in first.with_name("seed-0.log").read_text()
    assert [row["method"] for row in table("runs")] == ["one", "two"]

    assert main(["sweep", "sweep.toml", "--dry-run"]) == 0
    assert "2 finished, 0 unfinished" in capsys.readouterr().out
    assert "another configuration: sampler.denoising_steps (1 -> 3)" in changed(head + TINY, changes, capsys)


def changed(head: str, changes: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What is said when a setting is changed after its runs were made."""
    said = refused(head + changes.replace("[settings.one]", "[settings.one]\nsampler.denoising-steps = 3"), capsys)
    assert "one, minatar/breakout, seed 0: out/one/minatar-breakout/seed-0 holds a run" in said
    return said


def table(name: str) -> list[dict[str, Any]]:
    with Path(f"out/report/{name}.csv").open() as file:
        return list(csv.DictReader(file))
