"""A run from the command to the summary: begin or resume, train, test, draw."""

from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from diffworld.config import OF_DATA, Config
from diffworld.data import Dataset
from diffworld.data.schema import DESCRIPTION
from diffworld.envs import VectorEnv, make_env
from diffworld.evaluation.games import TestGames
from diffworld.game import GameSpec
from diffworld.recipes import RECIPES, Materials, build_networks, compile_networks
from diffworld.runs.folder import Checkpoint, RunFolder
from diffworld.runtime.checked import read_as
from diffworld.runtime.device import (
    CORES,
    device_of_rank,
    resolve_compile,
    resolve_device,
    resolve_precision,
    resolve_threads,
    use_threads,
)
from diffworld.runtime.errors import UserError
from diffworld.runtime.metrics import MetricsLog
from diffworld.runtime.progress import Display
from diffworld.runtime.ranks import ALONE, Ranks
from diffworld.training.agreement import agree, agree_on_data, check_game, last_checkpoint
from diffworld.training.interrupt import StopRequest
from diffworld.training.loop import Loop, Progress
from diffworld.training.memory import check_memory
from diffworld.training.testing import Tester
from diffworld.training.trainer import Trainer

LARGEST = 64
"""Pixels of the longer side that one denoiser draws in good time."""
SMALLEST = 16
"""Pixels of the shorter side of a first stage in which something can be seen to move."""


def train(config: Config, out: Path, preset: str = "", ranks: Ranks = ALONE, shard: bool = False) -> None:
    """Train in the run folder `out`, or go on where it stopped; UserError, or `Interrupted` on Ctrl-C.

    `preset` is where the configuration came from, to be said. Several `ranks` share each update; `shard`: and the
    optimisers' state.
    """
    config.check()
    run, display = RunFolder(out), Display(quiet=not ranks.first)
    mine = replace(config.of_rank(ranks.count), device=device_of_rank(config.device, ranks))
    agree(ranks, (config, out, shard), resolve_precision(config.precision, resolve_device(mine.device)))
    use_threads(resolve_threads(config.small, run.threads, ranks.local_count))
    with ExitStack() as resources:
        env, data = open_source(mine, resources, new=not run.exists(), plays=ranks.first)
        source = env or data
        spec = ranks.broadcast(source.spec if source else None)
        assert spec is not None
        if data is not None:
            agree_on_data(ranks, data)
            if data.dropped_rows:
                display.line(f"note: the last {data.dropped_rows} rows of {data.path} are torn, and are left out")
        else:
            check_game(ranks, spec)
        if ranks.first:
            run.holds(config)  # else it is refused before anything is put there
            resources.enter_context(run.claimed())
            run.begin(config, spec)
        if ranks.broadcast(run.summary_path.is_file()):
            display.line(f"{out} is finished: see {run.summary_path}. To train anew, choose another --out.")
            return
        checkpoint = last_checkpoint(run, ranks)
        if config.recipe == "diamond":
            data = resources.enter_context(open_replay(run, spec, checkpoint, ranks))
        trainer = make_trainer(mine, spec, data, env, ranks, shard)
        display.line(f"{header(trainer, config.recipe, preset)} | {out}")
        for note in (_threads_note(config.small, run.threads), size_note(config.recipe, config.factor, spec)):
            if note:
                display.line(note)
        progress = Progress()
        if checkpoint is not None:
            if note := trainer.restore(checkpoint):
                display.line(note)
            progress = read_as(Progress, checkpoint.progress.get("progress"), "the checkpoint's progress")
            display.line(f"resuming {out} in epoch {progress.epoch}, {progress.wall_seconds:.0f} s of training done")
        elif config.init_from:
            trainer.networks.load(RunFolder(Path(config.init_from)).trained().weights, config.init_networks)
        log = None
        if ranks.first:
            metrics = MetricsLog(out, progress.epoch - 1, log_to=config.log_to, config=asdict(config))
            log = resources.enter_context(metrics)
        e = config.evaluation
        games = None if config.recipe in OF_DATA else TestGames(spec, config.seed, e.num_envs, e.temperature, ranks)
        tester = Tester(run, trainer.recipe, e, games, None if games else data, config.reward_end.window, display)
        stop = resources.enter_context(StopRequest(patient=ranks.several))
        loop = Loop(
            run, trainer, progress, display, log, stop, config.checkpoint_seconds, tester.test, tester.seconds_left
        )
        if checkpoint is None:
            loop.save()  # before the first row of replay: rows without a checkpoint are never thrown away
        loop.run()
        tester.finish(loop.counters(), loop)


def header(trainer: Trainer, recipe: str, preset: str) -> str:
    """What is trained, and on what."""
    number = str(trainer.dtype).removeprefix("torch.")
    count = torch.get_num_threads()
    threads = f", {count} thread{'s' * (count > 1)}" if trainer.device.type == "cpu" else ""
    among = f", {trainer.ranks.count} ranks" if trainer.ranks.several else ""
    size = sum(trainer.networks.parameter_counts().values())
    game = trainer.given.spec.name or "a recording"
    kind = f"preset {preset}, recipe {recipe}" if preset else f"recipe {recipe}"
    device = trainer.device.type if among else trainer.device
    return f"{game} | {kind}, {size:,} parameters | {device}, {number}{threads}{among}"


def _threads_note(small: bool, begun_with: int) -> str:
    """What to say of the threads of a run that goes on; empty if they are what a new run would have."""
    count = torch.get_num_threads()
    if begun_with not in (0, count):
        return f"note: the run began with {begun_with} threads; with {count} sums come out otherwise: not bit for bit"
    if resolve_threads(small) > count:
        return (
            f"note: {count} of {CORES} cores, as the run began, to go on bit for bit; OMP_NUM_THREADS={CORES} takes all"
        )
    return ""


def size_note(recipe: str, factor: int, spec: GameSpec) -> str:
    """What to say of frames that are large for one denoiser, or small for two stages; empty for others."""
    if recipe == "world" and max(spec.frame_size) > LARGEST:
        return (
            f"note: frames of {spec.height}x{spec.width} are drawn by one network at full size, which is slow above "
            f"{LARGEST} pixels a side: import them smaller (--size), or expect long hours"
        )
    if factor > 1 and min(spec.frame_size) < SMALLEST * factor:
        height, width = (side // factor for side in spec.frame_size)
        return (
            f"note: of frames of {spec.height}x{spec.width} the first stage dreams {height}x{width} pixels, in which "
            "little can be seen: take larger frames, a smaller --upsampler.factor, or --recipe world"
        )
    return ""


def make_trainer(
    config: Config,
    spec: GameSpec,
    dataset: Dataset | None,
    env: VectorEnv | None,
    ranks: Ranks = ALONE,
    shard: bool = False,
) -> Trainer:
    """The trainer of a configuration's recipe, its networks fresh from the seed; of `ranks`, for each with its part."""
    torch.manual_seed(config.seed)
    device = resolve_device(config.device)
    if ranks.several and device.type == "cuda":
        torch.cuda.set_device(device)
    given = Materials(spec, device, dataset, env, np.random.default_rng(config.seed), config.seed, ranks)
    recipe = RECIPES[config.recipe](config, given)
    if resolve_compile(config.compile, device):
        batches = {name: part.updates.batch_size for name, part in recipe.parts.items()}
        compile_networks(recipe.networks, batches, config.horizon)
    trainer = Trainer(recipe, given, resolve_precision(config.precision, device), shard)
    if device.type == "cuda" and config.compile != "off":
        trainer.record()
    return trainer


def check_new_run(config: Config, elsewhere: bool = False) -> None:
    """UserError for whatever would keep a new run from beginning; nothing is written.

    Of a run that is to train `elsewhere`, device and memory are left to that machine.
    """
    config.check()
    with ExitStack() as resources:
        open_source(replace(config, device="auto") if elsewhere else config, resources, new=not elsewhere)


def open_source(
    config: Config, resources: ExitStack, new: bool, plays: bool = True
) -> tuple[VectorEnv | None, Dataset | None]:
    """The game that a run collects from, or the data it learns from; closed with `resources`. Of a game that others
    play (not `plays`) neither.

    Of a `new` run all is checked that would go wrong once its folder is claimed: put right, the same command must do.
    """
    env, data = None, None
    device = resolve_device(config.device)
    if config.recipe in OF_DATA:
        data = resources.enter_context(Dataset.open(config.data))
        if not data.num_steps:
            raise UserError(f"{config.data} has no steps to learn from")
    elif plays or config.recipe == "model_free":
        rows = config.actor_critic_updates.batch_size if config.recipe == "model_free" else config.collection.num_envs
        env = resources.enter_context(closing(make_env(config.env, config.environment, rows)))
    if new and (source := env or data) is not None:
        spec = source.spec
        check_memory(config, spec, device)
        if config.init_from:
            networks = build_networks(config, spec, torch.device("cpu"))
            networks.load(RunFolder(Path(config.init_from)).trained().weights, config.init_networks)
    return env, data


def open_replay(run: RunFolder, spec: GameSpec, checkpoint: Checkpoint | None, ranks: Ranks) -> Dataset:
    """The run's own replay, cut to the checkpoint; UserError for rows whose checkpoint is gone. Only rank 0 writes."""
    if not ranks.first:
        num_rows = ranks.broadcast(0)
        if not (run.replay / DESCRIPTION).exists():
            raise UserError(f"{run.replay} is not there: put the run folder on a disk that all machines share")
        return Dataset.open(run.replay, num_rows=num_rows)
    if not (run.replay / DESCRIPTION).exists():  # a kill may have left the folder without it
        Dataset.create(run.replay, spec).close()
    if checkpoint is None:
        with Dataset.open(run.replay) as replay:
            if replay.num_rows:
                raise UserError(
                    f"{run.replay} holds {replay.num_rows:,} rows, but no checkpoint in {run.path}/checkpoints tells "
                    "how they were collected: put the checkpoints back, or move the replay away to begin anew"
                )
    rows = checkpoint.progress["replay_rows"] if checkpoint else 0
    replay = Dataset.open(run.replay, writable=True, num_rows=rows)
    ranks.broadcast(rows)  # cut: now the others may look
    return replay
