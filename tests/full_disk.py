"""A run of two ranks on a disk that is full in the middle, and goes on once the disk is larger.

    unshare --user --map-root-user --mount python tests/full_disk.py FOLDER KIB OPTIONS...

Mounts a disk of so many KiB in FOLDER/disk, which this process and its children alone see, trains there, and copies
what is left at the end to FOLDER/run. Prints as JSON what became of it.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from diffworld.cli import main
from tests.several_ranks import Started

OWN_MOUNTS = ["unshare", "--user", "--map-root-user", "--mount"]
"""Runs a command that may mount disks, whoever the user is, where the system allows it."""


def mount(folder: Path, *options: str) -> None:
    """Mount a disk in memory, or mount it again with other options."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)], check=True)


def train(folder: Path, name: str, options: list[str]) -> dict[str, object]:
    """Exit codes and lines on standard error of two ranks."""
    started = Started(main, [(["train", *options, "--out", str(folder / "disk" / "run")],)] * 2, folder / name)
    return {"codes": started.wait(), "errors": started.errors()}


if __name__ == "__main__":
    place, kib, *given = Path(sys.argv[1]), *sys.argv[2:]
    (disk := place / "disk").mkdir()
    mount(disk, f"size={kib}k")
    full = train(place, "full", given)
    torn = [str(path.relative_to(disk)) for path in disk.rglob(".*.tmp")]
    mount(disk, "remount", "size=100m")
    larger = train(place, "larger", given)
    shutil.copytree(disk / "run", place / "run")
    print(json.dumps({"full": full, "torn": torn, "larger": larger}))
