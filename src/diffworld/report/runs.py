"""Our own run folders, as the report needs them: score, protocol, learning curve, film."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diffworld.config import Config, differences
from diffworld.config.presets import PRESETS
from diffworld.evaluation.protocol import atari_game, departures, protocol_of
from diffworld.evaluation.saved import Evaluation, check_scores, read_evaluations
from diffworld.evaluation.statistics import Interval, mean_interval
from diffworld.runs.folder import RunFolder
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import whole_lines

USUAL_GAMES = 100
NOT_THE_METHOD = (
    *("env", "seed", "device", "precision", "compile", "evaluation"),
    *("checkpoint_seconds", "checkpoints_kept", "wandb", "trackio"),
)
"""Settings in which runs of one method may differ."""
FILMS = ("dream.mp4", "game.mp4")


@dataclass(frozen=True)
class AgentTest:
    """Test games of a run's agent.

    checkpoint, env_steps, wall_seconds: how far the agent had been trained.
    usual: played with the run's own temperature and on its own list of games. origin: the file it is from.
    """

    scores: tuple[float, ...]
    checkpoint: int
    env_steps: int
    wall_seconds: float
    usual: bool
    origin: str


@dataclass(frozen=True)
class Run:
    """One run folder.

    method: what it is called in the report; runs of one method differ in nothing but game and seed.
    game: the benchmark's name, or the environment's id where it is none of the benchmark's.
    interval: of the mean score over test games. random: the same for the random policy, where it was measured.
    departures: what sets it apart from the benchmark's protocol, in words; empty if it may be compared.
    metrics: the entries of its record, one an epoch. trained_on: whether it was trained after its test.
    imported: where its weights are from, if they were not trained in this folder, else empty text.
    """

    path: Path
    config: Config
    method: str
    game: str
    test: AgentTest
    interval: Interval
    random: Interval | None
    departures: tuple[str, ...]
    metrics: Sequence[dict[str, Any]]
    finished: bool
    trained_on: bool
    imported: str
    film: Path | None

    @property
    def comparable(self) -> bool:
        """Whether it was played under the benchmark's rules."""
        return not self.departures

    @property
    def remarks(self) -> list[str]:
        """What a reader of its score should know."""
        found = [] if self.finished or self.imported else ["training unfinished"]
        if self.imported:
            found.append("with imported weights, and real steps as their configuration says")
        if self.trained_on:
            found.append("trained on after this test: evaluate it again")
        if not self.test.usual:
            found.append(f"tested otherwise than in training: see {self.test.origin}")
        if len(self.test.scores) < USUAL_GAMES:
            found.append(f"tested on fewer than the usual {USUAL_GAMES} games")
        return found


def read_run(path: Path) -> Run:
    """Read a run folder that was tested; UserError, one line, if it is empty, untested or damaged."""
    folder = RunFolder(path)
    if not path.exists():
        raise UserError(f"{path} does not exist: give run folders, or JSON files of scores")
    if not folder.exists():
        inner = sorted(child.parent.name for child in path.glob("*/config.json"))
        hint = f"give the runs in it, such as {path / inner[0]}" if inner else "give a run folder or a file of scores"
        raise UserError(f"{path} is no run folder, for it has no config.json: {hint}")
    try:
        config = folder.config()
        config.check()
    except UserError as error:
        raise UserError(f"cannot use the run {path}: {error}") from error
    tests, randoms = _tests(folder, config)
    if not tests:
        advice = f"run: diffworld evaluate {path}" if folder.checkpoints() else "train it first (diffworld train)"
        raise UserError(f"{path} has no test of its agent yet: {advice}")
    # The run's own way of testing first, then the most training, then the most games.
    test = max(tests, key=lambda t: (t.usual, t.checkpoint, len(t.scores)))
    imported = imported_from(path)
    protocol = protocol_of(config, test.env_steps)
    return Run(
        path=path,
        config=config,
        method="imported weights" if imported else label(config),
        game=atari_game(config.env) or config.env,
        test=test,
        interval=mean_interval(test.scores),
        random=mean_interval(max(randoms, key=len)) if randoms else None,
        departures=tuple(departures(config.env, protocol)),
        metrics=read_metrics(path),
        finished=folder.summary_path.is_file(),
        imported=imported,
        trained_on=test.checkpoint < _last_checkpoint(folder),
        film=next((path / name for name in FILMS if (path / name).is_file()), None),
    )


def _tests(folder: RunFolder, config: Config) -> tuple[list[AgentTest], list[Sequence[float]]]:
    """Tests of the agent, and scores of the random policy, from the run's evaluations and its summary."""
    tests: list[AgentTest] = []
    randoms: list[Sequence[float]] = []
    for evaluation in read_evaluations(folder):
        if evaluation.env != config.env:
            raise UserError(f"{folder.path}: the evaluation {evaluation.name} is of another game: delete it")
        if evaluation.policy == "random":
            randoms.append(evaluation.scores)
        else:
            tests.append(_from_evaluation(evaluation, config))
    if folder.summary_path.is_file():
        # The last test was of the last checkpoint, whose number a thinned-out folder may have only in evaluations.
        last = max([_last_checkpoint(folder), *(test.checkpoint for test in tests)])
        test, random = _from_summary(folder, last)
        tests.append(test)
        randoms.append(random)
    return tests, randoms


def _from_evaluation(evaluation: Evaluation, config: Config) -> AgentTest:
    return AgentTest(
        tuple(evaluation.scores),
        evaluation.checkpoint,
        evaluation.env_steps,
        evaluation.wall_seconds,
        evaluation.test_seed == config.seed and evaluation.temperature == config.evaluation.temperature,
        f"evaluations/{evaluation.name}.json",
    )


def _last_checkpoint(folder: RunFolder) -> int:
    """Number of the last checkpoint, 0 without one."""
    return max((int(path.name) for path in folder.checkpoints() if path.name.isdigit()), default=0)


def _from_summary(folder: RunFolder, checkpoint: int) -> tuple[AgentTest, Sequence[float]]:
    """The last test of a finished run, and its random policy."""
    path = folder.summary_path
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        agent, random = summary["agent"]["scores"], summary["random"]["scores"]
        counters = summary["counters"]
        check_scores(agent)
        check_scores(random)
        steps, seconds = int(counters["env_steps"]), float(counters["wall_seconds"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        advice = "delete it and run the train command again, which tests the agent anew"
        raise UserError(f"cannot read {path} ({reason}): {advice}") from error
    return AgentTest(tuple(agent), checkpoint, steps, seconds, True, path.name), random


def imported_from(folder: Path) -> str:
    """Where a run's weights were imported from; empty text if it was trained here."""
    try:
        record = json.loads((folder / "version.json").read_text(encoding="utf-8"))
        return str(record.get("imported_from", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Entries of a run's `metrics.jsonl`, none if there is no such file; a line that a power cut tore is left out."""
    path = folder / "metrics.jsonl"
    entries = []
    for line in whole_lines(path.read_bytes()) if path.is_file() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            entries.append(entry)
    return entries


def label(config: Config) -> str:
    """What a run's method is called: the preset nearest to it, and how far it is from that."""
    name, changes = nearest_preset(config)
    if not changes:
        return f"diffworld {name}"
    return f"diffworld {name}, {changes[0] if len(changes) == 1 else f'{len(changes)} changes'}"


def nearest_preset(config: Config) -> tuple[str, list[str]]:
    """The preset a configuration differs least from, and its other settings, such as "frame skip 8".

    What does not make a method is left out: game, seed, device, number format, logging, tests and checkpoints.
    """
    changes = {name: _method_differences(build(), config) for name, build in PRESETS.items()}
    name = min(changes, key=lambda preset: len(changes[preset]))
    return name, [_setting(change) for change in changes[name]]


def same_method(a: Config, b: Config) -> bool:
    """Whether two configurations differ in nothing that makes a method."""
    return not _method_differences(a, b)


def _method_differences(a: Config, b: Config) -> list[str]:
    same: dict[str, Any] = {name: getattr(a, name) for name in NOT_THE_METHOD}
    for name in ("data", "init_from"):  # that there is one counts, not where it lies
        same[name] = getattr(a, name) if bool(getattr(a, name)) == bool(getattr(b, name)) else "given"
    if not b.data:
        same["epochs_on_data"] = a.epochs_on_data
    return differences(a, replace(b, **same))


def _setting(change: str) -> str:
    """ "field (old -> new)" as "field new", with the last part of the field's name."""
    field, _, values = change.partition(" (")
    return f"{field.replace('.', ' ').replace('_', ' ')} {values.rpartition(' -> ')[2][:-1]}"


def named(runs: Sequence[Run], name: str | Mapping[Path, str] | None) -> list[Run]:
    """Give runs their methods' names: `name` for all or by path; else by configuration, numbered where labels agree.

    Raises: UserError if two runs are of one method, game and seed.
    """
    found: list[Run] = []
    kinds: dict[str, list[Config]] = {}
    for run in runs:
        known = kinds.setdefault(run.method, [])
        place = next((i for i, other in enumerate(known) if same_method(other, run.config)), len(known))
        if place == len(known):
            known.append(run.config)
        numbered = f"{run.method} #{place + 1}" if place else run.method
        given = name.get(run.path) if isinstance(name, Mapping) else name
        found.append(replace(run, method=given or numbered))
    seen: dict[tuple[str, str, int], Path] = {}
    for run in found:
        key = (run.method, run.config.env, run.config.seed)
        if key in seen:
            raise UserError(
                f"{seen[key]} and {run.path} are both {run.method} on {run.config.env} with seed {run.config.seed}: "
                "give only one of them"
            )
        seen[key] = run.path
    return found
