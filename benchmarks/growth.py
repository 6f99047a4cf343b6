"""How the cost of each part grows: python -m benchmarks.growth --out DIR [--quick]

Networks of the paper's size, batch 4 and dreams of 5 steps (short, so that it runs on a CPU) are the centre; one
setting at a time is varied around it, and the parts that it touches are timed. The slope of a line, drawn log-log, is
the power of the setting that the time grows with. Writes growth.json and growth.png to --out.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from benchmarks.measuring import (
    COLOURS,
    command,
    dress,
    machine,
    make_folder,
    new_figure,
    noise_spec,
    random_data,
    save_figure,
    seconds,
    untrained,
    write_compact_json,
)
from benchmarks.speed import imagine
from diffworld.config import NETWORKS, RECIPE_NETWORKS, Config, preset
from diffworld.data import (
    Dataset,
    Episodes,
    frame_batch,
    sample_context_windows,
    sample_transition_windows,
    transition_batch,
)
from diffworld.runtime.checked import Count
from diffworld.runtime.device import resolve_device
from diffworld.runtime.errors import UserError
from diffworld.training.trainer import Trainer

PROGRAM = "python -m benchmarks.growth"
UPDATES = ("denoiser update", "reward/end update", "actor-critic update")
FRAME = "imagined frame"
READS = ("32 denoiser windows", "32 reward/end windows", "index of the episodes")
EPISODE = 1000
"""Steps of an episode of the replay that sampling is timed on."""
AGREE = 1.1
"""A part is timed again, at most `repetitions` times, until its two least times are within this ratio."""


@dataclass(frozen=True)
class Options:
    """Time each part of training while one setting at a time grows: batch, horizon, frames, channels, steps, replay."""

    out: Path
    """Folder of growth.json and growth.png."""
    quick: bool = False
    """Only two values of each setting, one repetition: to see that all runs, not to quote."""
    repetitions: Count = 6
    """Each time is the least of at most so many."""
    batch: tuple[Count, ...] = (4, 8, 16, 32)
    """Windows of an update, or dreams side by side."""
    horizon: tuple[Count, ...] = (5, 15, 30)
    """Steps of a dream."""
    side: tuple[Count, ...] = (32, 64, 96)
    """Height and width of the frames, pixels."""
    channels: tuple[Count, ...] = (32, 64, 96)
    """Of each level of the denoiser and of the reward/end model."""
    denoising_steps: tuple[Count, ...] = (1, 2, 3, 5, 10)
    """Of an imagined frame."""
    replay: tuple[Count, ...] = (1_000, 10_000, 100_000)
    """Real steps in the replay."""


@dataclass(frozen=True)
class Setting:
    """One thing to vary: its values, the configuration with a value of it, and the parts whose time it changes."""

    name: str
    unit: str
    values: tuple[int, ...]
    configure: Callable[[Config, int], Config]
    parts: tuple[str, ...]


def centre() -> Config:
    """Paper size, but for a small batch and short dreams."""
    config = replace(preset("atari100k"), horizon=5, compile="off")
    return with_batch(config, 4)


def with_batch(config: Config, size: int) -> Config:
    """All three updates with that batch size."""
    updates: dict[str, Any] = {f"{name}_updates": replace(config.updates(name), batch_size=size) for name in NETWORKS}
    return replace(config, **updates)


def with_side(config: Config, side: int) -> Config:
    """Square frames."""
    return replace(config, environment=replace(config.environment, height=side, width=side))


def with_channels(config: Config, channels: int) -> Config:
    """All levels of both networks of the world model that wide."""
    d, r = config.denoiser, config.reward_end
    return replace(
        config,
        denoiser=replace(d, channels=(channels,) * len(d.channels)),
        reward_end=replace(r, channels=(channels,) * len(r.channels)),
    )


def with_denoising_steps(config: Config, steps: int) -> Config:
    """Frames drawn in so many steps."""
    return replace(config, sampler=replace(config.sampler, denoising_steps=steps))


def settings(o: Options) -> list[Setting]:
    """All but the replay's size."""
    return [
        Setting("batch", "windows or dreams", o.batch, with_batch, (*UPDATES, FRAME)),
        Setting("horizon", "imagined steps", o.horizon, lambda c, n: replace(c, horizon=n), UPDATES[2:]),
        Setting("frame side", "pixels", o.side, with_side, (*UPDATES, FRAME)),
        Setting("channels", "channels of each level", o.channels, with_channels, (*UPDATES, FRAME)),
        Setting("denoising steps", "steps", o.denoising_steps, with_denoising_steps, (*UPDATES[2:], FRAME)),
    ]


@dataclass
class Clock:
    """Times parts of configurations; what was timed before, such as the centre, is not timed again."""

    repetitions: int
    known: dict[tuple[Config, str], float] = field(default_factory=dict)

    def time(self, config: Config, parts: tuple[str, ...]) -> dict[str, float]:
        """Least seconds of each part."""
        missing = [part for part in parts if (config, part) not in self.known]
        if missing:
            with tempfile.TemporaryDirectory() as folder, random_data(config, Path(folder)) as dataset:
                trainer = untrained(config, dataset)
                for part in missing:
                    self.known[config, part] = self.least(lambda part=part: work(trainer, part), trainer.device)
        return {part: self.known[config, part] for part in parts}

    def least(self, do: Callable[[], object], device: torch.device) -> float:
        """The least seconds of doing it, after once to warm up: what else the machine does can only add to it."""
        do()
        taken = [seconds(do, device)]
        while len(taken) < self.repetitions and not agree(taken):
            taken.append(seconds(do, device))
        return min(taken)


def agree(taken: list[float]) -> bool:
    """Whether the two least are alike, so that no passing disturbance was in both."""
    first, second, *_ = [*sorted(taken), np.inf, np.inf]
    return second <= first * AGREE


def work(trainer: Trainer, part: str) -> None:
    """Do one part of training once."""
    if part == FRAME:
        imagine(trainer)
    else:
        trainer.update(RECIPE_NETWORKS["diamond"][UPDATES.index(part)])


def reads(dataset: Dataset, config: Config, device: torch.device) -> dict[str, Callable[[], object]]:
    """What training asks of the replay: the windows of two updates of batch 32, and the index after a collection."""
    n, rng = config.denoiser.context_frames, np.random.default_rng(0)
    length, around = n + 1 + config.denoiser.autoregressive_steps, n + config.reward_end.window
    return {
        READS[0]: lambda: frame_batch(sample_context_windows(dataset, rng, 32, length), device),
        READS[1]: lambda: transition_batch(sample_transition_windows(dataset, rng, 32, around), device),
        READS[2]: lambda: Episodes(dataset.episodes.records),
    }


def read_times(config: Config, clock: Clock, sizes: tuple[int, ...]) -> Iterator[tuple[int, dict[str, float]]]:
    """(steps, least seconds of each read) while one replay grows through `sizes`, its file in the page cache."""
    spec = noise_spec(config)
    frames = np.random.default_rng(0).integers(0, 256, (64, *spec.frame_shape), dtype=np.uint8)
    clock, device = replace(clock, repetitions=20), resolve_device(config.device)
    with tempfile.TemporaryDirectory() as folder, Dataset.create(folder, spec) as dataset:
        for size in sorted(sizes):
            while dataset.num_steps < size:
                grow(dataset, frames, min(EPISODE, size - dataset.num_steps))
            yield size, {part: clock.least(do, device) for part, do in reads(dataset, config, device).items()}


def grow(dataset: Dataset, frames: np.ndarray, steps: int) -> None:
    """Add an episode of so many steps, showing `frames` (T, H, W, 3) over and over."""
    episode = dataset.new_episode()
    for t in range(steps):
        last = t == steps - 1
        dataset.append(episode, frames[t % len(frames)], 0, 0.0, last, False, frames[0] if last else None)


def slope(values: list[int], taken: list[float]) -> float:
    """The power of the value that the time grows with: least squares through the logarithms."""
    return float(np.polyfit(np.log(values), np.log(taken), 1)[0])


def entry(name: str, unit: str, rows: list[tuple[int, dict[str, float]]]) -> dict[str, Any]:
    """One panel of the figure: times in seconds, by part."""
    values = [value for value, _ in rows]
    parts = {}
    for part in rows[0][1]:
        taken = [times[part] for _, times in rows]
        parts[part] = {"seconds": [float(f"{t:.4g}") for t in taken], "slope": round(slope(values, taken), 2)}
    return {"setting": name, "unit": unit, "values": values, "parts": parts}


def measure(options: Options, config: Config) -> dict[str, Any]:
    """The whole record, with `config` as the centre; prints each setting as it is done."""
    for s in settings(options):
        for value in s.values:
            s.configure(config, value).check()
    clock, entries = Clock(options.repetitions), []
    for s in settings(options):
        rows = [(value, clock.time(s.configure(config, value), s.parts)) for value in s.values]
        entries.append(show(entry(s.name, s.unit, rows)))
    entries.append(show(entry("replay", "real steps", list(read_times(config, clock, options.replay)))))
    around = f"paper size, batch {config.denoiser_updates.batch_size}, horizon {config.horizon}"
    return {"centre": around, "quick": options.quick, "machine": machine(config), "growth": entries}


def show(measured: dict[str, Any]) -> dict[str, Any]:
    """Print the times of one setting, and give them back."""
    print(f"{measured['setting']:24}" + "".join(f"{value:>10,}" for value in measured["values"]) + "     slope")
    for part, times in measured["parts"].items():
        print(f"  {part:22}" + "".join(f"{readable(t):>10}" for t in times["seconds"]) + f"{times['slope']:>10.2f}")
    sys.stdout.flush()
    return measured


def readable(taken: float) -> str:
    """Seconds with a unit."""
    return f"{taken:.3g} s" if taken >= 1 else f"{taken * 1e3:.3g} ms"


def draw_growth(record: dict[str, Any], path: Path) -> None:
    """One panel a setting, log-log, each line's slope in its legend, PNG."""
    figure = new_figure(13, 8)
    colours = dict(zip((*UPDATES, FRAME, *READS), (*COLOURS[:4], *COLOURS[:3]), strict=True))
    for axes, measured in zip(figure.subplots(2, 3).flat, record["growth"], strict=True):
        for part, times in measured["parts"].items():
            label = f"{part}: slope {times['slope']:.2f}"
            axes.plot(measured["values"], times["seconds"], "o-", color=colours[part], label=label, markersize=4)
        name = measured["setting"]
        dress(axes, name[0].upper() + name[1:], measured["unit"], "time")
        logarithmic(axes, measured)
    m = record["machine"]
    figure.suptitle(
        f"Time of each part as one setting grows; else {record['centre']}\n{m['processor']}, {m['threads']} threads, "
        f"{m['ours'].split(',')[0]}",
        fontsize=12,
    )
    save_figure(figure, path)


def logarithmic(axes: Axes, measured: dict[str, Any]) -> None:
    """Both axes by powers, ticks where something was measured, room above the lines for the legend."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(measured["values"]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    every = [t for times in measured["parts"].values() for t in times["seconds"]]
    low, high = min(every) / 1.5, max(every) * 1.5
    axes.set_ylim(low, high * (high / low) ** (0.15 * len(measured["parts"])))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: readable(value)))
    axes.legend(loc="upper left", frameon=False, fontsize=9)


def run(options: Options) -> None:
    """Measure, draw, write; UserError for settings that cannot be."""
    names = ("batch", "horizon", "side", "channels", "denoising_steps", "replay")
    if options.quick:
        firsts = {name: getattr(options, name)[:2] for name in names}
        options = replace(options, repetitions=1, **firsts)
    for name in names:
        values = getattr(options, name)
        if len(set(values)) < 2:
            raise UserError(f"--{name.replace('_', '-')} needs two or more different numbers")
    make_folder(options.out)
    record = measure(options, centre())
    draw_growth(record, options.out / "growth.png")
    write_compact_json(options.out / "growth.json", record)
    print(f"see {options.out / 'growth.png'} and growth.json")


main = partial(command, Options, PROGRAM, run)

if __name__ == "__main__":
    sys.exit(main())
