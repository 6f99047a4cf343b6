"""`diffworld record`."""

import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from diffworld.commands.parsing import demo_named, given_option, parse_checked
from diffworld.data import Compress, Dataset, EpisodeWriter, GameStep
from diffworld.envs import (
    Driver,
    EnvironmentConfig,
    EpisodeResult,
    Policy,
    RandomPolicy,
    VectorEnv,
    make_env,
    usual_settings,
)
from diffworld.envs.seeds import training_seed
from diffworld.runs import Model, load
from diffworld.runtime.checked import Amount, Count, Games, Natural, Share, read_as
from diffworld.runtime.device import use_threads
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import check_writable
from diffworld.runtime.progress import Display

RANDOM, SCRIPT = "random", "script"


@dataclass(frozen=True)
class RecordOptions:
    """Record episodes of a real game as a data set, to train on with `diffworld train --data OUT`.

    Every step is on disk at once: what is there after a kill is a whole data set. A recording is not resumed; record
    the rest to another folder.
    """

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """The folder of the data set: a new one, or empty."""
    env: str = ""
    """atari/<Game>, minatar/<game>, vizdoom/<scenario>, gym/<registered id>, or gym/<module>:<Id> of a module that
    registers it; a run's own game if its agent plays."""
    policy: str = RANDOM
    """Who plays: random, script (ViZDoom only: walks, turns, aims and shoots), or the agent of a run folder or of the
    package's model (demo, or --demo for short). A run brings the settings of its game as defaults."""
    steps: Count = 10_000
    """Real steps to record (rounded up to a multiple of num_envs)."""
    num_envs: Games = 1
    """Games played side by side."""
    seed: Natural = 0
    """Of the games and of the actions drawn."""
    temperature: Amount = 1.0
    """Of the agent's actions; 0 takes the likeliest."""
    epsilon: Share = 0.0
    """Share of uniformly random actions among the agent's."""
    hold: Share = 0.0
    """Probability that the random player repeats its last action, which takes it further about."""
    compress: Compress = "auto"
    """Compress each frame without loss; auto does so from 128x128 pixels on."""
    device: str = "auto"
    """Where the agent's network runs: auto, cpu, cuda or mps."""
    environment: Annotated[EnvironmentConfig, tyro.conf.arg(name="")] = field(default_factory=EnvironmentConfig)


def main(arguments: list[str]) -> int:
    """Record a data set; Ctrl-C keeps what is there."""
    arguments = demo_named(arguments, "--policy")
    model = _player(arguments)  # first: the defaults of the game's settings are its own
    usual = asdict(usual_settings(given_option(arguments, "--env") or ""))
    presented = dict(model.spec.presented) if model else usual
    environment = read_as(EnvironmentConfig, presented, "the game's settings")
    options = RecordOptions(tyro.MISSING, environment=environment)
    options = _checked(parse_checked(RecordOptions, "diffworld record", arguments, options), model)
    with closing(make_env(options.env, options.environment, options.num_envs)) as env:
        policy: Policy = RandomPolicy(env.spec.actions, options.seed, options.hold)
        if options.policy == SCRIPT:
            policy = env.scripted(options.seed)
        elif model is not None:
            given = {"temperature": options.temperature, "epsilon": options.epsilon}
            policy = model.player(options.num_envs, **given, seed=options.seed)
        info, display = {"policy": Path(options.policy).name, "seed": options.seed}, Display()
        with Dataset.create(options.out, env.spec, info, options.compress) as dataset:
            try:
                with display.bar(f"record {options.env}", "step", options.steps) as advance:
                    scores = record_games(env, policy, dataset, options.steps, options.seed, advance)
            except KeyboardInterrupt:
                print(f"stopped; {options.out} is a whole data set of {dataset.num_steps:,} steps", file=sys.stderr)
                return 130
            display.line(_summary(dataset, scores))
        display.line(f"train on it: diffworld train --data {options.out}")
    return 0


def record_games(
    env: VectorEnv, policy: Policy, dataset: Dataset, steps: int, seed: int, advance: Callable[[int], None]
) -> list[float]:
    """Play and record at least `steps` steps, whole rounds of all rows; the last round truncates what still goes on.

    Args:
        env: reset here; a lost life that it tells as an end begins another episode while the game goes on.
        policy: sees all rows at every step.
        dataset: open for writing, of the environment's game.
        steps: to record.
        seed: game number g is the g-th training game of a run of that seed.
        advance: called with the steps of each round, for a progress display.

    Returns: the raw scores of the games that were played to their end.
    """
    writer, scores, last = EpisodeWriter(dataset), list[float](), False

    def keep(step: GameStep) -> None:
        writer(replace(step, truncated=True) if last and not step.terminated else step)

    def count(_: int, game: EpisodeResult) -> None:
        scores.append(game.score)

    driver = Driver(env, lambda game: training_seed(seed, game), on_step=keep, on_game=count, lives=True)
    for taken in range(0, steps, env.num_envs):
        last = taken + env.num_envs >= steps
        driver.play(policy)
        advance(env.num_envs)
    return scores


def _player(arguments: list[str]) -> Model | None:
    """The model whose agent plays; None for players that nobody trained."""
    name = given_option(arguments, "--policy")
    if name in (None, RANDOM, SCRIPT):
        return None

    model = load(str(name), given_option(arguments, "--device") or "auto")
    if model.no_game:
        raise UserError(f"{model.no_game}: there is nothing to record")
    use_threads(model.threads)
    return model


def _checked(options: RecordOptions, model: Model | None) -> RecordOptions:
    """The options with the game's id in place. UserError for what cannot be recorded."""
    if options.hold == 1 or (options.hold and options.policy != RANDOM):
        raise UserError("--hold is a probability below 1, and for the random player only")
    if model is not None:
        given, own = options.environment, model.spec
        if options.env not in ("", own.name):
            raise UserError(f"the agent of {options.policy} plays {own.name}: leave out --env")
        if (given.height, given.width) != own.frame_size:
            raise UserError(f"the agent sees frames of {own.height}x{own.width}: leave out --height and --width")
        options = replace(options, env=own.name)
    if not options.env:
        raise UserError("which game? give --env, such as --env atari/Breakout, or --policy RUN")
    out = options.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} already holds something: choose another --out (a recording is not resumed)")
    check_writable(out)
    return options


def _summary(dataset: Dataset, scores: list[float]) -> str:
    size = sum(file.stat().st_size for file in dataset.path.iterdir()) / 2**20
    counts = f"{dataset.num_steps:,} steps, episodes: {dataset.num_episodes}, games played to their end: {len(scores)}"
    mean = f", mean score {sum(scores) / len(scores):.4g}" if scores else ""
    return f"{dataset.path}: {counts}{mean} ({size:.1f} MiB)"
