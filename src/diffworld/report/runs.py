"""Our own run folders, as the report needs them: score, protocol, learning curve, film."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from diffworld.config import PRESETS, Config, differences
from diffworld.evaluation.blind import BlindScores
from diffworld.evaluation.protocol import atari_game, departures, protocol_of
from diffworld.evaluation.saved import check_scores, read_evaluations
from diffworld.evaluation.statistics import Interval, mean_interval
from diffworld.runs.folder import RunFolder
from diffworld.runtime.errors import UserError, one_line
from diffworld.runtime.files import read_json
from diffworld.runtime.metrics import METRICS_FILE, read_metrics

USUAL_GAMES = 100
NOT_THE_METHOD = ("env", "seed", "device", "precision", "compile", "evaluation", "checkpoint_seconds", "log_to")
"""Settings in which runs of one method may differ."""
FILMS = ("dream.mp4", "game.mp4")


@dataclass(frozen=True)
class AgentTest:
    """Test games of a run's agent.

    checkpoint, env_steps, wall_seconds: how far the agent had been trained.
    usual: played with the run's own temperature and on its own list of games. origin: the file it is from.
    blind: what players scored who did not look, in the same games; None in tests of before.
    """

    scores: tuple[float, ...]
    checkpoint: int
    env_steps: int
    wall_seconds: float
    usual: bool
    origin: str
    blind: BlindScores | None = None


@dataclass(frozen=True)
class Run:
    """One run folder.

    method: what it is called in the report; runs of one method differ in nothing but game and seed.
    settings: what makes its method. preset, changes: the preset nearest to that, and its other settings.
    env: the game's id. game: the benchmark's name of it, or the id where it is none of the benchmark's.
    interval: of the mean score over test games. random: the same for the random policy, where it was measured.
    departures: what sets it apart from the benchmark's protocol, in words; empty if it may be compared.
    metrics: the entries of its record, one an epoch. trained_on: whether it was trained after its test.
    imported: where its weights are from, if they were not trained in this folder, else empty text.
    """

    path: Path
    method: str
    settings: Config
    preset: str
    changes: tuple[str, ...]
    env: str
    game: str
    seed: int
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
        said = {
            "training unfinished": not (self.finished or self.imported),
            "with imported weights, and real steps as their configuration says": bool(self.imported),
            "trained on after this test: evaluate it again": self.trained_on,
            f"tested otherwise than in training: see {self.test.origin}": not self.test.usual,
            "no better than a player who never looks at the screen": bool(
                self.test.blind and self.test.blind.note(self.interval)
            ),
            f"tested on fewer than the usual {USUAL_GAMES} games": len(self.test.scores) < USUAL_GAMES,
        }
        return [remark for remark, holds in said.items() if holds]


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
        config, spec = folder.config(), folder.spec()
        config.check()
    except UserError as error:
        raise UserError(f"cannot use the run {path}: {error}") from error
    env = spec.name if spec else config.env
    tests, randoms = _tests(folder, env, config.seed, config.evaluation.temperature)
    if not tests:
        raise UserError(f"{path} has no test of its agent: {_advice(folder)}")
    # The run's own way of testing first, then the most training, then the most games.
    test = max(tests, key=lambda t: (t.usual, t.checkpoint, len(t.scores)))
    settings, preset, changes = method_of(config)
    protocol = protocol_of(
        (spec and spec.presented) or asdict(config.environment),
        test.env_steps,
        total_steps=test.env_steps if config.data else config.collection.total_steps,
        outside_experience=bool(config.data or config.init_from),
    )
    return Run(
        path=path,
        method="imported weights" if folder.imported_from else label(preset, changes),
        settings=settings,
        preset=preset,
        changes=changes,
        env=env,
        game=atari_game(env) or env,
        seed=config.seed,
        test=test,
        interval=mean_interval(test.scores),
        random=mean_interval(max(randoms, key=len)) if randoms else None,
        departures=tuple(departures(env, protocol)),
        metrics=read_metrics(path / METRICS_FILE) if (path / METRICS_FILE).is_file() else [],
        finished=folder.summary_path.is_file(),
        imported=folder.imported_from,
        trained_on=test.checkpoint < _last_checkpoint(folder),
        film=next((path / name for name in FILMS if (path / name).is_file()), None),
    )


def _advice(folder: RunFolder) -> str:
    if folder.summary_path.is_file():
        return "it trained a world model alone, so there is no agent to compare"
    return f"run: diffworld evaluate {folder.path}" if folder.checkpoints() else "train it first (diffworld train)"


def _tests(folder: RunFolder, env: str, seed: int, temperature: float) -> tuple[list[AgentTest], list[Sequence[float]]]:
    """Tests of the agent, and scores of the random policy, from the run's evaluations and its summary.

    Usual are tests on the list of games of that seed, at that temperature.
    """
    found = read_evaluations(folder.path)
    if other := next((test for test in found if test.env != env), None):
        raise UserError(f"{folder.path}: the evaluation {other.name} is of another game: delete it")
    randoms: list[Sequence[float]] = [test.scores for test in found if test.policy == "random"]
    tests = [
        AgentTest(
            tuple(test.scores),
            test.checkpoint,
            test.env_steps,
            test.wall_seconds,
            usual=(test.test_seed, test.temperature) == (seed, temperature),
            origin=f"evaluations/{test.name}.json",
            blind=test.blind.scores if test.blind else None,
        )
        for test in found
        if test.policy == "agent"
    ]
    # The last test was of the last checkpoint, whose number a thinned-out folder may have only in evaluations.
    last = max([_last_checkpoint(folder), *(test.checkpoint for test in tests)])
    if folder.summary_path.is_file() and (final := last_test(folder, last)):
        tests.append(final[0])
        randoms.append(final[1])
    return tests, randoms


def _last_checkpoint(folder: RunFolder) -> int:
    """Number of the last checkpoint, 0 without one."""
    return max((int(path.name) for path in folder.checkpoints() if path.name.isdigit()), default=0)


def last_test(folder: RunFolder, checkpoint: int = 0) -> tuple[AgentTest, Sequence[float]] | None:
    """The last test of a finished run, and its random policy; None where a world model alone was trained."""
    path, advice = folder.summary_path, "delete it and run the train command again, which tests the agent anew"
    summary = read_json(path, advice)
    try:
        counters = summary["counters"]
        steps, seconds = int(counters["env_steps"]), float(counters["wall_seconds"])
        if "agent" not in summary:
            return None
        agent, random, blind = summary["agent"]["scores"], summary["random"]["scores"], None
        if "constant" in summary:  # runs of before have no such players
            constant, mixture = summary["constant"]["scores"], summary["blind"]["scores"]
            for found in (constant, mixture):
                check_scores(found)
            blind = BlindScores(str(summary["constant"]["action"]), mean_interval(constant), mean_interval(mixture))
        check_scores(agent)
        check_scores(random)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise UserError(f"cannot read {path} ({one_line(error)}): {advice}") from error
    return AgentTest(tuple(agent), checkpoint, steps, seconds, True, path.name, blind), random


def label(preset: str, changes: Sequence[str]) -> str:
    """What a method is called: the preset nearest to it, and how far it is from that."""
    if not changes:
        return f"diffworld {preset}"
    return f"diffworld {preset}, {changes[0] if len(changes) == 1 else f'{len(changes)} changes'}"


def method_of(config: Config) -> tuple[Config, str, tuple[str, ...]]:
    """What makes a run's method: its settings, the preset nearest to them, and the others, such as "frame skip 8".

    Of data and weights it counts that there are some, not where they lie.
    """
    plain = Config()
    same: dict[str, Any] = {name: getattr(plain, name) for name in NOT_THE_METHOD}
    given: dict[str, Any] = {name: "given" for name in ("data", "init_from") if getattr(config, name)}
    settings = replace(config, **same, **given)
    changes = {name: differences(replace(build(), **same), settings) for name, build in PRESETS.items()}
    name = min(changes, key=lambda preset: len(changes[preset]))
    return settings, name, tuple(_setting(change) for change in changes[name])


def _setting(change: str) -> str:
    """ "field (old -> new)" as "field new", with the last part of the field's name."""
    field, _, values = change.partition(" (")
    return f"{field.replace('.', ' ').replace('_', ' ')} {values.rpartition(' -> ')[2][:-1]}"


def named(runs: Sequence[Run], name: str | Mapping[Path, str] | None) -> list[Run]:
    """Give runs their methods' names: `name` for all or by path; else by configuration, numbered where labels agree.

    Raises: UserError if two runs are of one method, game and seed.
    """
    kinds: dict[str, list[Config]] = {}
    found: dict[tuple[str, str, int], Run] = {}
    for run in runs:
        known = kinds.setdefault(run.method, [])
        if run.settings not in known:
            known.append(run.settings)
        place = known.index(run.settings)
        given = name.get(run.path) if isinstance(name, Mapping) else name
        method = given or (f"{run.method} #{place + 1}" if place else run.method)
        first = found.setdefault((method, run.env, run.seed), run := replace(run, method=method))
        if first is not run:
            raise UserError(
                f"{first.path} and {run.path} are both {method} on {run.env} with seed {run.seed}: "
                "give only one of them"
            )
    return list(found.values())
