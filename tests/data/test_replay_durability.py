"""A data set whose writer is killed, whose disk is full or whose bytes are damaged."""

import itertools
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from diffworld.data import Compress, Dataset, DatasetSchema
from diffworld.game import ActionSpace, GameSpec
from diffworld.runtime.errors import UserError
from tests.small_disk import files_no_larger_than

SHAPE = (2, 2, 3)
GAME = GameSpec("toy", 2, 2, ActionSpace.discrete(5))
RECORD_BYTES = 17
SYNCED_ROWS = 15
FORMS = pytest.mark.parametrize("compress", ["off", "on"])

Contents = list[tuple[object, ...]]


class Written(NamedTuple):
    """A data set, its contents at every number of rows, and where each row begins and ends in each of its files."""

    folder: Path
    at: dict[int, Contents]
    rows: dict[str, list[tuple[int, int]]]

    def size(self, name: str, rows: int) -> int:
        """Bytes of a file's first rows."""
        return self.rows[name][rows - 1][1] if rows else 0

    def whole(self, name: str, size: int) -> int:
        """Rows that are whole in so many bytes."""
        return sum(end <= size for _, end in self.rows[name])


def rows_of(folder: Path) -> dict[str, list[tuple[int, int]]]:
    """Where the rows lie, as docs/architecture.md says."""
    schema = DatasetSchema.read(folder)
    records = np.fromfile(folder / "rows.bin", schema.record)
    sizes = records["bytes"].tolist() if schema.frames == "webp" else [12] * len(records)
    frames = [0, *itertools.accumulate(sizes)]
    if schema.frames == "webp":
        assert records["offset"].tolist() == frames[:-1]
    ends = range(0, len(records) * records.itemsize + 1, records.itemsize)
    return {"frames.bin": list(itertools.pairwise(frames)), "rows.bin": list(itertools.pairwise(ends))}


def write_step(dataset: Dataset, step: int) -> None:
    """The step of that number; two episodes of 7 steps grow at the same time, one beginning late."""
    growing = [episode.id for episode in dataset.episodes if not episode.ended]
    episode = growing[step % 2] if len(growing) == 2 else dataset.new_episode()
    ended = step > 4 and step % 7 < 2
    frames = np.full((2, *SHAPE), step % 251, np.uint8)
    final = frames[1] + np.uint8(1) if ended else None
    dataset.append(episode, frames[0], step % 5, float(step), ended and step % 2 == 0, ended and step % 2 == 1, final)


def contents(dataset: Dataset) -> Contents:
    """Everything in the data set, comparable."""
    return [
        (
            episode.id,
            episode.terminated,
            episode.truncated,
            episode.actions.tolist(),
            episode.rewards.tolist(),
            dataset.episode_frames(episode.id).tolist(),
            dataset.final_frame(episode.id).tolist() if episode.ended else None,
        )
        for episode in dataset.episodes
    ]


@pytest.fixture(scope="module", params=["off", "on"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A data set of 23 steps that ends with an ended episode, and its contents at every number of rows.

    Its writer was killed after the sync of the first `SYNCED_ROWS`.
    """
    folder = tmp_path_factory.mktemp("written")
    with Dataset.create(folder, GAME, compress=request.param) as dataset:
        at: dict[int, Contents] = {0: contents(dataset)}
        for step in range(23):
            write_step(dataset, step)
            at[dataset.num_rows] = contents(dataset)
        assert dataset.num_rows - 1 not in at  # the last step came with its final observation
    said_to_be_synced(folder, SYNCED_ROWS)
    return Written(folder, at, rows_of(folder))


def said_to_be_synced(folder: Path, rows: int) -> None:
    """As if the writer had been killed some time after it had synced so many rows."""
    (folder / "synced.json").write_text(json.dumps({"rows": rows}))


def prefix(at: dict[int, Contents], rows: int) -> int:
    """The most rows, at most `rows`, that an append ended with."""
    return rows if rows in at else rows - 1


@pytest.mark.cases(every=2)
def test_cut_at_every_byte_near_the_tail_leaves_a_prefix(written: Written, tmp_path: Path) -> None:
    folder, at, _ = written
    work = tmp_path / "work"
    shutil.copytree(folder, work)
    frames, rows = (folder / "frames.bin").read_bytes(), (folder / "rows.bin").read_bytes()
    total = max(at)
    most = [
        len(data) - written.size(name, total - 2) + 2 for name, data in (("frames.bin", frames), ("rows.bin", rows))
    ]
    for frames_cut in range(0, most[0], 1 + most[0] // 30):
        for rows_cut in range(most[1]):
            (work / "frames.bin").write_bytes(frames[: len(frames) - frames_cut])
            (work / "rows.bin").write_bytes(rows[: len(rows) - rows_cut])
            said_to_be_synced(work, SYNCED_ROWS)
            left = {"frames.bin": len(frames) - frames_cut, "rows.bin": len(rows) - rows_cut}
            whole = min(written.whole(name, size) for name, size in left.items())
            keep = prefix(at, whole)
            with Dataset.open(work, writable=True) as dataset:
                assert dataset.num_rows == keep
                assert dataset.dropped_rows == whole - keep
                if (frames_cut + rows_cut) % 5 == 0:  # contents are slower to compare
                    assert contents(dataset) == at[keep]
            assert (work / "frames.bin").read_bytes() == frames[: written.size("frames.bin", keep)]
            assert (work / "rows.bin").read_bytes() == rows[: written.size("rows.bin", keep)]
    assert total == len(written.rows["rows.bin"])


def test_writing_goes_on_after_a_torn_tail(written: Written, tmp_path: Path) -> None:
    folder, at, _ = written
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    os.truncate(tmp_path / "rows.bin", written.size("rows.bin", max(at) - 1) + 3)
    with Dataset.open(tmp_path, writable=True) as dataset:
        assert dataset.num_rows == max(at) - 2
        write_step(dataset, 22)
        assert contents(dataset) == at[max(at)]
    assert (tmp_path / "rows.bin").read_bytes() == (folder / "rows.bin").read_bytes()


@pytest.mark.parametrize("name", ["frames.bin", "rows.bin"])
def test_flipped_byte(written: Written, tmp_path: Path, name: str) -> None:
    """Damage is found whatever the byte: fatal in the middle, a torn tail in the last row."""
    folder, at, rows = written
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    data = (folder / name).read_bytes()
    total = max(at)
    for row in (0, 7, total - 2, total - 1):
        for byte in range(*rows[name][row]):
            damaged = bytearray(data)
            damaged[byte] ^= 0x10
            (tmp_path / name).write_bytes(damaged)
            if row == total - 1:
                with Dataset.open(tmp_path) as dataset:
                    assert dataset.num_rows == total - 2
                continue
            way_out = rf", or keep .*num_rows={row}\)'$" if row else "restore the folder from a copy$"
            with pytest.raises(UserError, match=rf"^row {row} of .* is corrupt: .*{way_out}"):
                Dataset.open(tmp_path)
    assert (tmp_path / name).stat().st_size == len(data)  # a reader changes nothing


def test_damage_can_be_cut_off(written: Written, tmp_path: Path) -> None:
    folder, at, _ = written
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    begin, end = (written.size("frames.bin", rows) for rows in (10, 12))
    with (tmp_path / "frames.bin").open("r+b") as file:
        file.seek(begin)
        file.write(bytes(end - begin))
    with pytest.raises(UserError, match="row 10"):
        Dataset.open(tmp_path, writable=True)
    with pytest.raises(UserError, match=r"row 10|holds 10"):
        Dataset.open(tmp_path, writable=True, num_rows=12)
    with Dataset.open(tmp_path, writable=True, num_rows=10) as dataset:
        assert contents(dataset) == at[prefix(at, 10)]
    with Dataset.open(tmp_path) as dataset:
        assert contents(dataset) == at[prefix(at, 10)]


def test_lost_pages_at_the_tail_are_a_torn_tail(written: Written, tmp_path: Path) -> None:
    folder, at, _ = written
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    size = written.size("frames.bin", max(at))
    os.truncate(tmp_path / "frames.bin", written.size("frames.bin", max(at) - 5) + 4)
    os.truncate(tmp_path / "frames.bin", size)  # zeros: what a power loss can leave
    with Dataset.open(tmp_path) as dataset:
        assert dataset.num_rows == prefix(at, max(at) - 5)
        assert dataset.dropped_rows == max(at) - dataset.num_rows
        assert contents(dataset) == at[dataset.num_rows]


def test_files_that_do_not_belong_together(written: Written, tmp_path: Path) -> None:
    """No row at all is sound: more likely a mistake than a torn tail, so nothing is thrown away."""
    folder, _, _ = written
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    frames = (folder / "frames.bin").read_bytes()
    (tmp_path / "frames.bin").write_bytes(b"\xff" * len(frames))
    with pytest.raises(UserError, match="row 0"):
        Dataset.open(tmp_path, writable=True)
    assert (tmp_path / "rows.bin").read_bytes() == (folder / "rows.bin").read_bytes()


@pytest.mark.parametrize("source", ["step", "final"])
def test_sound_rows_out_of_order(written: Written, tmp_path: Path, source: str) -> None:
    """A row in a place where none of its kind can be: its checksum is right, the log is not."""
    folder, at, rows = written
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    total = max(at)
    row = {"step": total - 4, "final": total - 1}[source]  # a step of the last episode, after its end
    for name, places in rows.items():
        data = (folder / name).read_bytes()
        (tmp_path / name).write_bytes(data + data[slice(*places[row])])
    with pytest.raises(UserError, match=f"row {total} "):
        Dataset.open(tmp_path)


def test_missing_final_observation(written: Written, tmp_path: Path) -> None:
    """An end without its final observation is dropped at the tail; before it, the log is damaged."""
    folder, at, rows = written
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    row = next(row for row in range(max(at)) if row not in at)  # the first final observation
    for name, places in rows.items():
        if name == "frames.bin" and "bytes" in DatasetSchema.read(folder).record.fields:  # type: ignore[operator]
            continue  # a record says where its frame is
        data, (begin, end) = (folder / name).read_bytes(), places[row]
        (tmp_path / name).write_bytes(data[:begin] + data[end:])
    with pytest.raises(UserError, match=f"row {row} "):
        Dataset.open(tmp_path)
    with Dataset.open(tmp_path, num_rows=row) as dataset:
        assert contents(dataset) == at[row - 1]


# --- rows that were there and are lost --------------------------------------------------------------------------------


def said(folder: Path) -> int:
    """Rows that are said to be on the disk itself."""
    return int(json.loads((folder / "synced.json").read_text())["rows"])


def closed(written: Written, folder: Path) -> int:
    """A copy of the data set as its writer closed it, and its number of rows."""
    shutil.copytree(written.folder, folder, dirs_exist_ok=True)
    with Dataset.open(folder, writable=True):
        pass
    assert said(folder) == max(written.at)
    return max(written.at)


@pytest.mark.parametrize("cut", [["frames.bin"], ["rows.bin"], ["frames.bin", "rows.bin"]], ids=" and ".join)
@pytest.mark.cases(every=4)
def test_lost_rows_are_counted_and_the_command_that_is_named_goes_on(
    written: Written, tmp_path: Path, cut: list[str]
) -> None:
    total, at = closed(written, tmp_path), written[1]
    half = next(rows for rows in at if rows >= total // 2)
    sizes = {name: written.size(name, half) + 5 for name in cut}
    for name, size in sizes.items():
        os.truncate(tmp_path / name, size)
    for writable in (False, True):
        with pytest.raises(UserError, match=f"has {half} of {total} rows: .* was cut short; restore") as error:
            Dataset.open(tmp_path, writable=writable)
    assert {name: (tmp_path / name).stat().st_size for name in cut} == sizes, "looking changes nothing"
    program, *arguments = shlex.split(str(error.value).partition("with: ")[2])
    assert program == "python"
    subprocess.run([sys.executable, *arguments], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    with Dataset.open(tmp_path) as dataset:
        assert contents(dataset) == at[half] and dataset.dropped_rows == 0


@pytest.mark.parametrize("name", ["frames.bin", "rows.bin"])
def test_where_nothing_says_what_was_synced_the_longer_file_tells(written: Written, tmp_path: Path, name: str) -> None:
    """As in data sets of the version before: a torn last append is dropped, more is damage.

    Of compressed frames only the records tell how many there are.
    """
    total, at = closed(written, tmp_path), written[1]
    (tmp_path / "synced.json").unlink()
    os.truncate(tmp_path / name, written.size(name, total - 2))
    with Dataset.open(tmp_path) as dataset:
        assert contents(dataset) == at[total - 2]
    os.truncate(tmp_path / name, written.size(name, total - 3))
    if name == "rows.bin" and DatasetSchema.read(tmp_path).frames == "webp":
        with Dataset.open(tmp_path) as dataset:
            assert contents(dataset) == at[prefix(at, total - 3)]
        return
    with pytest.raises(UserError, match=f"has {total - 3} of {total} rows"):
        Dataset.open(tmp_path)


ODD = [
    "",
    "{}",
    "[3]",
    '{"rows": -1}',
    '{"rows": "3"}',
    '{"rows": NaN}',
    '{"rows": 3, "stamps": [[1, 2]]}',
    "[" * 10**5,
]


@pytest.mark.parametrize("content", ODD)
def test_a_damaged_count_may_be_deleted(written: Written, tmp_path: Path, content: str) -> None:
    total = closed(written, tmp_path)
    (tmp_path / "synced.json").write_text(content)
    with pytest.raises(UserError, match=r"synced\.json.*restore it from a copy, or delete it$") as error:
        Dataset.open(tmp_path)
    assert "\n" not in str(error.value)
    (tmp_path / "synced.json").unlink()
    with Dataset.open(tmp_path) as dataset:
        assert dataset.num_rows == total


def test_a_kill_while_rows_are_cut_leaves_a_data_set(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said of the rows is never more than what is there."""
    total, at = closed(written, tmp_path), written[1]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", killed)
        with pytest.raises(KeyboardInterrupt):
            Dataset.open(tmp_path, writable=True, num_rows=7)
    assert said(tmp_path) == prefix(at, 7)
    with Dataset.open(tmp_path) as dataset:
        assert contents(dataset) == at[total]
    os.truncate(tmp_path / "rows.bin", written.size("rows.bin", 7))  # or one file was cut already
    with Dataset.open(tmp_path) as dataset:
        assert contents(dataset) == at[prefix(at, 7)]


def test_rows_are_counted_at_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffworld.data.log.SYNC_SECONDS", math.inf)
    with Dataset.create(tmp_path, GAME) as dataset:
        for step in range(5):
            write_step(dataset, step)
        assert said(tmp_path) == 0
        dataset.sync()
        assert said(tmp_path) == dataset.num_rows
        monkeypatch.setattr("diffworld.data.log.SYNC_SECONDS", 0)
        for step in range(5, 10):
            before = dataset.num_rows
            write_step(dataset, step)
            assert said(tmp_path) == before
        dataset.truncate(3)
        assert said(tmp_path) == dataset.num_rows
    assert said(tmp_path) == dataset.num_rows


# --- rows that were checked before -----------------------------------------------------------------------------------


def flip(path: Path, place: int) -> None:
    """Damage one byte, in place."""
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 0x10]))


def hidden_flip(path: Path, place: int) -> None:
    """Damage that nothing but the bytes themselves shows."""
    before = path.stat()
    flip(path, place)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_rows_are_read_once_unless_a_file_has_changed_or_a_check_is_asked_for(written: Written, tmp_path: Path) -> None:
    total = closed(written, tmp_path)
    place = written.size("frames.bin", 7)
    hidden_flip(tmp_path / "frames.bin", place)
    Dataset.open(tmp_path).close()  # nobody looks
    told: list[int] = []
    with pytest.raises(UserError, match=r"row 7 .* is corrupt"):
        Dataset.open(tmp_path, checking=told.append)
    (tmp_path / "frames.bin").touch()
    with pytest.raises(UserError, match=r"row 7 .* is corrupt"):
        Dataset.open(tmp_path)
    flip(tmp_path / "frames.bin", place)  # whole again, but changed: what is not known is checked, and then known
    with Dataset.open(tmp_path) as dataset:
        assert dataset.num_rows == total
    Dataset.open(tmp_path, writable=True).close()
    hidden_flip(tmp_path / "frames.bin", place)
    Dataset.open(tmp_path).close()


def test_a_change_within_the_same_tick_of_the_clock_is_seen(written: Written, tmp_path: Path) -> None:
    """However soon after the last sync."""
    for _ in range(50):
        closed(written, tmp_path / "data")
        with Dataset.open(tmp_path / "data", writable=True) as dataset:
            dataset.truncate(max(written.at) - 2)
        flip(tmp_path / "data" / "frames.bin", written.size("frames.bin", 7))
        with pytest.raises(UserError, match=r"row 7 .* is corrupt"):
            Dataset.open(tmp_path / "data")
        shutil.rmtree(tmp_path / "data")


def test_after_a_kill_only_the_rows_since_the_last_sync_are_read(written: Written, tmp_path: Path) -> None:
    total = closed(written, tmp_path)
    synced = (tmp_path / "synced.json").read_bytes()
    with Dataset.open(tmp_path, writable=True) as dataset:
        for step in range(23, 30):
            write_step(dataset, step)
        longer = dataset.num_rows
    for row, hidden in ((7, True), (total, False)):
        (tmp_path / "synced.json").write_bytes(synced)  # as if killed before the next sync
        place = rows_of(tmp_path)["frames.bin"][row][0]
        hidden_flip(tmp_path / "frames.bin", place)
        if hidden:
            with Dataset.open(tmp_path) as dataset:
                assert dataset.num_rows == longer
            flip(tmp_path / "frames.bin", place)
        else:
            with pytest.raises(UserError, match=f"row {row} .* is corrupt"):
                Dataset.open(tmp_path)


def test_a_look_changes_nothing(written: Written, tmp_path: Path) -> None:
    closed(written, tmp_path)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    for writable in (False, True):
        Dataset.open(tmp_path, writable=writable).close()
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before


def test_a_compressed_frame_that_is_damaged_is_named_when_it_is_read(tmp_path: Path) -> None:
    with Dataset.create(tmp_path, GAME, compress="on") as dataset:
        for step in range(5):
            write_step(dataset, step)
    places = rows_of(tmp_path)["frames.bin"]
    hidden_flip(tmp_path / "frames.bin", places[3][0] + 20)
    with Dataset.open(tmp_path) as dataset:
        assert dataset.gather_frames(np.array([0, 1, 2, 4])).shape == (4, *SHAPE)
        with pytest.raises(UserError, match=r"^row 3 of .* is corrupt, or was cut off meanwhile") as error:
            dataset.gather_frames(np.arange(5))
    assert "\n" not in str(error.value)


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_replay_durability import write_step
from diffworld.data import Compress, Dataset, log
log.SYNC_SECONDS = {every}
with Dataset.open({folder!r}, writable=True) as dataset:
    for step in range(dataset.num_steps, 10**9):
        write_step(dataset, step)
        if step % 50 == 0:
            print(step, flush=True)
"""


@FORMS
@pytest.mark.parametrize("every", [0, 1])
@pytest.mark.cases(every=6)
def test_killed_writer_leaves_a_prefix(tmp_path: Path, every: int, compress: Compress) -> None:
    folder = tmp_path / "data"
    Dataset.create(folder, GAME, compress=compress).close()
    script = WRITER.format(tests=str(Path(__file__).parent), folder=str(folder), every=every)
    command = [sys.executable, "-c", script]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    seen = 0
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            reported = [int(process.stdout.readline()) for _ in range(3)][-1]
            with pytest.raises(UserError, match="another process"):
                Dataset.open(folder, writable=True)
            process.send_signal(signal.SIGKILL)
        with Dataset.open(folder) as dataset:
            assert dataset.num_steps > reported > seen  # what was told to be written is there
            seen = dataset.num_steps
            found = contents(dataset)
    with Dataset.create(tmp_path / "again", GAME) as dataset:
        for step in range(seen):
            write_step(dataset, step)
        assert contents(dataset) == found


@FORMS
@pytest.mark.parametrize("shape", [(30, 40, 3), (1, 1, 3)], ids=["frames", "records"])
@pytest.mark.parametrize("room", [0.0, 0.5, 1.0, 1.5])
def test_full_disk_loses_nothing(tmp_path: Path, shape: tuple[int, int, int], room: float, compress: Compress) -> None:
    """Whichever of the files finds no room, and wherever it stops, the log is as before and goes on."""
    frame = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    spec = GameSpec("", *shape[:2], ActionSpace.discrete(2))
    with Dataset.create(tmp_path, spec, compress=compress) as dataset:
        episode = dataset.new_episode()
        for _ in range(500):
            dataset.append(episode, frame, 1, 1.0, False, False)
        sizes = {name: (tmp_path / name).stat().st_size for name in ("frames.bin", "rows.bin")}
        row_bytes = max(sizes.values()) // 500
        with files_no_larger_than(500 * row_bytes + int(room * row_bytes)):
            for _ in range(2):
                with pytest.raises(UserError, match=r"cannot write .*500 rows are safe$"):
                    dataset.append(episode, frame, 1, 1.0, True, False, frame + np.uint8(1))
        assert {name: (tmp_path / name).stat().st_size for name in sizes} == sizes
        assert (dataset.num_rows, dataset.num_steps) == (500, 500)
        dataset.append(episode, frame, 0, 5.0, True, False, frame + np.uint8(2))
    with Dataset.open(tmp_path) as dataset:
        assert (dataset.num_rows, dataset.dropped_rows) == (502, 0)
        assert dataset.episodes[0].rewards[-1] == 5
        np.testing.assert_array_equal(dataset.final_frame(episode), frame + 2)
