"""What the loop around the networks costs of an epoch: python -m benchmarks.loop_share --out DIR [--updates N]

A real run on a real game with networks of the paper's size: a replay is collected, every network is updated once to
warm up, then one epoch of 100 real steps and N updates of each network is timed piece by piece, and scaled to the
epoch of preset atari100k: collection and logging as they are, what belongs to an update from N to 400, saving to once
in 60 s. Tests in the real game, after each tenth epoch, are no part of it. Writes loop_share.json and loop_share.png.
"""

import functools
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.edm_ddpm_figures import write_compact_json
from benchmarks.measuring import (
    COLOURS,
    command,
    dress,
    machine,
    make_folder,
    new_figure,
    require_positive,
    save_figure,
)
from diffworld.config import PARTS, Config
from diffworld.presets import preset
from diffworld.run_folder import RunFolder
from diffworld.training import trainer as trainer_module
from diffworld.training.display import Display
from diffworld.training.interrupt import StopRequest
from diffworld.training.loop import Loop, Progress
from diffworld.training.metrics import MetricsLog
from diffworld.training.run import make_training_env, open_replay
from diffworld.training.trainer import Trainer

PROGRAM = "python -m benchmarks.loop_share"
READS = ("sample_ending_near", "sample_around", "to_batch")
NEVER = 1e9  # seconds


@dataclass(frozen=True)
class Options:
    """Time sampling, collection, logging and saving beside the networks' own time, at paper size on a real game."""

    out: Path
    """Folder of loop_share.json and loop_share.png."""
    updates: int = 3
    """Updates of each network that are timed."""
    replay: int = 5_000
    """Real steps in the replay."""
    env: str = "atari/Breakout"
    """The game."""


class Stopwatch:
    """Adds up the seconds spent in the functions it watches, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def watch(self, owner: Any, attribute: str, name: str) -> Iterator[None]:
        """Count the time of `owner.attribute(...)` under `name` while the context lasts."""
        original = getattr(owner, attribute)

        @functools.wraps(original)
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - start

        setattr(owner, attribute, timed)
        try:
            yield
        finally:
            setattr(owner, attribute, original)


def short_run(paper: Config, options: Options) -> Config:
    """A run that ends after its first epoch: the replay collected, each network updated once; it saves at the end."""
    collection = replace(
        paper.collection, first_steps=options.replay, first_steps_max=options.replay, total_steps=options.replay
    )
    updates: dict[str, Any] = {
        f"{part}_updates": replace(paper.updates(part), first_steps=1, steps=options.updates) for part in PARTS
    }
    return replace(
        paper,
        env=options.env,
        collection=collection,
        evaluation=replace(paper.evaluation, every_epochs=0),
        epochs_after_collection=0,
        checkpoint_seconds=NEVER,
        **updates,
    )


def timed_epoch(config: Config, folder: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """Seconds of each piece of the second epoch of a `short_run`, and the machine."""
    watch, display, run = Stopwatch(), Display(), RunFolder(folder)
    with ExitStack() as resources:
        stop = resources.enter_context(StopRequest())
        env = resources.enter_context(closing(make_training_env(config)))
        run.begin(config)
        dataset = open_replay(config, run, env, None)
        assert dataset is not None
        trainer = Trainer(config, env.num_actions, resources.enter_context(dataset), env)
        log = resources.enter_context(MetricsLog(folder, config=asdict(config)))
        loop = Loop(config, run, trainer, Progress(), display, log, stop)
        loop.run()
        for owner, attribute, name in (
            (trainer.collector, "collect", "collection"),
            (trainer, "update", "updates"),
            *((trainer_module, read, "windows") for read in READS),
            (log, "write", "logging"),
            (loop, "save", "saving"),
            (loop, "run", "all"),
        ):
            resources.enter_context(watch.watch(owner, attribute, name))
        more = config.collection.total_steps + config.collection.steps_per_epoch
        loop.config = replace(config, collection=replace(config.collection, total_steps=more))
        loop.run()
        return dict(watch.seconds), machine(trainer)


def scaled(seconds: dict[str, float], paper: Config, updates: int) -> dict[str, float]:
    """Seconds of each piece of a whole epoch of `paper`, from those of one with so many updates of each network."""
    factor = paper.denoiser_updates.steps / updates  # alike for all three
    rest = seconds["all"] - sum(seconds[name] for name in ("collection", "updates", "logging", "saving"))
    pieces = {
        "networks": (seconds["updates"] - seconds["windows"]) * factor,
        "collection": seconds["collection"],
        "windows": seconds["windows"] * factor,
        "logging": seconds["logging"],
        "all else": rest * factor,  # as if all of it came with each update: not less than it is
    }
    return pieces | {"saving": sum(pieces.values()) / paper.checkpoint_seconds * seconds["saving"]}


def draw_share(record: dict[str, Any], path: Path) -> None:
    """A bar for each piece, seconds an epoch on a logarithmic scale, its share written beside it, PNG."""
    pieces = dict(sorted(record["seconds_an_epoch"].items(), key=lambda item: item[1]))
    total = sum(pieces.values())
    figure = new_figure(8, 3.4)
    axes = figure.subplots()
    colours = [COLOURS[1] if name == "networks" else COLOURS[0] for name in pieces]
    axes.barh(list(pieces), list(pieces.values()), color=colours, height=0.6)
    for row, value in enumerate(pieces.values()):
        seconds = f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
        axes.text(value * 1.15, row, f"{seconds} s, {100 * value / total:.2g} %", va="center", fontsize=9)
    axes.set_xscale("log")
    axes.set_xlim(min(pieces.values()) / 3, total * 12)
    m = record["machine"]
    title = f"An epoch at paper size: the loop takes {record['loop_share']:.2%}"
    dress(axes, title, f"seconds an epoch ({m['processor']}, {m['threads']} threads)", "")
    save_figure(figure, path)


def run(options: Options) -> None:
    """Measure, scale, print, draw."""
    require_positive(options, "updates", "replay")
    make_folder(options.out)
    report(preset("atari100k"), options)


def report(paper: Config, options: Options) -> None:
    """Time an epoch of `paper`, and write what came out."""
    with tempfile.TemporaryDirectory() as folder:
        seconds, about = timed_epoch(short_run(paper, options), Path(folder) / "run")
    pieces = scaled(seconds, paper, options.updates)
    total = sum(pieces.values())
    record = {
        "env": options.env,
        "updates": options.updates,
        "replay": options.replay,
        "machine": about,
        "measured_seconds": {name: float(f"{value:.4g}") for name, value in seconds.items()},
        "seconds_an_epoch": {name: float(f"{value:.4g}") for name, value in pieces.items()},
        "loop_share": float(f"{1 - pieces['networks'] / total:.4g}"),
    }
    for name, value in pieces.items():
        print(f"{name:12} {value:>12,.3f} s {value / total:>9.3%}")
    print(f"the loop around the networks: {record['loop_share']:.3%} of {total:,.0f} s")
    draw_share(record, options.out / "loop_share.png")
    write_compact_json(options.out / "loop_share.json", record)
    print(f"see {options.out / 'loop_share.png'} and loop_share.json")


main = partial(command, Options, PROGRAM, run)

if __name__ == "__main__":
    sys.exit(main())
