"""Files are whole or absent, appended lines are whole or dropped, and errors are one line that helps."""

import errno
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffworld.runtime.errors import UserError
from diffworld.runtime.files import (
    append_line,
    atomic_file,
    atomic_folder,
    check_writable,
    read_json,
    whole_lines,
    without_nan,
    write_atomic,
    write_error,
    write_json,
)
from tests.small_disk import files_no_larger_than


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_write_atomic_makes_folders_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "text"
    write_atomic(path, "σ = 1\n")
    assert path.read_text(encoding="utf-8") == "σ = 1\n"
    write_atomic(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert names(path.parent) == ["text"]


def test_failure_inside_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    write_atomic(path, "old")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert names(tmp_path) == ["weights"]


def test_a_disk_that_refuses_leaves_the_old_file_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    write_atomic(path, "old")
    with files_no_larger_than(100), pytest.raises(UserError, match=f"^cannot write {path}: "):
        write_atomic(path, b"x" * 1000)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["weights"]


def test_json_keeps_order_and_refuses_nan(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    write_json(path, {"b": 1, "a": [True, None, "é"]})
    assert list(json.loads(path.read_text(encoding="utf-8"))) == ["b", "a"]
    assert "é" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"loss": math.nan})
    assert json.loads(path.read_text(encoding="utf-8"))["b"] == 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_without_nan_can_be_written_and_changes_nothing_else(tree: object) -> None:
    cleaned = without_nan(tree)
    text = json.dumps(cleaned, allow_nan=False)
    if "NaN" not in json.dumps(tree) and "Infinity" not in json.dumps(tree):
        assert cleaned == tree
    assert json.loads(text) == cleaned


def test_folder_appears_only_when_done(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "epoch_3"
    with atomic_folder(path) as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "weights").write_text("1")
        assert not path.exists()
    assert (path / "inner" / "weights").read_text() == "1"
    assert names(path.parent) == ["epoch_3"]


def test_folder_failure_keeps_the_old_one_and_success_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with atomic_folder(path) as temporary:
        (temporary / "old").touch()
    with pytest.raises(ZeroDivisionError), atomic_folder(path) as temporary:
        (temporary / "new").touch()
        raise ZeroDivisionError
    assert names(path) == ["old"]
    with atomic_folder(path) as temporary:
        (temporary / "new").touch()
    assert names(path) == ["new"]
    assert names(tmp_path) == ["model"]


def test_folder_killed_half_way_is_absent_and_can_be_written_again(tmp_path: Path) -> None:
    path = tmp_path / "model"
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom diffworld.runtime.files import atomic_folder\n"
        "with atomic_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'stale').touch()\n    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.kill()
    assert not path.exists()
    with atomic_folder(path) as temporary:
        (temporary / "fresh").touch()
    assert names(path) == ["fresh"]
    assert names(tmp_path) == ["model"]


def test_folder_caught_between_its_two_renames_comes_back(tmp_path: Path) -> None:
    old = tmp_path / ".model.old"
    old.mkdir()
    (old / "weights").touch()
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "model"):
        raise ZeroDivisionError
    assert names(tmp_path / "model") == ["weights"]


def test_error_of_another_file_is_not_renamed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "out"):
        (tmp_path / "missing").read_text()


def test_something_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="move it away or choose another path"):
        write_atomic(tmp_path / "file" / "inner", "text")
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    with pytest.raises(UserError, match="move it away or choose another path"):
        write_atomic(tmp_path / "folder", "text")
    with (
        pytest.raises(UserError, match="move it away or choose another path"),
        atomic_folder(tmp_path / "file"),
    ):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_unwritable_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(UserError, match="Permission denied; choose another folder"):
            write_atomic(tmp_path / "file", "text")
    finally:
        tmp_path.chmod(0o755)


def test_a_full_disk_reads_well() -> None:
    line = "cannot write runs/x: No space left on device; free some space and run the same command again"
    assert str(write_error("runs/x", OSError(errno.ENOSPC, "whatever"))) == line
    assert str(write_error("runs/x", RuntimeError("serializing:\nNo space left on device (os error 28)"))) == line


def test_the_systems_error_behind_a_librarys(tmp_path: Path) -> None:
    """As torch's writer, which says at its end that a position is unexpected."""
    with pytest.raises(UserError, match="free some space"), atomic_file(tmp_path / "weights"):
        try:
            raise OSError(errno.ENOSPC, "whatever")
        except OSError:
            raise RuntimeError("unexpected pos 64 vs 0")  # noqa: B904
    with pytest.raises(ValueError, match="ours"), atomic_file(tmp_path / "weights"):
        try:
            (tmp_path / "missing").read_text()
        except OSError:
            raise ValueError("ours")  # noqa: B904


def test_a_file_inside_a_folder_is_named_as_it_was_to_be(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=f"^cannot write {tmp_path}/run/inner: "),
        atomic_folder(tmp_path / "run") as new,
    ):
        (new / "inner").mkdir()
        write_atomic(new / "inner", "text")
    assert names(tmp_path) == []


def test_a_place_is_writable_or_refused_in_one_line(tmp_path: Path) -> None:
    check_writable(tmp_path / "not" / "there" / "yet")
    (tmp_path / "file").touch()
    assert names(tmp_path) == ["file"], "looking leaves nothing"
    for place, said in (
        (tmp_path / "file" / "inner", "move it away or choose another path"),
        (tmp_path / ("x" * 300), "File name too long; choose a shorter name"),
        (Path("/proc/none"), "check the path"),
    ):
        with pytest.raises(UserError, match=f"^cannot write {place}: .*{said}$"):
            check_writable(place)
    with files_no_larger_than(0), pytest.raises(UserError, match=f"^cannot write {tmp_path}: File too large"):
        check_writable(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[1,]", b"NaN", b'{"a": Infinity}', b"\xff", b"[" * 200_000, None])
def test_what_is_no_json_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "numbers.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"^cannot read {path} .*: make it anew$") as error:
        read_json(path, "make it anew")
    assert "\n" not in str(error.value)


def test_a_name_that_no_text_can_have_is_escaped(tmp_path: Path) -> None:
    write_json(tmp_path / "names.json", {"folder": "r\udcc3\udca9c"})
    assert read_json(tmp_path / "names.json") == {"folder": "r\udcc3\udca9c"}


def test_a_full_disk_behind_a_librarys_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="free some space"), atomic_file(tmp_path / "weights"):
        raise RuntimeError("I/O error: No space left on device (os error 28)")


@given(
    st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))),
    st.binary().filter(lambda torn: b"\n" not in torn),
)
def test_appended_lines_come_back_whatever_was_torn(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], torn: bytes
) -> None:
    path = tmp_path_factory.mktemp("append") / "metrics.jsonl"
    for line in lines:
        append_line(path, line)
        with path.open("ab") as file:
            file.write(torn)
        assert whole_lines(path.read_bytes())[-1] == line
    append_line(path, "last")
    assert whole_lines(path.read_bytes()) == [*lines, "last"]


def test_a_refused_line_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_line(path, "first")
    with files_no_larger_than(10), pytest.raises(UserError, match=f"^cannot write {path}: "):
        append_line(path, "x" * 100)
    assert path.read_text() == "first\n"


def test_a_line_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="newline"):
        append_line(tmp_path / "metrics.jsonl", "a\nb")


def test_appending_does_not_read_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with path.open("wb") as file:
        file.truncate(1 << 33)  # 8 GiB without a block on disk
        file.seek(0, os.SEEK_END)
        file.write(b"\n")
    start = time.perf_counter()
    append_line(path, "last")
    assert time.perf_counter() - start < 1
    assert path.stat().st_size == (1 << 33) + 1 + 5
