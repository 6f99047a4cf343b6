"""`diffworld evaluate`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from diffworld.commands.parsing import parse
from diffworld.runtime.errors import UserError

if TYPE_CHECKING:
    from diffworld.config import Config
    from diffworld.envs.driver import EpisodeResult, GameStep
    from diffworld.evaluation.saved import Evaluation
    from diffworld.models.actor_critic import ActorCritic
    from diffworld.runs.folder import Checkpoint, RunFolder

PROGRAM = "diffworld evaluate"


@dataclass(frozen=True)
class EvaluateOptions:
    """Play whole games of the real environment with a run's agent, and save every score.

    The games' seeds are fixed and never those of training games, so the same command gives the same scores. With the
    run's own settings and number of games they are those of its last test. Needs one checkpoint, not a finished run.
    Saved as RUN/evaluations/NAME.json, once all games are over; `diffworld report RUN` uses it.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The run folder."""
    episodes: int = 100
    """Games to play."""
    policy: Literal["agent", "random"] = "agent"
    """Who plays: the agent of the last checkpoint, or uniformly random actions to compare with."""
    temperature: float | None = None
    """Temperature of the agent's actions (default: the run's own, `evaluation.temperature`)."""
    seed: int | None = None
    """Which list of test games to play (default: that of the run's seed)."""
    num_envs: int | None = None
    """Games played side by side (default: the run's own, `evaluation.num_envs`)."""
    device: str = "auto"
    """Where the network runs: auto, cpu, cuda or mps."""


def main(arguments: list[str]) -> int:
    """Evaluate a run, save the result and sum it up; Ctrl-C saves nothing."""
    options = parse(EvaluateOptions, PROGRAM, arguments)
    try:
        evaluate(options)
    except KeyboardInterrupt:
        print("stopped: nothing was saved; the same command begins anew", file=sys.stderr)
        return 130
    return 0


def evaluate(options: EvaluateOptions) -> None:
    """Play, save, print; UserError for options or a run that cannot be used."""
    from diffworld.evaluation.games import play_games
    from diffworld.evaluation.protocol import atari_game, protocol_of
    from diffworld.evaluation.saved import Evaluation, save_evaluation
    from diffworld.report.runs import imported_from
    from diffworld.report.scores import load_benchmark
    from diffworld.runs.folder import RunFolder

    run = RunFolder(options.run)
    config = _config(options, run.config())
    agent = options.policy == "agent"
    checkpoint = run.load() if agent else None
    if agent and checkpoint is None:
        raise UserError(f"{run.path} has no checkpoint yet: train it first (diffworld train), or use --policy random")
    actor_critic = _actor_critic(config, checkpoint) if checkpoint else None
    env_steps = _env_steps(run, config, checkpoint) if checkpoint else 0
    with _progress(options.policy, options.episodes) as (on_episode, on_step):
        results = play_games(config, actor_critic, options.episodes, on_episode=on_episode, on_step=on_step)
    progress = checkpoint.progress["progress"] if checkpoint else {}
    evaluation = Evaluation(
        env=config.env,
        policy=options.policy,
        checkpoint=int(progress.get("saves", 0)),
        finished=run.summary_path.is_file() or bool(imported_from(run.path)),
        env_steps=env_steps,
        wall_seconds=float(progress.get("wall_seconds", 0.0)),
        temperature=config.evaluation.temperature,
        test_seed=config.seed,
        num_envs=min(config.evaluation.num_envs, options.episodes),
        protocol=protocol_of(config, env_steps),
        episodes=tuple(results),
    )
    reference = load_benchmark().reference(atari_game(config.env))
    path = save_evaluation(run, evaluation, reference)
    print("\n".join([*summary_lines(evaluation, reference), f"  saved in {path}"]))


def _config(options: EvaluateOptions, config: "Config") -> "Config":
    """The run's configuration with the options put in; UserError for values that cannot be used."""
    if options.episodes < 1:
        raise UserError(f"--episodes is {options.episodes}; it must be at least 1")
    if options.temperature is not None and not 0 <= options.temperature < float("inf"):
        raise UserError(f"--temperature is {options.temperature}; it must be a number of at least 0")
    if options.seed is not None and options.seed < 0:
        raise UserError(f"--seed is {options.seed}; it must be at least 0")
    e = config.evaluation
    changed = replace(
        config,
        device=options.device,
        seed=config.seed if options.seed is None else options.seed,
        evaluation=replace(
            e,
            temperature=e.temperature if options.temperature is None else options.temperature,
            num_envs=e.num_envs if options.num_envs is None else options.num_envs,
        ),
    )
    changed.check()
    return changed


def _actor_critic(config: "Config", checkpoint: "Checkpoint") -> "ActorCritic":
    from contextlib import closing

    from diffworld.evaluation.games import make_game
    from diffworld.recipes.networks import build_networks
    from diffworld.runtime.device import resolve_device

    with closing(make_game(config, 1)) as game:
        networks = build_networks(config, game.num_actions, resolve_device(config.device))
    networks.load(checkpoint.weights, parts=("actor_critic",))
    return networks.actor_critic.eval()


def _env_steps(run: "RunFolder", config: "Config", checkpoint: "Checkpoint") -> int:
    """Real steps behind a checkpoint.

    Of imported weights, what their configuration says; with --data or a replay thrown away, what the record says.
    """
    import numpy as np

    from diffworld.data import DatasetSchema
    from diffworld.data.schema import ROWS, STEP
    from diffworld.report.runs import imported_from, read_metrics

    if imported_from(run.path):
        return config.collection.total_steps
    if config.model_free:
        return int(checkpoint.state["real_world"]["steps"])
    rows = run.replay / ROWS
    if "replay_rows" in checkpoint.progress and rows.is_file():
        # Not as a Dataset: that reads every frame, and only the number of steps is wanted.
        records = np.fromfile(
            rows, dtype=DatasetSchema.read(run.replay).record, count=checkpoint.progress["replay_rows"]
        )
        return int(np.count_nonzero(records["flags"] & STEP))
    entries = read_metrics(run.path)
    return int(entries[-1].get("env_steps", 0)) if entries else 0


@contextmanager
def _progress(
    name: str, episodes: int
) -> Iterator[tuple[Callable[["EpisodeResult"], None], Callable[["GameStep"], None]]]:
    """A bar of games with the rate of steps, on a terminal only; yields what to call after a game and a step."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    rate = TextColumn("{task.fields[rate]}", style="cyan")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"{name}: games", total=episodes, rate="")
        steps = 0

        def on_step(_: "GameStep") -> None:
            nonlocal steps
            steps += 1
            if steps % 500 == 0:
                elapsed = progress.tasks[0].elapsed or 1e-9
                progress.update(task, rate=f"{steps:,} steps, {steps / elapsed:,.0f} steps/s")

        yield lambda _: progress.advance(task), on_step


def summary_lines(evaluation: "Evaluation", reference: tuple[float, float] | None) -> list[str]:
    """What an evaluation found, in a few lines of text."""
    from diffworld.evaluation.statistics import mean_interval

    scores = sorted(evaluation.scores)
    games = len(scores)
    steps = sum(episode.steps for episode in evaluation.episodes) / games
    cut = sum(episode.truncated for episode in evaluation.episodes)
    who = "random policy"
    if evaluation.policy == "agent":
        unfinished = "" if evaluation.finished else ", training unfinished"
        who = f"agent after {evaluation.env_steps:,} real steps (checkpoint {evaluation.checkpoint}{unfinished})"
    lines = [
        f"{evaluation.env}, {who}, {games} game{'s' if games > 1 else ''}",
        f"  mean score        {mean_interval(scores)}   (95 % interval over games)",
        f"  median            {scores[games // 2]:.4g}   lowest {scores[0]:.4g}, highest {scores[-1]:.4g}",
        f"  length            {steps:,.0f} steps a game" + (f"; {cut} cut by the limit of length" if cut else ""),
    ]
    if evaluation.departures:
        reasons = "; ".join(evaluation.departures)
        lines.append(f"  human-normalised  not given, for this is not the Atari 100k protocol: {reasons}")
    elif reference:
        normalised = evaluation.normalised(*reference)
        lines.append(f"  human-normalised  {normalised}   (random play 0, human play 1)")
    return lines
