"""Counter-Strike's published files: imported or linked bit for bit, whatever they lie in; and what may be wrong."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asking import Import, run

h5py = pytest.importorskip("h5py")
from csgo import actions_of, frames_of, write_match, write_tar  # noqa: E402

from diffworld.data import Dataset, held_out_episodes  # noqa: E402
from diffworld.game.counter_strike import ACTIONS, counter_strike  # noqa: E402
from diffworld.runs import load  # noqa: E402
from diffworld.world import TwoStages  # noqa: E402
from tests.small_disk import files_no_larger_than  # noqa: E402

NAME = "hdf5_dm_july2021_{}.hdf5"


def check_episode(data: Dataset, place: int, seed: int, count: int = 12) -> None:
    """Every bit of the frames and of the actions of a file of that seed."""
    episode = data.episodes[place]
    frames = [*data.episode_frames(episode.id), data.final_frame(episode.id)]
    np.testing.assert_array_equal(frames, frames_of(count, seed))
    np.testing.assert_array_equal(episode.actions, actions_of(count, seed)[:-1])
    assert (episode.length, episode.truncated, episode.terminated) == (count - 1, True, False)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tars as they are published, a file beside them, and a text."""
    folder = tmp_path_factory.mktemp("published")
    files = {number: write_match(folder / "loose" / NAME.format(number), seed=number) for number in (1, 2, 9, 10, 200)}
    write_tar(folder / "tars" / "a.tar", [(f"full_res/1-200/{files[n].name}", files[n]) for n in (10, 1, 200)])
    write_tar(folder / "tars" / "b.tar", [(f"full_res/1-200/{files[2].name}", files[2])])
    shutil.copy(files[9], folder / "tars")
    (folder / "tars" / "README.md").write_text("# Counter-Strike")
    return folder


@pytest.mark.parametrize("options", [[], ["--format", "csgo"], ["--link"], ["--compress", "off"]], ids=" ".join)
def test_tars_folders_and_files_are_imported_bit_for_bit(
    options: list[str], published: Path, import_to: Import
) -> None:
    done = import_to(published / "tars", *options)
    found = published / "tars"
    assert f"{found}: csgo, 5 recordings ({'as told' if '--format' in options else 'it has HDF5 files'}" in done.out
    assert "frames: 150x280 (as recorded)" in done.out and "speed: 16 steps a second" in done.out
    out = Path(done.out.partition("look at it: diffworld data ")[2].split()[0])
    with Dataset.open(out) as data:
        assert data.spec == counter_strike() and data.spec.actions == ACTIONS
        form = {"--link": "linked", "--compress": "raw"}.get(options[0] if options else "", "webp")
        assert data.schema.frames == form
        assert data.num_episodes == 5
        for place, number in enumerate((1, 2, 9, 10, 200)):  # by the number after the last _
            check_episode(data, place, number)
        some = np.array([[3, 40], [59, 0]])
        everything = data.gather_frames(np.arange(data.num_rows))
        np.testing.assert_array_equal(data.gather_frames(some), everything[some])
    assert ((out / "frames.bin").stat().st_size == 0) == (form == "linked")


def test_it_is_small_where_frames_are_compressed(published: Path, import_to: Import, tmp_path: Path) -> None:
    import_to(published / "loose" / NAME.format(1))
    assert 0 < (tmp_path / "data" / "frames.bin").stat().st_size < 12 * 126_000 / 2


@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"chunks": (50, 70, 3)}], ids=str)
def test_frames_that_hdf5_keeps_packed_are_read_but_not_linked(
    options: dict[str, Any], tmp_path: Path, import_to: Import, refused: Import
) -> None:
    write_match(tmp_path / NAME.format(1), seed=3, **options)
    import_to(tmp_path / NAME.format(1))
    with Dataset.open(tmp_path / "data") as data:
        check_episode(data, 0, 3)
    assert "its frames do not lie in a file as they are: import without --link" in refused(
        tmp_path / NAME.format(1), "--link"
    )


def test_smaller_and_slower_if_asked(published: Path, import_to: Import, tmp_path: Path) -> None:
    import_to(published / "loose" / NAME.format(1), "--size", "30x56", "--fps", "8", "--name", "dust")
    with Dataset.open(tmp_path / "data") as data:
        assert data.spec.frame_size == (30, 56) and data.spec.steps_per_second == 8 and data.spec.name == "dust"
        assert data.num_steps == 5 and data.schema.frames == "raw"


# --- linked ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def linked(published: Path, tmp_path: Path, import_to: Import) -> tuple[Path, Path]:
    """A folder of sources, and a linked data set of them."""
    shutil.copytree(published / "tars", tmp_path / "sources")
    import_to(tmp_path / "sources", "--link")
    return tmp_path / "sources", tmp_path / "data"


def test_a_linked_data_set_may_be_moved_and_checked(linked: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.move(linked[1], tmp_path / "moved")
    done = run("data", tmp_path / "moved", "--check")
    assert done.code == 0
    assert "all 60 rows are as they were written, and files with their frames have the size and date" in done.out
    with Dataset.open(tmp_path / "moved") as data:
        check_episode(data, 3, 10)


def test_files_that_are_gone_or_changed_are_named(linked: tuple[Path, Path]) -> None:
    sources, data = linked
    with Dataset.open(data) as opened:
        os.rename(sources / "a.tar", sources / "c.tar")
        done = run("data", data)
        assert done.code == 2 and done.err.count("\n") == 1
        assert f"{sources / 'a.tar'}, which is gone: put it back, or import again" in done.err
        refused = pytest.raises(Exception, match=r"a\.tar, which cannot be read \(No such file.*: put it back")
        with refused:
            opened.gather_frames(np.arange(20))
    os.rename(sources / "c.tar", sources / "a.tar")
    assert run("data", data).code == 0
    os.utime(sources / NAME.format(9))
    done = run("train", "--data", data, "--preset", "csgo", "--out", data.parent / "run")
    assert done.code == 2 and "which was changed since: import again" in done.err and done.err.count("\n") == 1


@pytest.mark.parametrize("text", ["", "{}", '{"files": [], "channels": "grey"}', '{"files": [3], "channels": "bgr"}'])
def test_damaged_links_are_one_line(text: str, linked: tuple[Path, Path]) -> None:
    (linked[1] / "links.json").write_text(text)
    done = run("data", linked[1])
    assert done.code == 2 and done.err.count("\n") == 1
    assert "links.json" in done.err and "restore it from a copy, or import again" in done.err


def test_a_linked_data_set_takes_no_frames(linked: tuple[Path, Path]) -> None:
    with Dataset.open(linked[1], writable=True) as data:
        episode, before = data.new_episode(), data.num_rows
        with pytest.raises(Exception, match="has its frames in other files, and takes no others"):
            data.append(episode, np.zeros((150, 280, 3), np.uint8), ACTIONS.idle, 0.0, False, False)
        assert data.num_rows == before


def test_links_are_of_one_size_and_of_files_that_can_be_linked(
    tmp_path: Path, refused: Import, import_to: Import
) -> None:
    write_match(tmp_path / "files" / "m_1.hdf5")

    def smaller(file: Any) -> None:
        for place in range(12):
            del file[f"frame_{place}_x"]
            file[f"frame_{place}_x"] = np.zeros((30, 56, 3), np.uint8)

    write_match(tmp_path / "files" / "m_2.hdf5", change=smaller)
    done = import_to(tmp_path / "files", "--link")
    assert "skipped m_2.hdf5: its frames are of 30x56, not 150x280: import without --link" in done.out
    assert "leave out --compress" in refused(tmp_path / "files", "--link", "--compress", "on")
    np.savez(tmp_path / "a.npz", frames=np.zeros((5, 8, 8, 3), np.uint8), actions=np.arange(5) % 2)
    assert "import without --link" in refused(tmp_path / "a.npz", "--link")


# --- rewards, ends, and what is set aside ----------------------------------------------------------------------------


def test_kills_and_deaths_are_rewards_and_ends_if_asked(tmp_path: Path, import_to: Import) -> None:
    write_match(tmp_path / "m_1.hdf5", outcomes={2: (1, 0), 6: (0, 1), 9: (1, 0)})
    import_to(tmp_path / "m_1.hdf5")
    with Dataset.open(tmp_path / "data") as data:
        assert not data.spec.rewards and not data.spec.ends
        assert data.episodes.lengths.tolist() == [11] and not data.episodes.returns.any()
    shutil.rmtree(tmp_path / "data")
    import_to(tmp_path / "m_1.hdf5", "--outcomes")
    with Dataset.open(tmp_path / "data") as data:
        assert data.spec.rewards and data.spec.ends
        # The frame after a death shows another life, so the end is told a step earlier, and its frame is the last.
        assert data.episodes.lengths.tolist() == [6, 4] and data.episodes.terminated.tolist() == [True, False]
        assert data.episodes[0].rewards.tolist() == [0, 0, 1, 0, 0, 0]
        assert data.episodes[1].rewards.tolist() == [0, 0, 1, 0]
        np.testing.assert_array_equal(data.final_frame(data.episodes[0].id), frames_of(12, 0)[6])


def test_the_published_split_is_held_out(published: Path, tmp_path: Path, import_to: Import) -> None:
    (tmp_path / "split.txt").write_text(f"{NAME.format(10)}\n\n{NAME.format(2)}\n{NAME.format(4000)}\n")
    done = import_to(published / "tars", "--split", tmp_path / "split.txt", "--link")
    assert f"1 of its 3 files are not among the recordings, such as {NAME.format(4000)}" in done.out
    assert "set aside to measure on: 2 of 5 recordings" in done.out
    with Dataset.open(tmp_path / "data") as data:
        assert held_out_episodes(data.episodes).tolist() == [False, True, False, True, False]
    dry = run("train", "--data", tmp_path / "data", "--preset", "csgo", "--show-config")
    assert dry.code == 0, dry.err
    again = run("import-data", published / "tars", "--out", tmp_path / "data", "--link")
    assert again.code == 2 and "was begun with another --split" in again.err


def test_a_share_is_set_aside_evenly(published: Path, tmp_path: Path, import_to: Import) -> None:
    import_to(published / "loose", "--split", "0.4", "--link")
    with Dataset.open(tmp_path / "data") as data:
        assert held_out_episodes(data.episodes).tolist() == [False, True, False, True, False]


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("0", "give a share between 0 and 1"),
        ("1", "give a share between 0 and 1"),
        ("nan", "give a share between 0 and 1"),
        ("missing.txt", "which is no file: give one, or a share such as 0.1"),
        (b"", "names 0 files, and none of them is among the recordings"),
        (b"x.hdf5\n", "names 1 files, such as x.hdf5, and none of them is among the recordings"),
        (b"full_res/1-200/m_1.hdf5\n", "give names of files without their folders"),
        (b"\xff\xfe\n", "give a text file with the name of a file a line"),
        ("\n".join(NAME.format(n) for n in (1, 2, 9, 10, 200)).encode(), "none is left to learn from"),
        ("FOLDER", "give a text file with the name of a file a line"),
    ],
)
def test_a_split_that_cannot_be_is_one_line(
    split: str | bytes, said: str, published: Path, tmp_path: Path, refused: Import
) -> None:
    if isinstance(split, bytes):
        (tmp_path / "split.txt").write_bytes(split)
        split = str(tmp_path / "split.txt")
    assert said in refused(published / "loose", "--split", str(tmp_path) if split == "FOLDER" else split)


def test_one_recording_has_no_share(published: Path, refused: Import) -> None:
    assert "needs two recordings or more" in refused(published / "loose" / NAME.format(1), "--split", "0.5")


# --- what is wrong with a file ---------------------------------------------------------------------------------------


def replaced(name: str, value: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[name]
        if value is not None:
            file[name] = value

    return change


def other_keys(file: Any) -> None:
    for name in list(file):
        file.move(name, name.replace("frame", "step"))


def elsewhere(file: Any) -> None:
    """Raw bytes of another file, as HDF5 can name them."""
    del file["frame_4_x"]
    kept = [(b"/etc/hostname", 0, 126_000)]
    file.create_dataset("frame_4_x", (150, 280, 3), np.uint8, external=kept)


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((150, 280, 3), np.uint8)
    layout[:] = h5py.VirtualSource("other.hdf5", "frame_0_x", (150, 280, 3))
    del file["frame_4_x"]
    file.create_virtual_dataset("frame_4_x", layout)


def no_axis(file: Any) -> None:
    file["frame_3_y"][13:36] = 0


def huge(file: Any) -> None:
    del file["frame_0_x"]
    file.create_dataset("frame_0_x", (70_000, 70_000, 3), np.uint8)  # not one byte of it is stored


WRONG: dict[str, tuple[Callable[[Any], None], str]] = {
    "other keys": (other_keys, "it has no frame_0_x, but step_0_helperarr"),
    "no keys": (lambda file: file.clear(), "it has no frame_0_x: is it Counter-Strike's?"),
    "a frame missing": (replaced("frame_5_x", None), "frame_5_x is missing"),
    "actions missing": (replaced("frame_5_y", None), "frame_5_y is missing"),
    "floats": (replaced("frame_0_x", np.zeros((150, 280, 3))), "frame_0_x is float64 (150, 280, 3), not uint8"),
    "grey": (replaced("frame_0_x", np.zeros((150, 280), np.uint8)), "frame_0_x is uint8 (150, 280), not uint8"),
    "channels first": (replaced("frame_0_x", np.zeros((3, 150, 280), np.uint8)), "uint8 (3, 150, 280), not uint8"),
    "several sizes": (replaced("frame_7_x", np.zeros((30, 56, 3), np.uint8)), "frame_7_x is uint8 (30, 56, 3), not"),
    "huge": (huge, "its frames are 70000x70000 pixels"),
    "few numbers": (replaced("frame_2_y", np.zeros(50)), "frame_2_y has 50 numbers (float64), not 51"),
    "words": (replaced("frame_2_y", ["a"] * 51), "frame_2_y has 51 numbers (object), not 51"),
    "one number": (replaced("frame_2_y", 3.0), "frame_2_y has one numbers (float64), not 51"),
    "halves": (replaced("frame_2_y", np.full(51, 0.5)), "frame_2_y is no action of the game: 51 zeros and ones"),
    "not finite": (replaced("frame_2_y", np.full(51, np.nan)), "frame_2_y is no action of the game"),
    "no axis": (no_axis, "frame_3_y is no action of the game: 51 zeros and ones, 13 of keys"),
    "a folder": (lambda file: (replaced("frame_4_x", None)(file), file.create_group("frame_4_x")), "no array of"),
    "bytes of another file": (elsewhere, "frame_4_x is no array of this file"),
    "virtual": (virtual, "frame_4_x is no array of this file"),
    "a link": (replaced("frame_4_x", h5py.ExternalLink("other.hdf5", "frame_0_x")), "a link to elsewhere"),
    "a soft link": (replaced("frame_4_x", h5py.SoftLink("/frame_0_x")), "frame_4_x is a link to elsewhere"),
    "a far frame": (lambda file: file.create_dataset("frame_99999999_x", data=0), "no recording is so long"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_file_that_is_none_of_theirs_is_named_skipped_and_counted(
    kind: str, tmp_path: Path, import_to: Import, refused: Import
) -> None:
    change, said = WRONG[kind]
    write_match(tmp_path / "files" / "m_2.hdf5", change=change)
    told = refused(tmp_path / "files")
    assert "none of the 1 recordings can be opened; m_2.hdf5: " in told and said in told
    write_match(tmp_path / "files" / "m_1.hdf5", seed=1)
    done = import_to(tmp_path / "files")
    (line,) = [line for line in done.out.splitlines() if line.startswith("skipped m_2.hdf5: ")]
    assert said in line
    with Dataset.open(tmp_path / "data") as data:
        assert data.num_episodes == 1
        check_episode(data, 0, 1)


def test_kills_that_are_asked_for_and_missing(tmp_path: Path, import_to: Import, refused: Import) -> None:
    write_match(tmp_path / "m_1.hdf5", change=replaced("frame_3_helperarr", None))
    assert "frame_3_helperarr is missing" in refused(tmp_path / "m_1.hdf5", "--outcomes")
    import_to(tmp_path / "m_1.hdf5")


def test_no_hdf5(tmp_path: Path, refused: Import) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "m_1.hdf5").write_bytes(b"no HDF5 at all")
    assert "m_1.hdf5: it is damaged (OSError" in refused(tmp_path / "files")
    assert "has no recordings of format csgo: HDF5 files (.hdf5) of Counter-Strike" in refused(
        Path(__file__).parent / "samples", "--format", "csgo"
    )
    whole = write_match(tmp_path / "other" / "m_1.hdf5").read_bytes()
    (tmp_path / "other" / "m_1.hdf5").write_bytes(whole[:-50_000])
    assert "it is damaged" in refused(tmp_path / "other")


def test_what_is_known_of_the_game_is_not_asked_for(
    published: Path, tmp_path: Path, refused: Import, keymap: Callable[[object], Path]
) -> None:
    path = keymap({"keys": {"w": "forward"}})
    assert "leave out --keymap" in refused(published / "loose", "--keymap", path)
    np.savez(tmp_path / "a.npz", frames=np.zeros((5, 8, 8, 3), np.uint8), actions=np.arange(5) % 2)
    assert "import each alone" in refused(published / "loose", tmp_path / "a.npz")


def test_rgb_in_place_of_bgr_is_remarked(tmp_path: Path, import_to: Import) -> None:
    def swapped(file: Any) -> None:
        for place in range(12):
            file[f"frame_{place}_x"][...] = file[f"frame_{place}_x"][()][..., ::-1]

    write_match(tmp_path / "m_1.hdf5", change=swapped)
    done = import_to(tmp_path / "m_1.hdf5")
    assert "if sand looks blue, the file has RGB where BGR is published" in done.out
    shutil.rmtree(tmp_path / "data")
    write_match(tmp_path / "m_1.hdf5")
    assert "blue" not in import_to(tmp_path / "m_1.hdf5").out


# --- tars ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def match(tmp_path: Path) -> Path:
    return write_match(tmp_path / "made" / "m_1.hdf5", 3, seed=1)


def test_tars_that_are_no_whole_ones_are_named(match: Path, tmp_path: Path, import_to: Import, refused: Import) -> None:
    folder = tmp_path / "tars"
    whole = write_tar(folder / "whole.tar", [("full_res/m_1.hdf5", match), ("full_res/m_2.hdf5", match)]).read_bytes()
    second = whole.index(b"full_res/m_2.hdf5")
    write_tar(folder / "empty.tar", [])
    (folder / "nothing.tar").write_bytes(b"")
    (folder / "cut.tar").write_bytes(whole[: len(whole) - 100_000])
    (folder / "header.tar").write_bytes(whole[:second] + b"\xff" + whole[second + 1 :])
    (folder / "packed.tar").write_bytes(gzip.compress(whole))
    (folder / "other.tar").write_bytes(b"to be or not to be" * 100)
    write_tar(folder / "texts.tar", [("notes.txt", match)])  # of other things: no word
    done = import_to(folder)
    lines = [line for line in done.out.splitlines() if line.startswith("skipped ")]
    said = {line.split()[1].rstrip(":"): line for line in lines}
    assert "it is empty: fetch it again" in said["empty.tar"]
    assert "it is no whole tar" in said["other.tar"] and "it is no whole tar" in said["packed.tar"]
    assert "it is damaged after 1 files: fetch it again" in said["header.tar"]
    assert "the tar ends within it: fetch the tar again" in said["cut.tar/full_res/m_2.hdf5"]
    assert "nothing.tar" in said and "texts.tar" not in done.out
    with Dataset.open(tmp_path / "data") as data:
        assert data.num_episodes == 4  # two of the whole one, one each of the cut one and of that with a bad header
        check_episode(data, 0, 1, 3)
    for name in ("empty.tar", "nothing.tar", "packed.tar", "other.tar"):
        assert f"{name}: it is" in refused(folder / name)
    assert "has no recordings" in refused(folder / "texts.tar")


@pytest.mark.parametrize("name", ["../m_9.hdf5", "/tmp/m_9.hdf5", "a/../../m_9.hdf5"])
def test_a_tar_whose_members_climb_out_writes_nothing_outside(
    name: str, match: Path, tmp_path: Path, import_to: Import
) -> None:
    write_tar(tmp_path / "tars" / "a.tar", [("m_1.hdf5", match), (name, match)])
    before = sorted(path for path in tmp_path.rglob("*"))
    done = import_to(tmp_path / "tars")
    assert "its path leads out of the tar: such a tar was made to do harm" in done.out
    after = [path for path in tmp_path.rglob("*") if tmp_path / "data" not in (path, *path.parents)]
    assert sorted(after) == before
    with Dataset.open(tmp_path / "data") as data:
        assert data.num_episodes == 1


# --- going on --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [["--link"], ["--split", "0.4"], ["--outcomes", "--link"]], ids=" ".join)
@pytest.mark.parametrize("appended", [0, 5, 11, 12, 30])
@pytest.mark.cases(every=5)
def test_interrupted_it_goes_on_to_the_same_bytes(
    options: list[str], appended: int, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, append = [appended], Dataset.append

    def stopping(*arguments: Any, **keywords: Any) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        append(*arguments, **keywords)

    command = ["import-data", published / "tars", *options, "--out"]
    assert run(*command, tmp_path / "whole").code == 0
    with monkeypatch.context() as patch:
        patch.setattr(Dataset, "append", stopping)
        assert run(*command, tmp_path / "stopped").code == 130
    assert run(*command, tmp_path / "stopped").code == 0
    for name in ("frames.bin", "rows.bin", "imported.jsonl", "dataset.json", "keymap.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "stopped" / name).read_bytes(), name


def test_from_another_copy_of_the_files_links_do_not_go_on(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopping(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    shutil.copytree(published / "loose", tmp_path / "copy" / "loose")
    command = ["--link", "--out", tmp_path / "data"]
    with monkeypatch.context() as patch:
        patch.setattr(Dataset, "append", stopping)
        assert run("import-data", published / "loose", *command).code == 130
    done = run("import-data", tmp_path / "copy" / "loose", *command)
    assert done.code == 2 and done.err.count("\n") == 1 and "give the same paths as then" in done.err
    assert run("import-data", published / "loose", *command).code == 0


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(published: Path, tmp_path: Path) -> None:
    command = ["import-data", published / "loose", "--compress", "off", "--out", tmp_path / "data"]
    with files_no_larger_than(20 * 126_000 + 7):
        done = run(*command)
    assert done.code == 2 and done.err.count("\n") == 1
    assert "cannot write to" in done.err and "free space" in done.err
    assert run(*command).code == 0
    with Dataset.open(tmp_path / "data") as data:
        for place, number in enumerate((1, 2, 9, 10, 200)):
            check_episode(data, place, number)


@pytest.mark.parametrize("options", [[], ["--link"]], ids=["stored", "linked"])
@pytest.mark.thorough
def test_memory_does_not_grow_with_the_recording(options: list[str], tmp_path: Path, import_to: Import) -> None:
    write_match(tmp_path / "m_1.hdf5", 300)
    tracemalloc.start()
    import_to(tmp_path / "m_1.hdf5", *options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 15e6 < 300 * 126_000, f"{peak / 1e6:.0f} MB"


TINY = """
--denoiser.channels 8 8 --denoiser.depths 1 1 --denoiser.attention False False --denoiser.cond-channels 16
--upsampler.channels 8 8 8 8 --upsampler.depths 1 1 1 1 --upsampler.attention False False False False
--upsampler.cond-channels 8
--reward-end.channels 8 8 --reward-end.depths 1 1 --reward-end.attention False False
--reward-end.lstm-channels 16 --reward-end.cond-channels 8 --reward-end.window 3
--denoiser-updates.first-steps 3 --denoiser-updates.batch-size 2 --denoiser-updates.accumulate 2
--upsampler-updates.first-steps 2 --upsampler-updates.batch-size 1 --upsampler-updates.accumulate 2
--reward-end-updates.first-steps 2 --reward-end-updates.batch-size 2 --reward-end-updates.accumulate 1
--epochs 1 --horizon 4 --device cpu
""".split()


@pytest.mark.thorough
def test_what_was_imported_is_trained_on_in_two_stages(tmp_path: Path) -> None:
    """Stored or linked, the same is learnt; in small frames of 30x56, as published."""
    for number in range(3):
        write_match(tmp_path / "files" / NAME.format(number), 10, seed=number, outcomes={5: (1, 0)})
    (tmp_path / "split.txt").write_text(NAME.format(1))
    weights = []
    for name, options in (("stored", []), ("linked", ["--link"])):
        data, out = tmp_path / f"data {name}", tmp_path / name
        more = ["--outcomes", "--split", tmp_path / "split.txt"]
        assert run("import-data", tmp_path / "files", *more, *options, "--out", data).code == 0
        networks = ["--networks", "denoiser,upsampler,reward_end"]
        done = run("train", "--preset", "csgo", "--data", data, "--out", out, *TINY, *networks)
        assert done.code == 0, done.err
        (saved,) = sorted((out / "checkpoints").glob("[0-9]*"))[-1:]
        weights.append((saved / "weights.safetensors").read_bytes())
        summary = json.loads((out / "summary.json").read_text())
        assert summary["counters"]["env_steps"] == 2 * 9, "those of the split are set aside"
        assert {f"{each}/held_out_loss" for each in ("denoiser", "upsampler", "reward_end")} <= summary[
            "held_out"
        ].keys()
    assert weights[0] == weights[1]
    model = load(tmp_path / "stored", "cpu")
    assert isinstance(model.world, TwoStages) and model.spec.frame_size == (150, 280)
    frames = torch.from_numpy(frames_of(4, 0).copy()).movedim(-1, -3)[None].float() / 127.5 - 1
    state = model.world.start(frames, torch.from_numpy(actions_of(4, 0))[None])
    assert state.small.frame.shape == (1, 3, 30, 56)
    done = run("train", "--preset", "csgo", "--data", tmp_path / "data linked", "--dry-run", *TINY)
    assert done.code == 0 and "held out: 1 with 9 steps" in done.out, done.err


@pytest.mark.thorough
def test_what_was_imported_is_looked_at(published: Path, tmp_path: Path, import_to: Import) -> None:
    import_to(published / "loose")
    done = run("data", tmp_path / "data")
    assert done.code == 0
    assert "counter-strike: 3 seconds of play, 55 steps, 16 a second" in done.out
    assert "5 episodes, 11 to 11 steps each; frames of 150x280; neither rewards nor ends known" in done.out
    assert "keys: " in done.out and "mouse x: -1000 " in done.out and "mouse y: -200 " in done.out
    page = (tmp_path / "data" / "look.html").read_text()
    assert "left click" in page and "data:image/png" in page
    assert json.loads((tmp_path / "data" / "dataset.json").read_text())["format_version"] == 3
