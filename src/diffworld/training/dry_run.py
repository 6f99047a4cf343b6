"""What a run would be: its configuration, sizes, memory, and time from a few measured updates."""

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np

from diffworld.config import Config, NetworkName
from diffworld.data import Dataset
from diffworld.runtime.progress import duration
from diffworld.spec import GameSpec
from diffworld.training.run import make_trainer, open_source
from diffworld.training.trainer import Trainer

MEASURED_SECONDS = 10.0  # at most about this long on each network
GIB = 2**30


def dry_run(config: Config) -> None:
    """Print it all; nothing is written where the run would be."""
    config.check()
    with ExitStack() as resources:
        env, data = open_source(config, resources, new=True)
        print(config.to_json())
        spec = (env or data).spec  # type: ignore[union-attr]
        if config.recipe == "diamond":
            folder = resources.enter_context(tempfile.TemporaryDirectory())
            data = resources.enter_context(_grey_data(spec, Path(folder)))
        trainer = make_trainer(config, spec, data, env)
        counts = trainer.networks.parameter_counts()
        for name, count in counts.items():
            print(f"{name:14} {count:>12,} parameters")
        parameters = sum(counts.values())
        # Weight, gradient and AdamW's two moments, 4 bytes each.
        training, saved = 16 * parameters / GIB, 12 * parameters / GIB
        print(f"weights, gradients and optimisers {training:.2f} GiB; a checkpoint {saved:.2f} GiB")
        if config.recipe == "diamond":
            replay = config.collection.total_steps * (3 * spec.height * spec.width + 17) / GIB
            print(f"replay {replay:.2f} GiB on disk, read through the page cache")
        _print_time(trainer, config.total_epochs)


def _grey_data(spec: GameSpec, folder: Path) -> Dataset:
    """A little data of the right shape: the time of an update does not depend on what it shows."""
    dataset = Dataset.create(folder / "data", spec)
    episode, rng = dataset.new_episode(), np.random.default_rng(0)
    for _ in range(64):
        frame = rng.integers(0, 256, spec.frame_shape, dtype=np.uint8)
        dataset.append(episode, frame, spec.actions.idle, 0.0, False, False)
    return dataset


def _seconds_an_update(trainer: Trainer, name: NetworkName) -> float:
    """Median time of an update, after one that warms up."""
    trainer.update(name)
    times: list[float] = []
    while sum(times) < MEASURED_SECONDS and len(times) < 10:
        start = time.perf_counter()
        trainer.update(name)
        trainer.averages.means()  # waits for the device
        times.append(time.perf_counter() - start)
    return median(times)


def _print_time(trainer: Trainer, count: int) -> None:
    total = 0.0
    for name, part in trainer.recipe.parts.items():
        each = _seconds_an_update(trainer, name)
        updates = part.updates.first_steps + (count - 1) * part.updates.steps
        total += updates * each
        print(f"{name:14} {updates:>12,} updates of {each:.3f} s: {duration(updates * each)}")
    print(f"about {duration(total)} for {count} epochs, without collection and tests")
