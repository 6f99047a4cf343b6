"""A run from the command to the summary: begin or resume, train, test, draw."""

from contextlib import ExitStack, closing, nullcontext
from dataclasses import asdict
from pathlib import Path

import torch

from diffworld.config import Config
from diffworld.device import resolve_device
from diffworld.envs import VectorEnv
from diffworld.errors import UserError
from diffworld.evaluation.games import make_game
from diffworld.networks import build_networks
from diffworld.replay import Dataset
from diffworld.replay.format import DESCRIPTION
from diffworld.run_folder import Checkpoint, RunFolder
from diffworld.training.display import Display
from diffworld.training.finish import finish
from diffworld.training.interrupt import StopRequest
from diffworld.training.loop import Loop, Progress
from diffworld.training.metrics import MetricsLog
from diffworld.training.trainer import Trainer


def train(config: Config, out: Path) -> None:
    """Train in the run folder `out`, or go on where it stopped; UserError, or Interrupted on Ctrl-C."""
    config.check()
    run, display = RunFolder(out), Display()
    with ExitStack() as resources:
        stop = resources.enter_context(StopRequest())
        env = resources.enter_context(closing(make_training_env(config))) if not config.data else None
        if not run.exists():
            _check_new(config, env)
        run.begin(config)
        if run.summary_path.is_file():
            display.line(f"{out} is finished: see {run.summary_path}. To train anew, choose another --out.")
            return
        checkpoint = run.load()
        dataset = open_replay(config, run, env, checkpoint)
        if dataset is not None:
            resources.enter_context(dataset)
        trainer = Trainer(config, num_actions(env, dataset), dataset, env)
        progress = _starting_point(trainer, config, checkpoint)
        if checkpoint is not None:
            done = f"{progress.wall_seconds:.0f} s of training done"
            display.line(f"resuming {out} in epoch {progress.epoch}, {done}")
        log = resources.enter_context(
            MetricsLog(out, wandb=config.wandb, trackio=config.trackio, config=asdict(config))
        )
        log.cut(progress.epoch - 1)
        loop = Loop(config, run, trainer, progress, display, log, stop)
        loop.run()
        finish(config, run, trainer, loop.counters(), display, stop)


def check_new_run(config: Config) -> None:
    """UserError for whatever would keep a new run from beginning; nothing is written."""
    config.check()
    with closing(make_training_env(config)) if not config.data else nullcontext() as env:
        _check_new(config, env)


def _check_new(config: Config, env: VectorEnv | None) -> None:
    """UserError for what would go wrong once the folder is claimed: put right, the same command must do."""
    resolve_device(config.device)
    if env is None:
        make_game(config, 1).close()  # learning from data needs no game, but the tests do
    with open_data(config) if config.data else nullcontext() as data:
        actions = num_actions(env, data)
    if config.init_from:
        networks = build_networks(config, actions, torch.device("cpu"))
        networks.load(RunFolder(Path(config.init_from)).weights(), config.parts)
    else:
        with torch.device("meta"):  # shapes alone
            build_networks(config, actions, torch.device("meta"))


def make_training_env(config: Config) -> VectorEnv:
    """The game to collect from; for the model-free baseline, one row a rollout."""
    rows = config.actor_critic_updates.batch_size if config.model_free else config.collection.num_envs
    return make_game(config, rows)


def open_replay(config: Config, run: RunFolder, env: VectorEnv | None, checkpoint: Checkpoint | None) -> Dataset | None:
    """The data to learn from: `config.data` as it is, or the run's own replay, cut to the checkpoint."""
    if config.data:
        return open_data(config)
    if env is None or config.model_free:
        return None
    if not (run.replay / DESCRIPTION).exists():  # a kill may have left the folder without it
        info = {"env": env.env_id, "action_names": env.action_names}
        Dataset.create(run.replay, (*env.frame_size, 3), num_actions=env.num_actions, info=info).close()
    return Dataset.open(run.replay, writable=True, num_rows=checkpoint.progress["replay_rows"] if checkpoint else 0)


def open_data(config: Config) -> Dataset:
    """The data set `config.data`, as it is."""
    if config.model_free:
        raise UserError("the model-free baseline learns from the game itself: leave out --data or --model-free")
    dataset = Dataset.open(config.data)
    wanted = (config.environment.height, config.environment.width, 3)
    if dataset.format.frame_shape != wanted:
        height, width, _ = dataset.format.frame_shape
        dataset.close()
        raise UserError(
            f"{config.data} has frames of {height}x{width}: add "
            f"--environment.height {height} --environment.width {width}"
        )
    return dataset


def num_actions(env: VectorEnv | None, dataset: Dataset | None) -> int:
    """How many actions the game has, or the data set says it has."""
    if env is not None:
        return env.num_actions
    if dataset is None or dataset.format.num_actions is None:
        raise UserError("the data set's actions are multi-hot: this trainer needs discrete ones")
    return dataset.format.num_actions


def _starting_point(trainer: Trainer, config: Config, checkpoint: Checkpoint | None) -> Progress:
    if checkpoint is not None:
        trainer.restore(checkpoint)
        return Progress(**checkpoint.progress["progress"])
    if config.init_from:
        trainer.networks.load(RunFolder(Path(config.init_from)).weights(trainer.device), config.parts)
    return Progress()
