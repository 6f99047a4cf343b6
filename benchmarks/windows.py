"""How fast windows come from hours of play: python -m benchmarks.windows --out DIR [--hours 10] [--quick]

Makes a data set of noise as the import stores it (360p becomes 32x56 by default), opens it, and draws windows as the
denoiser trains on them: cold, with the system's memory of the file dropped first, and warm. Writes windows.json to
--out; the data set is removed in the end.
"""

import os
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt, Le

from benchmarks.measuring import command, machine, make_folder, write_compact_json
from diffworld.config import preset
from diffworld.data import Dataset, sample_context_windows
from diffworld.data.schema import FRAMES
from diffworld.game import ActionSpace, GameSpec, Keys
from diffworld.runtime.checked import Count
from diffworld.runtime.errors import UserError

EPISODE = 1000
BATCH = 32
"""Windows that are drawn together."""
UNSEEN = 0.02
"""Share of the frames that are drawn cold, at most: from then on too many have been seen before."""


@dataclass(frozen=True)
class Options:
    """Draw windows from hours of play, cold and warm."""

    out: Path
    """Folder of windows.json; the data set is made there, too."""
    hours: Annotated[float, Gt(0), Le(1000)] = 10.0
    """Of play."""
    steps_per_second: Count = 20
    """Of play."""
    height: Count = 32
    """Of the frames, pixels."""
    width: Count = 56
    """Of the frames, pixels."""
    length: Count = 6
    """Frames of a window."""
    seconds: Annotated[float, Gt(0), Le(600)] = 10.0
    """How long each way is measured."""
    quick: bool = False
    """A minute of play and a tenth of a second: to see that all runs, not to quote."""


def make_data(options: Options, folder: Path) -> int:
    """A data set of noise of so many steps; UserError where there is no room for it."""
    spec = GameSpec("noise", options.height, options.width, ActionSpace((Keys(("w", "a", "s", "d")),)))
    steps = round(options.hours * 3600 * options.steps_per_second)
    needed, free = steps * 3 * options.height * options.width, shutil.disk_usage(folder).free
    if needed > 0.9 * free:
        raise UserError(f"{needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB free: lower --hours or the size")
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (64, *spec.frame_shape), dtype=np.uint8)
    actions = spec.actions.sample(rng, 64)
    with Dataset.create(folder / "data", spec) as data:
        for step in range(steps):
            if step % EPISODE == 0:
                episode = data.new_episode()
            last = step % EPISODE == EPISODE - 1
            final = frames[0] if last else None
            data.append(episode, frames[step % 64], actions[step % 64], 0.0, False, last, final)
    return steps


def windows_a_second(data: Dataset, options: Options, share: float = np.inf) -> float:
    """How many come in a second, over about the seconds asked for, or until that share of the frames was drawn."""
    rng, count, passed, begun = np.random.default_rng(0), 0, 0.0, time.perf_counter()
    while not count or (passed < options.seconds and count * options.length < share * data.num_steps):
        sample_context_windows(data, rng, BATCH, options.length, recency=False)
        count, passed = count + BATCH, time.perf_counter() - begun
    return count / passed


def forget(path: Path) -> None:
    """Let the system drop what it remembers of a file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(options: Options, folder: Path) -> dict[str, Any]:
    """Make the data, open them, draw."""
    if options.quick:
        options = replace(options, hours=1 / 60, seconds=0.1)
    steps = make_data(options, folder)
    begun = time.perf_counter()
    with Dataset.open(folder / "data") as data:
        opened = time.perf_counter() - begun
        frames = folder / "data" / FRAMES
        forget(frames)
        cold = windows_a_second(data, options, UNSEEN)
        with frames.open("rb") as file:  # all of it is in memory then, where memory is large enough
            while file.read(2**24):
                pass
        warm = windows_a_second(data, options)
    return {
        "machine": machine(preset("world-small")),
        "options": {name: value for name, value in asdict(options).items() if name != "out"},
        "steps": steps,
        "gigabytes": steps * 3 * options.height * options.width / 1e9,
        "opened_in_seconds": opened,
        "windows_a_second": {"cold": cold, "warm": warm},
    }


def run(options: Options) -> None:
    """Measure, write, say."""
    make_folder(options.out)
    with tempfile.TemporaryDirectory(dir=options.out) as folder:
        record = measure(options, Path(folder))
    write_compact_json(options.out / "windows.json", record)
    speeds = record["windows_a_second"]
    print(f"{record['gigabytes']:.1f} GB, {record['steps']:,} steps, opened in {record['opened_in_seconds']:.1f} s")
    for kind, speed in speeds.items():
        print(f"{kind}: {speed:,.0f} windows of {options.length} frames a second, {1000 / speed:.2f} ms each")


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    return command(Options, "python -m benchmarks.windows", run, arguments)


if __name__ == "__main__":
    sys.exit(main())
