"""`diffworld record`."""

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from diffworld.commands.parsing import parse
from diffworld.config import Config, EnvironmentConfig
from diffworld.config.presets import preset
from diffworld.runtime.errors import UserError

if TYPE_CHECKING:
    from diffworld.data import Dataset
    from diffworld.envs import VectorEnv
    from diffworld.envs.driver import Policy

PROGRAM = "diffworld record"
RANDOM = "random"


@dataclass(frozen=True)
class RecordOptions:
    """Record episodes of a real game as a data set, to train on with `diffworld train --data OUT`.

    Every step is on disk at once: what is there after a kill is a whole data set. A recording is not resumed; record
    the rest to another folder.
    """

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """The folder of the data set: a new one, or empty."""
    env: str = ""
    """atari/<Game>, gym/<registered id> or minatar/<game>; a run's own game if its agent plays."""
    policy: str = RANDOM
    """Who plays: random, or a run folder whose agent plays. A run brings the settings of its game as defaults."""
    steps: int = 10_000
    """Real steps to record (rounded up to a multiple of num_envs)."""
    num_envs: int = 1
    """Games played side by side."""
    seed: int = 0
    """Of the games and of the actions drawn."""
    temperature: float = 1.0
    """Of the agent's actions; 0 takes the likeliest."""
    epsilon: float = 0.0
    """Share of uniformly random actions among the agent's."""
    hold: float = 0.0
    """Probability that the random player repeats its last action, which takes it further about."""
    device: str = "auto"
    """Where the agent's network runs: auto, cpu, cuda or mps."""
    environment: Annotated[EnvironmentConfig, tyro.conf.arg(name="")] = field(default_factory=EnvironmentConfig)


def main(arguments: list[str]) -> int:
    """Record a data set; Ctrl-C keeps what is there."""
    config = _run_config(arguments)
    # Of a run, only the defaults: the folder itself is required.
    defaults = config.environment if config else EnvironmentConfig()
    options = parse(RecordOptions, PROGRAM, arguments, RecordOptions(tyro.MISSING, environment=defaults))
    options = _checked(options, config)
    from diffworld.data import Dataset
    from diffworld.play.recording import record_games
    from diffworld.runtime.progress import Display

    env = _make_env(options)
    try:
        policy = _policy(options, env)
        info = {
            "env": env.env_id,
            "action_names": env.action_names,
            "environment": dataclasses.asdict(options.environment),
            "policy": Path(options.policy).name,
            "seed": options.seed,
        }
        shape = (*env.frame_size, 3)
        display = Display()
        with Dataset.create(options.out, shape, num_actions=env.num_actions, info=info) as dataset:
            try:
                with display.bar(f"record {env.env_id}", "step", options.steps) as advance:
                    scores = record_games(env, policy, dataset, options.steps, options.seed, advance)
            except KeyboardInterrupt:
                print(f"stopped; {options.out} is a whole data set of {dataset.num_steps:,} steps", file=sys.stderr)
                return 130
            display.line(_summary(dataset, scores))
        display.line(_next_command(options))
    finally:
        env.close()
    return 0


def _run_config(arguments: list[str]) -> Config | None:
    """The configuration of the run that plays, looked for first: it gives the defaults of the game's settings."""
    from diffworld.runs.folder import RunFolder

    name = RANDOM
    for i, argument in enumerate(arguments):
        if argument == "--policy" and i + 1 < len(arguments):
            name = arguments[i + 1]
        elif argument.startswith("--policy="):
            name = argument.removeprefix("--policy=")
    if name == RANDOM or not name or name.startswith("-"):
        return None
    if not RunFolder(Path(name)).exists():
        raise UserError(f"--policy {name} is no run folder: give one that diffworld train has made, or random")
    return RunFolder(Path(name)).config()


def _checked(options: RecordOptions, config: Config | None) -> RecordOptions:
    """The options with the game's id in place. UserError for what cannot be recorded."""
    if options.steps < 1:
        raise UserError(f"--steps is {options.steps}; it must be at least 1")
    if not 0 <= options.seed < 2**31:
        raise UserError(f"--seed is {options.seed}; it must be between 0 and {2**31 - 1}")
    if options.temperature < 0 or not 0 <= options.epsilon <= 1:
        raise UserError("--temperature must be at least 0, and --epsilon between 0 and 1")
    if not 0 <= options.hold < 1 or (options.hold and options.policy != RANDOM):
        raise UserError("--hold is a probability below 1, and for the random player only")
    if config is not None:
        own, given = config.environment, options.environment
        if options.env not in ("", config.env):
            raise UserError(f"the agent of {options.policy} plays {config.env}: leave out --env")
        if (given.height, given.width) != (own.height, own.width):
            raise UserError(f"the agent sees frames of {own.height}x{own.width}: leave out --height and --width")
        options = dataclasses.replace(options, env=config.env)
    if not options.env:
        raise UserError("which game? give --env, such as --env atari/Breakout, or --policy RUN")
    out = options.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} already holds something: choose another --out (a recording is not resumed)")
    return options


def _make_env(options: RecordOptions) -> "VectorEnv":
    from diffworld.evaluation.games import make_game

    return make_game(Config(env=options.env, environment=options.environment), options.num_envs)


def _policy(options: RecordOptions, env: "VectorEnv") -> "Policy":
    from diffworld.envs.driver import RandomPolicy

    if options.policy == RANDOM:
        return RandomPolicy(env.num_actions, options.seed, options.hold)
    import torch

    from diffworld.agents.policy import ActorCriticPolicy
    from diffworld.runs.loading import load_run

    model = load_run(Path(options.policy), options.device)
    if not model.has_policy:
        raise UserError(f"{options.policy} has no agent: give another run, or --policy random")
    return ActorCriticPolicy(
        model.networks.actor_critic,
        env.num_envs,
        temperature=options.temperature,
        epsilon=options.epsilon,
        generator=torch.Generator(model.device).manual_seed(options.seed),
    )


def _summary(dataset: "Dataset", scores: list[float]) -> str:
    size = sum(file.stat().st_size for file in dataset.path.iterdir()) / 2**20
    counts = f"{dataset.num_steps:,} steps, episodes: {dataset.num_episodes}, games played to their end: {len(scores)}"
    mean = f", mean score {sum(scores) / len(scores):.4g}" if scores else ""
    return f"{dataset.path}: {counts}{mean} ({size:.1f} MiB)"


def _next_command(options: RecordOptions) -> str:
    """How to train on it: the trainer must present the game as the recording did."""
    demo = preset("demo")
    given, default = dataclasses.asdict(options.environment), dataclasses.asdict(demo.environment)
    flags = [_flag(name, value) for name, value in given.items() if value != default[name]]
    return " ".join(["train on it: diffworld train --data", str(options.out), "--env", options.env, *flags])


def _flag(name: str, value: object) -> str:
    name = name.replace("_", "-")
    return f"--environment.{'no-' if value is False else ''}{name}{'' if isinstance(value, bool) else f' {value}'}"
