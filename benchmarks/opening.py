"""How long a large data set takes to open, and how much memory: python -m benchmarks.opening --out DIR [--rows 5000000]

The data set has frames of 8x8 pixels and is made in bulk: how long opening takes goes by the rows. It is opened in a
process of its own: with every row checked, as after a copy; cold, with the system's memory of its files dropped; and
again. Writes opening.json to --out; the data set is removed in the end.
"""

import multiprocessing
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from zlib import crc32

import numpy as np
from annotated_types import Ge, Le

from benchmarks.measuring import command, make_folder, write_compact_json
from benchmarks.windows import forget
from diffworld.data import Dataset
from diffworld.data.frames import CRC_BYTES
from diffworld.data.schema import FINAL, FRAMES, ROWS, STEP, TRUNCATED
from diffworld.game import ActionSpace, GameSpec
from diffworld.runtime.progress import Display

EPISODE = 1001
"""Rows of an episode: steps, and what the last one leads to."""
SPEC = GameSpec("noise", 8, 8, ActionSpace.discrete(4))


@dataclass(frozen=True)
class Options:
    """Open a large data set."""

    out: Path
    """Folder of opening.json; the data set is made there, too."""
    rows: Annotated[int, Ge(1), Le(10**9)] = 5_000_000
    """Of the data set, at least."""


def make(folder: Path, rows: int) -> None:
    """A data set in `folder`, episode by episode."""
    Dataset.create(folder, SPEC).close()
    with Dataset.open(folder) as data:
        record = data.schema.record
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (EPISODE, *SPEC.frame_shape), dtype=np.uint8)
    sums, size = [crc32(frame.tobytes()) for frame in frames], record.itemsize
    records = np.zeros(EPISODE, record)
    records["action"], records["flags"] = rng.integers(0, 4, EPISODE), STEP
    records["flags"][-2:], records["action"][-1] = (STEP | TRUNCATED, FINAL), 0
    with (folder / FRAMES).open("wb") as of_frames, (folder / ROWS).open("wb") as of_rows:
        for episode in range(-(-rows // EPISODE)):
            records["episode"] = episode
            whole = records.tobytes()
            places = range(0, len(whole), size)
            records["crc"] = [
                crc32(whole[at : at + size - CRC_BYTES], frame) for at, frame in zip(places, sums, strict=True)
            ]
            of_frames.write(frames.tobytes())
            of_rows.write(records.tobytes())


def opened(folder: Path) -> dict[str, Any]:
    """What opening takes, the first time and later."""
    before, found = _most_memory(), dict[str, Any]()
    found["every row checked"] = _seconds(folder, check=True)
    for name in (FRAMES, ROWS):
        forget(folder / name)
    found["cold"] = _seconds(folder)
    found["again"] = _seconds(folder)
    with Dataset.open(folder) as data:
        found["rows"], found["episodes"] = data.num_rows, data.num_episodes
    found["megabytes"] = (_most_memory() - before) / 1e6
    return found


def _seconds(folder: Path, check: bool = False) -> dict[str, float]:
    """By the clock, and of the processor."""
    begun, work = time.perf_counter(), time.process_time()
    Dataset.open(folder, writable=check, checking=(lambda _: None) if check else None).close()
    return {"seconds": time.perf_counter() - begun, "processor_seconds": time.process_time() - work}


def _most_memory() -> int:
    """The most bytes that this process ever took."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run(options: Options) -> None:
    """Make, open, write, say."""
    make_folder(options.out)
    with tempfile.TemporaryDirectory(dir=options.out) as place:
        folder = Path(place) / "data"
        make(folder, options.rows)
        with multiprocessing.get_context("spawn").Pool(1) as process:
            found = process.apply(opened, (folder,))
    write_compact_json(options.out / "opening.json", found)
    display = Display()
    display.line(f"{found['rows']:,} rows, {found['episodes']:,} episodes: {found['megabytes']:,.0f} MB of memory")
    for how in ("every row checked", "cold", "again"):
        display.line(f"  {how}: {found[how]['seconds']:.1f} s, {found[how]['processor_seconds']:.1f} of the processor")


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    return command(Options, "python -m benchmarks.opening", run, arguments)


if __name__ == "__main__":
    sys.exit(main())
