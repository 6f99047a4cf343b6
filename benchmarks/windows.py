"""How fast windows come from hours of play: python -m benchmarks.windows --out DIR [--hours 10] [--like DATA] [--quick]

Makes a data set as the import stores it (360p becomes 32x56 by default), once with raw frames and once with compressed
ones, opens it, and draws windows as the denoiser trains on them: cold, with the system's memory of the file dropped
first, and warm. Frames are noise, the hardest to compress, or those of another data set, resized. Writes windows.json
to --out; the data sets are removed in the end.
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
from PIL import Image

from benchmarks.measuring import command, machine, make_folder, write_compact_json
from diffworld.config import preset
from diffworld.data import Compress, Dataset, sample_context_windows
from diffworld.data.schema import FRAMES
from diffworld.game import ActionSpace, GameSpec, Keys
from diffworld.runtime.checked import Count
from diffworld.runtime.errors import UserError
from diffworld.runtime.frames import Film

EPISODE = 1000
BATCH = 32
"""Windows that are drawn together."""
UNSEEN = 0.02
"""Share of the frames that are drawn cold, at most: from then on too many have been seen before."""
KINDS = 256
"""Different frames that are stored, in turn."""
FORMS: dict[str, Compress] = {"raw": "off", "compressed": "on"}


@dataclass(frozen=True)
class Options:
    """Draw windows from hours of play, cold and warm, raw and compressed."""

    out: Path
    """Folder of windows.json; the data sets are made there, too."""
    hours: Annotated[float, Gt(0), Le(1000)] = 10.0
    """Of play."""
    steps_per_second: Count = 20
    """Of play."""
    height: Count = 32
    """Of the frames, pixels."""
    width: Count = 56
    """Of the frames, pixels."""
    like: Path | None = None
    """A data set whose frames are shown, resized (default: noise)."""
    length: Count = 6
    """Frames of a window."""
    seconds: Annotated[float, Gt(0), Le(600)] = 10.0
    """How long each way is measured."""
    quick: bool = False
    """A minute of play and a tenth of a second: to see that all runs, not to quote."""


def pictures(options: Options) -> Film:
    """The frames that are stored."""
    shape = options.height, options.width
    rng = np.random.default_rng(0)
    if options.like is None:
        return rng.integers(0, 256, (KINDS, *shape, 3), dtype=np.uint8)
    with Dataset.open(options.like) as data:
        frames = data.gather_frames(np.sort(rng.integers(0, data.num_rows, KINDS)))
    size, method = shape[::-1], Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, method)) for frame in frames])


def make_data(options: Options, folder: Path, compress: Compress) -> float:
    """A data set of so many steps; the seconds it took. UserError where there is no room for it."""
    spec = GameSpec("noise", options.height, options.width, ActionSpace((Keys(("w", "a", "s", "d")),)))
    steps = round(options.hours * 3600 * options.steps_per_second)
    needed, free = steps * 3 * options.height * options.width, shutil.disk_usage(folder).free
    if needed > 0.9 * free:
        raise UserError(f"{needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB free: lower --hours or the size")
    frames = pictures(options)
    actions = spec.actions.sample(np.random.default_rng(0), len(frames))
    begun = time.perf_counter()
    with Dataset.create(folder / "data", spec, compress=compress) as data:
        for step in range(steps):
            if step % EPISODE == 0:
                episode = data.new_episode()
            last = step % EPISODE == EPISODE - 1
            final = frames[0] if last else None
            data.append(episode, frames[step % KINDS], actions[step % KINDS], 0.0, False, last, final)
    return time.perf_counter() - begun


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


def opened(folder: Path, check: bool) -> float:
    """Seconds that opening takes."""
    begun = time.perf_counter()
    Dataset.open(folder, checking=(lambda _: None) if check else None).close()
    return time.perf_counter() - begun


def measure(options: Options, folder: Path, compress: Compress) -> dict[str, Any]:
    """Make the data, open them, draw."""
    made = make_data(options, folder, compress)
    frames = folder / "data" / FRAMES
    size = frames.stat().st_size
    opens = {"known": opened(folder / "data", False), "checked": opened(folder / "data", True)}
    with Dataset.open(folder / "data") as data:
        forget(frames)
        cold = windows_a_second(data, options, UNSEEN)
        with frames.open("rb") as file:  # all of it is in memory then, where memory is large enough
            while file.read(2**24):
                pass
        warm = windows_a_second(data, options)
        steps = data.num_steps
    shutil.rmtree(folder / "data")
    return {
        "steps": steps,
        "gigabytes": size / 1e9,
        "steps_written_a_second": steps / made,
        "opened_in_seconds": opens,
        "windows_a_second": {"cold": cold, "warm": warm},
    }


def run(options: Options) -> None:
    """Measure, write, say."""
    make_folder(options.out)
    if options.quick:
        options = replace(options, hours=1 / 60, seconds=0.1)
    with tempfile.TemporaryDirectory(dir=options.out) as folder:
        forms = {name: measure(options, Path(folder), compress) for name, compress in FORMS.items()}
    shown = {name: value for name, value in asdict(options).items() if name not in ("out", "like")}
    shown["frames"] = "noise" if options.like is None else "of a data set"
    write_compact_json(
        options.out / "windows.json", {"machine": machine(preset("world-small")), "options": shown, "forms": forms}
    )
    for name, record in forms.items():
        opens = record["opened_in_seconds"]
        print(
            f"{name}: {record['gigabytes']:.2f} GB, {record['steps']:,} steps written at "
            f"{record['steps_written_a_second']:,.0f} a second, opened in {opens['known']:.2f} s, checked in "
            f"{opens['checked']:.1f} s"
        )
        for kind, speed in record["windows_a_second"].items():
            print(f"  {kind}: {speed:,.0f} windows of {options.length} frames a second, {1000 / speed:.2f} ms each")


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    return command(Options, "python -m benchmarks.windows", run, arguments)


if __name__ == "__main__":
    sys.exit(main())
