"""NumPy arrays and folders of pictures, told in the order of their steps."""

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import Import
from PIL import Image
from square import WAYS, follows, frames_of, moved, place_of, play, steps_of, write_lines

from diffworld.data import Dataset
from diffworld.game import Choice, Keys
from diffworld.importing import arrays as arrays_module

STEPS = 30
KEYS = list(WAYS)


def bits_of(pressed: list[list[str]]) -> np.ndarray:
    return np.array([[key in keys for key in KEYS] for keys in pressed], np.uint8)


def recorded(steps: int = STEPS, seed: int = 0) -> dict[str, Any]:
    """Frames (steps + 1) and actions (steps)."""
    places, pressed = play(steps, seed)
    return {"frames": frames_of(places), "actions": bits_of(pressed), "action_names": np.array(KEYS)}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_an_archive_with_as_many_actions_as_frames_give_or_take_one(
    packed: bool, more: int, tmp_path: Path, import_to: Import
) -> None:
    arrays = recorded()
    extra = np.zeros((more + 1, len(KEYS)), np.uint8)
    arrays["actions"] = np.concatenate([arrays["actions"], extra])
    (np.savez_compressed if packed else np.savez)(tmp_path / "a.npz", **arrays)
    done = import_to(tmp_path / "a.npz")
    assert f"a.npz: {STEPS + 1} frames, {STEPS + 1 + more} actions" in done.out
    with Dataset.open(tmp_path / "data") as data:
        assert data.spec.actions.names == tuple(KEYS) or {*data.spec.actions.names} == {*KEYS}
        assert data.num_steps == STEPS and follows(data) == 1
        assert not data.spec.rewards and not data.spec.ends
        places, _ = play(STEPS)
        assert np.array_equal(data.episode_frames(0), frames_of(places[:-1]))  # pixel by pixel


@pytest.mark.parametrize("late", [-2, -1, 1, 2])
def test_shift(late: int, tmp_path: Path, import_to: Import) -> None:
    arrays = recorded()
    arrays["actions"] = np.roll(arrays["actions"], late, axis=0)
    np.savez(tmp_path / "a.npz", **arrays)
    import_to(tmp_path / "a.npz", "--shift", str(late))
    with Dataset.open(tmp_path / "data") as data:
        # What was rolled around the end is of another moment: one step at most, where it falls inside.
        assert data.num_steps >= STEPS - 2 and follows(data) >= 1 - 2 / STEPS


def test_files_in_a_folder_with_rewards_and_several_episodes(tmp_path: Path, import_to: Import) -> None:
    (tmp_path / "clip").mkdir()
    games = [recorded(9, seed) for seed in range(3)]
    # As buffers keep them: a frame and an action a step, the frame after an end is the next game's first.
    frames = np.concatenate([game["frames"][:-1] for game in games])
    for name, values in (
        ("frames", frames),
        ("actions", np.concatenate([game["actions"] for game in games])),
        ("rewards", np.arange(27) / 4),
        ("dones", np.arange(27) % 9 == 8),
        ("action_names", np.array(KEYS)),
    ):
        np.save(tmp_path / "clip" / f"{name}.npy", values)
    done = import_to(tmp_path / "clip")
    assert "ends without their last frame, told a step earlier: 3" in done.out
    with Dataset.open(tmp_path / "data") as data:
        assert data.episodes.lengths.tolist() == [8, 8, 8] and data.episodes.terminated.all()
        assert follows(data) == 1
        assert data.episodes.returns.tolist() == [sum(range(9 * i, 9 * i + 9)) / 4 for i in range(3)]


def test_a_last_frame_that_no_action_belongs_to_is_the_final_one(tmp_path: Path, import_to: Import) -> None:
    arrays = recorded()
    np.savez(tmp_path / "a.npz", **arrays, terminated=np.arange(STEPS) == STEPS - 1, rewards=np.ones(STEPS))
    import_to(tmp_path / "a.npz")
    with Dataset.open(tmp_path / "data") as data:
        (episode,) = data.episodes
        assert episode.length == STEPS and episode.terminated and episode.return_ == STEPS and follows(data) == 1


def test_a_shifted_action_never_comes_from_another_episode(tmp_path: Path, import_to: Import) -> None:
    games = [recorded(9, seed) for seed in range(3)]
    ends = np.arange(30) % 10 == 9
    actions = np.concatenate([np.concatenate([game["actions"], np.zeros((1, 4), np.uint8)]) for game in games])
    frames = np.concatenate([game["frames"] for game in games])
    np.savez(
        tmp_path / "a.npz", frames=frames, actions=np.roll(actions, 2, axis=0), truncated=ends, names=np.array(KEYS)
    )
    import_to(tmp_path / "a.npz", "--shift", "2")
    with Dataset.open(tmp_path / "data") as data:
        assert data.episodes.lengths.tolist() == [8, 8, 8] and follows(data) == 1


ACTIONS: list[tuple[str, np.ndarray, tuple[Any, ...]]] = [
    ("one choice", np.arange(STEPS) % 5, (Choice("action", ("0", "1", "2", "3", "4")),)),
    ("one column", (np.arange(STEPS) % 3)[:, None], (Choice("action", ("0", "1", "2")),)),
    ("keys", np.eye(3, dtype=np.uint8)[np.arange(STEPS) % 3], (Keys(("key 0", "key 1", "key 2")),)),
    ("flags", np.eye(3, dtype=bool)[np.arange(STEPS) % 3], (Keys(("key 0", "key 1", "key 2")),)),
    (
        "choices",
        np.stack([np.arange(STEPS) % 2, np.arange(STEPS) % 3], axis=1),
        (Choice("action 0", ("0", "1")), Choice("action 1", ("0", "1", "2"))),
    ),
    (
        "few values of an axis",
        np.stack([np.arange(STEPS) % 3 - 1.0, np.ones(STEPS)], axis=1),
        (Choice("action 0", ("-1", "0", "1")),),
    ),
]


@pytest.mark.parametrize(("kind", "actions", "parts"), ACTIONS, ids=[kind for kind, _, _ in ACTIONS])
def test_the_kind_of_actions_is_found(
    kind: str, actions: np.ndarray, parts: tuple[Any, ...], tmp_path: Path, import_to: Import
) -> None:
    np.savez(tmp_path / "a.npz", frames=recorded()["frames"], actions=actions)
    import_to(tmp_path / "a.npz")
    with Dataset.open(tmp_path / "data") as data:
        assert data.spec.actions.parts == parts
        assert len(data.episodes[0].actions) == STEPS


def test_continuous_axes_are_binned_by_quantiles_or_as_told(
    tmp_path: Path, import_to: Import, keymap: Callable[[object], Path]
) -> None:
    rng = np.random.default_rng(0)
    steering, pose = rng.uniform(-1, 1, 400), rng.normal(5, 2, 400)
    throttle = np.where(rng.random(400) < 0.5, 0, rng.uniform(-1, 1, 400))
    frames = rng.integers(0, 255, (401, 16, 16, 3), dtype=np.uint8)
    actions = np.stack([steering, pose, throttle], axis=1)
    np.savez(tmp_path / "a.npz", frames=frames, actions=actions, names=np.array(["steering", "pose", "throttle"]))
    done = import_to(tmp_path / "a.npz", "--keymap", keymap({"axes": {"steering": [-0.5, 0.5]}}))
    assert "steering in 3 bins, called -0.7" in done.out
    with Dataset.open(tmp_path / "data") as data:
        first, second, third = data.spec.actions.parts
        assert isinstance(first, Choice) and isinstance(second, Choice) and isinstance(third, Choice)
        assert [part.name for part in (first, second, third)] == ["steering", "pose", "throttle"]
        coded = data.episodes[0].actions
        numbers = coded[:, :3].argmax(axis=1)
        assert (numbers == np.digitize(steering, [-0.5, 0.5])).all()
        assert second.size == 7 and coded[:, 3:10].sum(axis=0).min() >= 45  # of 400: about equally many in each
        assert third.values[third.size // 2] == "0"
        assert (coded[:, 10:].argmax(axis=1) == third.size // 2).sum() >= (throttle == 0).sum()


def test_names_for_the_values_of_a_choice(tmp_path: Path, import_to: Import, keymap: Callable[[object], Path]) -> None:
    np.savez(tmp_path / "a.npz", frames=recorded()["frames"], actions=np.arange(STEPS) % 2)
    import_to(tmp_path / "a.npz", "--keymap", keymap({"choices": {"action": ["NOOP", "FIRE", "UP"]}}))
    with Dataset.open(tmp_path / "data") as data:
        assert data.spec.actions.names == ("NOOP", "FIRE", "UP")
        assert data.episodes[0].actions.tolist() == [t % 2 for t in range(STEPS)]


def test_a_value_without_a_name_is_one_line(tmp_path: Path, refused: Import, keymap: Callable[[object], Path]) -> None:
    np.savez(tmp_path / "a.npz", frames=recorded()["frames"], actions=np.arange(STEPS) % 5)
    said = refused(tmp_path / "a.npz", "--keymap", keymap({"choices": {"action": ["NOOP", "FIRE"]}}))
    assert "the key map names 2 values of action, and 2 occurs" in said


@pytest.mark.parametrize("layout", ["channels first", "grey", "grey with a channel", "with alpha"])
def test_frames_of_other_layouts(layout: str, tmp_path: Path, import_to: Import) -> None:
    arrays = recorded()
    frames = arrays["frames"]
    grey = (frames[..., 0] > 100).astype(np.uint8) * 255
    arrays["frames"] = {
        "channels first": frames.transpose(0, 3, 1, 2),
        "grey": grey,
        "grey with a channel": grey[..., None],
        "with alpha": np.concatenate([frames, frames[..., :1]], axis=3),
    }[layout]
    np.savez(tmp_path / "a.npz", **arrays)
    import_to(tmp_path / "a.npz")
    with Dataset.open(tmp_path / "data") as data:
        shown = data.episode_frames(0)
        expected = grey[..., None].repeat(3, axis=3) if "grey" in layout else frames
        assert np.array_equal(shown, expected[:STEPS])


class Harm:
    def __reduce__(self) -> Any:
        return (print, ("harm",))


def raw_npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def archive(path: Path, **parts: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in parts.items():
            file.writestr(f"{name}.npy", data)
    return path


def npy(values: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


GOOD = {name: npy(values) for name, values in recorded(3).items()}
FRAMES, ACTED = GOOD["frames"], GOOD["actions"]
BAD: dict[str, tuple[dict[str, bytes], str]] = {
    "no actions": ({"frames": FRAMES}, "it has no array 'actions', only frames"),
    "floats as frames": (
        {"frames": npy(np.zeros((4, 8, 8, 3))), "actions": ACTED},
        "its frames are float64",
    ),
    "vectors": (
        {"frames": npy(np.zeros((4, 5), np.uint8)), "actions": ACTED},
        "its frames are uint8 (4, 5)",
    ),
    "pickles": (
        {"frames": FRAMES, "actions": npy(np.array([Harm()], object))},
        "its actions are Python objects, which could run code",
    ),
    "bare pickle": ({"frames": FRAMES, "actions": pickle.dumps(Harm())}, "its actions are no NumPy array"),
    "code in a header": (
        {"frames": FRAMES, "actions": raw_npy("__import__('os').system('true')\n")},
        "its actions are no NumPy array",
    ),
    "a giant": (
        {
            "frames": FRAMES,
            "actions": raw_npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 100)}\n"),
        },
        "its actions take 745.1 GB",
    ),
    "cut short": (
        {
            "frames": FRAMES,
            "actions": raw_npy("{'descr': '<f8', 'fortran_order': False, 'shape': (100, 2)}\n", b"12345678"),
        },
        "its actions end early",
    ),
    "frames 100,000 wide": (
        {
            "frames": raw_npy("{'descr': '|u1', 'fortran_order': False, 'shape': (3, 100000, 100000, 3)}\n"),
            "actions": ACTED,
        },
        "its frames are 100000x100000 pixels: at most 16384 a side",
    ),
    "negative actions": (
        {"frames": FRAMES, "actions": npy(np.array([-1, 0, 1]))},
        "its actions go from -1 to 1",
    ),
    "text as actions": (
        {"frames": FRAMES, "actions": npy(np.array(["a", "b"]))},
        "its actions are <U1 (2,)",
    ),
    "rewards that do not fit": (
        {"frames": FRAMES, "actions": ACTED, "rewards": npy(np.zeros(1))},
        "it has 1 rewards of type float64 for 3 actions",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_archives_are_one_line(kind: str, tmp_path: Path, refused: Import, capfd: Any) -> None:
    parts, said = BAD[kind]
    assert said in refused(archive(tmp_path / "a.npz", **parts))
    assert "harm" not in capfd.readouterr().out


def test_an_archive_that_is_none_is_one_line(tmp_path: Path, refused: Import) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 no")
    assert "it is no archive of arrays" in refused(tmp_path / "a.npz")


def test_a_zip_bomb_is_one_line(tmp_path: Path, refused: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    assert arrays_module._BOMB == (2**30, 200)
    monkeypatch.setattr(arrays_module, "_BOMB", (2**20, 200))
    header = raw_npy("{'descr': '|u1', 'fortran_order': False, 'shape': (400, 64, 64, 3)}\n")
    archive(tmp_path / "a.npz", frames=header + bytes(400 * 64 * 64 * 3), actions=npy(np.arange(400) % 2))
    said = refused(tmp_path / "a.npz")
    assert "its part 'frames.npy' unpacks to" in said and "that is no recording" in said


@pytest.mark.parametrize("log", ["array", "lines", "beside"])
def test_a_folder_of_pictures(log: str, tmp_path: Path, import_to: Import) -> None:
    places, pressed = play(12)
    folder = tmp_path / "clip" / "frames" if log == "beside" else tmp_path / "clip"
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames_of(places)):
        Image.fromarray(frame).save(folder / f"frame_{number}.png")  # frame_10 comes after frame_9
    if log == "array":
        np.save(folder / "actions.npy", bits_of(pressed))
        np.save(folder / "names.npy", np.array(KEYS))
    else:
        lines = [{"t": t / 60, "keys": keys} for t, keys in enumerate(pressed)]
        write_lines(tmp_path / "clip" / "actions.jsonl", lines)
    done = import_to(tmp_path / "clip")
    assert "pictures, 1 recording (it has pictures beside actions)" in done.out
    with Dataset.open(tmp_path / "data") as data:
        assert data.num_steps == 12 and follows(data) == 1
        assert np.array_equal(data.episode_frames(0), frames_of(places[:-1]))


def test_a_picture_that_is_damaged_ends_the_recording_there(tmp_path: Path, import_to: Import) -> None:
    places, pressed = play(12)
    for number, frame in enumerate(frames_of(places)):
        Image.fromarray(frame).save(tmp_path / f"{number:03}.png")
    (tmp_path / "007.png").write_bytes((tmp_path / "007.png").read_bytes()[:60])
    write_lines(tmp_path / "actions.jsonl", [{"keys": keys} for keys in pressed])
    done = import_to(tmp_path)
    assert "only 7 of its 13 frames can be read: its picture 007.png cannot be read" in done.out
    with Dataset.open(tmp_path / "data") as data:
        steps = steps_of(data)
        assert (
            data.num_steps == 7 and len(steps) == 6 and all(moved(place, keys) == after for place, keys, after in steps)
        )
        assert place_of(data.episode_frames(0)[-1]) == places[6]


@pytest.mark.parametrize(
    ("width", "height", "said"),
    [(100_000, 8, "its frames are 100000x8 pixels: at most 16384 a side"), (16_000, 16_000, "too many pixels")],
)
def test_a_giant_picture_is_one_line(width: int, height: int, said: str, tmp_path: Path, refused: Import) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(buffer, format="PNG")
    png = bytearray(buffer.getvalue())
    png[16:24] = struct.pack(">II", width, height)  # its header, and the checksum of that
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    (tmp_path / "0.png").write_bytes(png)
    np.save(tmp_path / "actions.npy", np.arange(3))
    assert said in refused(tmp_path)


def test_events_with_times_do_not_fit_pictures(tmp_path: Path, refused: Import) -> None:
    for number, frame in enumerate(frames_of(play(2)[0])):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    write_lines(tmp_path / "actions.jsonl", [{"t": 0.1, "event": "press", "key": "w"}])
    assert "its frames have none: give a line a frame" in refused(tmp_path)
