"""What a run would be: its configuration, sizes, memory, and time from a few measured updates."""

import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from diffworld.config import PARTS, Config, Part, to_json
from diffworld.device import resolve_device
from diffworld.replay import Dataset
from diffworld.training.run import make_training_env
from diffworld.training.trainer import Trainer

MEASURED_SECONDS = 10.0  # at most about this long on each network
GIB = 2**30


def dry_run(config: Config) -> None:
    """Print it all; nothing is written where the run would be."""
    config.check()
    resolve_device(config.device)
    print(to_json(config))
    env = make_training_env(config)
    try:
        with tempfile.TemporaryDirectory() as folder:
            dataset = None if config.model_free else _grey_data(config, env.num_actions, Path(folder))
            trainer = Trainer(config, env.num_actions, dataset, env)
            parts: tuple[Part, ...] = ("actor_critic",) if config.model_free else PARTS
            counts = trainer.networks.parameter_counts()
            for part in parts:
                print(f"{part:14} {counts[part]:>12,} parameters")
            _print_memory(config, sum(counts[part] for part in parts))
            seconds = {part: _seconds_an_update(trainer, part) for part in parts}
            _print_time(config, seconds)
            if dataset is not None:
                dataset.close()
    finally:
        env.close()


def epochs(config: Config) -> int:
    """Epochs of a run, if the first collection is no longer than it must be."""
    c = config.collection
    if config.data:
        return config.epochs_on_data
    if config.model_free:
        a = config.actor_critic_updates
        updates = -(-c.total_steps // (a.batch_size * config.horizon))
        return 1 + max(0, -(-(updates - a.first_steps) // a.steps))
    return 1 + max(0, -(-(c.total_steps - c.first_steps) // c.steps_per_epoch)) + config.epochs_after_collection


def _grey_data(config: Config, num_actions: int, folder: Path) -> Dataset:
    """A little data of the right shape: the time of an update does not depend on what it shows."""
    shape = (config.environment.height, config.environment.width, 3)
    dataset = Dataset.create(folder / "data", shape, num_actions=num_actions)
    episode, rng = dataset.new_episode(), np.random.default_rng(0)
    for _ in range(64):
        dataset.append(episode, rng.integers(0, 256, shape, dtype=np.uint8), 0, 0.0, False, False)
    return dataset


def _seconds_an_update(trainer: Trainer, part: Part) -> float:
    """Median time of an update, after one that warms up."""
    trainer.update(part)
    times: list[float] = []
    while sum(times) < MEASURED_SECONDS and len(times) < 10:
        start = time.perf_counter()
        trainer.update(part)
        trainer.averages.means()  # waits for the device
        times.append(time.perf_counter() - start)
    return median(times)


def _print_memory(config: Config, parameters: int) -> None:
    e = config.environment
    training = 16 * parameters  # weight, gradient and AdamW's two moments, 4 bytes each
    replay = config.collection.total_steps * (e.height * e.width * 3 + 17)
    print(f"weights, gradients and optimisers {training / GIB:.2f} GiB; a checkpoint {12 * parameters / GIB:.2f} GiB")
    if not config.model_free:
        print(f"replay {replay / GIB:.2f} GiB on disk, read through the page cache")


def _print_time(config: Config, seconds: dict[Part, float]) -> None:
    count = epochs(config)
    total = 0.0
    for part, each in seconds.items():
        u = config.updates(part)
        updates = u.first_steps + (count - 1) * u.steps
        total += updates * each
        print(f"{part:14} {updates:>12,} updates of {each:.3f} s: {duration(updates * each)}")
    print(f"about {duration(total)} for {count} epochs, without collection and tests")


def duration(seconds: float) -> str:
    """Seconds in the unit that people would use, such as "1.5 hours"."""
    minutes = seconds / 60
    if minutes < 90:
        return f"{minutes:.1f} minutes"
    return f"{minutes / 60:.1f} hours" if minutes < 60 * 48 else f"{minutes / 60 / 24:.1f} days"
