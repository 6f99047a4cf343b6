"""`diffworld evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from diffworld.commands.parsing import demo_named, parse_checked, until_stopped
from diffworld.data import Dataset
from diffworld.envs import ActionCounter
from diffworld.evaluation.blind import play_blind
from diffworld.evaluation.games import TestGames
from diffworld.evaluation.protocol import atari_game, protocol_of
from diffworld.evaluation.saved import Evaluation, save_evaluation
from diffworld.report.scores import load_benchmark
from diffworld.runs import Model, RunFolder
from diffworld.runs.loading import is_packed, load
from diffworld.runtime.checked import Amount, Count, Games, Natural
from diffworld.runtime.device import device_of_rank, use_threads
from diffworld.runtime.files import check_writable
from diffworld.runtime.memory import lowering
from diffworld.runtime.metrics import METRICS_FILE, read_metrics
from diffworld.runtime.progress import Display
from diffworld.runtime.ranks import ALONE, Ranks, joined
from diffworld.runtime.versions import installed


@dataclass(frozen=True)
class EvaluateOptions:
    """Play whole games of the real environment with a run's agent, and save every score.

    The games' seeds are fixed and never those of training games, so the same command gives the same scores. With the
    run's own settings and number of games they are those of its last test. Needs one checkpoint, not a finished run.
    Beside the agent two players who never look at the screen play the same games: one presses the best constant action,
    one draws the agent's own actions as often as the agent pressed them. An agent should beat both.
    Saved as RUN/evaluations/NAME.json, once all games are over; `diffworld report RUN` uses it.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The run folder. Of an exported file, and of a demo (--demo breakout has an agent), nothing is saved."""
    episodes: Count = 100
    """Games to play."""
    policy: Literal["agent", "random"] = "agent"
    """Who plays: the agent of the last checkpoint, or uniformly random actions to compare with."""
    temperature: Amount | None = None
    """Temperature of the agent's actions (default: the run's own, `evaluation.temperature`)."""
    seed: Natural | None = None
    """Which list of test games to play (default: that of the run's seed)."""
    num_envs: Games | None = None
    """Games played side by side (default: the run's own, `evaluation.num_envs`)."""
    device: str = "auto"
    """Where the network runs: auto, cpu, cuda or mps."""


def main(arguments: list[str]) -> int:
    """Evaluate a run, save the result and sum it up; Ctrl-C saves nothing. Under torchrun as one of several ranks."""

    def work() -> None:
        with joined() as ranks:
            evaluate(parse_checked(EvaluateOptions, "diffworld evaluate", demo_named(arguments)), ranks)

    return until_stopped(work, "nothing was saved; the same command begins anew")


def evaluate(options: EvaluateOptions, ranks: Ranks = ALONE) -> None:
    """Play, and in rank 0 save and print; UserError for options or a run that cannot be used."""
    run, packed = RunFolder(options.run), is_packed(options.run)
    if ranks.first and not packed and run.exists():
        check_writable(run.path / "evaluations")
    actor_critic, env_steps, progress = None, 0, {}
    if options.policy == "random" and (known := run.spec()) is not None:  # no checkpoint is needed then
        config, spec = run.config(), known
    else:
        model = load(options.run, device_of_rank(options.device, ranks))
        config, spec = model.config, model.spec
        use_threads(max(1, model.threads // ranks.local_count))
        if options.policy == "agent":
            actor_critic, progress = model.require_policy(), dict(model.progress)
            env_steps = config.collection.total_steps if packed else _env_steps(model, run)
    ranks.agree((installed(), options, config, progress), _differ)
    e = config.evaluation
    seed = config.seed if options.seed is None else options.seed
    temperature = e.temperature if options.temperature is None else options.temperature
    tests = TestGames(spec, seed, min(options.num_envs or e.num_envs, options.episodes), temperature, ranks)
    display, pressed, own = Display(quiet=not ranks.first), ActionCounter(), len(ranks.share(options.episodes))
    with lowering("--num-envs"), display.bar(options.policy, "game", own) as advance:
        results = tests.play(actor_critic, options.episodes, on_episode=lambda _: advance(1), on_step=pressed)
    blind = play_blind(tests, pressed, options.episodes, display) if actor_critic is not None else None
    if not ranks.first:
        return
    evaluation = Evaluation(
        env=spec.name,
        policy=options.policy,
        checkpoint=int(progress.get("saves", 0)),
        finished=packed or run.summary_path.is_file() or bool(run.imported_from),
        env_steps=env_steps,
        wall_seconds=float(progress.get("wall_seconds", 0.0)),
        temperature=temperature,
        test_seed=seed,
        num_envs=tests.num_envs,
        protocol=protocol_of(
            spec.presented,
            env_steps,
            total_steps=env_steps if config.data else config.collection.total_steps,
            outside_experience=bool(config.data or config.init_from),
        ),
        episodes=tuple(results),
        blind=blind,
    )
    reference = load_benchmark().reference(atari_game(spec.name))
    where = f"not saved, for {options.run} is no run folder"
    try:
        if not packed:
            where = f"saved in {save_evaluation(run.path, evaluation, reference)}"
    finally:  # whatever becomes of the file, the games took long
        print("\n".join(evaluation.in_words(reference)))
    print(f"  {where}")


def _differ(first: object, other: object) -> str:
    """How a rank differs from the first; empty if not."""
    return "" if first == other else "has another version or other options than rank 0, or sees another checkpoint"


def _env_steps(model: Model, run: RunFolder) -> int:
    """Real steps behind a checkpoint; of weights that were published, what their configuration says."""
    if "env_steps" in model.progress:
        return int(model.progress["env_steps"])
    if run.imported_from:
        return model.config.collection.total_steps
    if "replay_rows" in model.progress and run.replay.is_dir():  # the version before kept no such number
        with Dataset.open(run.replay, num_rows=model.progress["replay_rows"]) as replay:
            return replay.num_steps
    record = run.path / METRICS_FILE
    entries = read_metrics(record) if record.is_file() else []
    return int(entries[-1].get("env_steps", 0)) if entries else 0
