"""Formats of other libraries: LeRobot, Minari, OWAMcap, stable-retro's movies, and the log of VPT."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium.spaces as spaces
import numpy as np
import pytest
from asking import Import, run
from square import (
    COLUMNS,
    ROWS,
    WAYS,
    follows,
    frame_of,
    frames_of,
    moved,
    place_of,
    play,
    steps_of,
    write_lines,
    write_video,
)

from diffworld.data import Dataset
from diffworld.game import Choice

SAMPLES = Path(__file__).parent / "samples"


def pushed(data: Dataset) -> float:
    """The share of steps that led as far down and right as their actions say."""
    good = []
    for episode in data.episodes:
        frames = [*data.episode_frames(episode.id), data.final_frame(episode.id)]
        places = [place_of(frame) for frame in frames]
        for place, action, after in zip(places, episode.actions, places[1:], strict=False):
            down, right = (
                int(part.values[value])  # type: ignore[union-attr]
                for part, value in zip(data.spec.actions.parts, data.spec.actions.decode(action), strict=True)
            )
            good.append(((place[0] + down) % ROWS, (place[1] + right) % COLUMNS) == after)
    return float(np.mean(good))


LEROBOT = ["lerobot-v3.0", "lerobot-v2.1", "lerobot-v3.0-images"]


@pytest.mark.parametrize("sample", LEROBOT)
def test_lerobot(sample: str, tmp_path: Path, import_to: Import) -> None:
    pytest.importorskip("pyarrow")
    done = import_to(SAMPLES / sample)
    assert "lerobot, 3 recordings (it has meta/info.json)" in done.out
    assert "speed: 15 steps a second" in done.out and "down in 3 bins, called -1, 0, 1" in done.out
    with Dataset.open(tmp_path / "data") as data:
        assert data.spec.frame_size == (48, 64) and [part.name for part in data.spec.actions.parts] == ["down", "right"]  # type: ignore[union-attr]
        # A frame an action, and the last one's end: told a step earlier, where the last frame is seen.
        assert data.episodes.lengths.tolist() == [7, 9, 11] and data.episodes.terminated.all()
        assert data.episodes.returns.tolist() == [sum(range(steps)) / 4 for steps in (8, 10, 12)]
        # The coarse AV1 of version 3.0 has lost the square from two frames of 30.
        assert pushed(data) == 1 if sample != "lerobot-v3.0" else pushed(data) > 0.9


def changed(sample: str, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a sample with another info.json."""
    shutil.copytree(SAMPLES / sample, folder)
    path = folder / "meta" / "info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))
    return folder


BAD_LEROBOT: list[tuple[str, dict[str, Any], str]] = [
    ("lerobot-v3.0", {"codebase_version": "v1.6"}, "is LeRobot v1.6"),
    ("lerobot-v3.0", {"features": {}}, "has no camera"),
    ("lerobot-v3.0", {"features": {"action": 3}}, "it is damaged"),
    ("lerobot-v3.0", {"data_path": "../../secret.parquet"}, "which lies outside of its folder"),
    ("lerobot-v3.0", {"video_path": "/etc/passwd"}, "which lies outside of its folder"),
    ("lerobot-v3.0", {"video_path": "{video_key.__class__}/x"}, "its video {video_key.__class__}/x is missing"),
    ("lerobot-v3.0", {"data_path": "{secret}"}, "asks for secret, which is not known"),
    ("lerobot-v2.1", {"video_path": "videos/none.mp4"}, "its video videos/none.mp4 is missing"),
    ("lerobot-v2.1", {"fps": "fast"}, "is damaged"),
]


@pytest.mark.parametrize(("sample", "info", "said"), BAD_LEROBOT, ids=[said for _, _, said in BAD_LEROBOT])
def test_a_bad_lerobot_data_set_is_one_line(
    sample: str, info: dict[str, Any], said: str, tmp_path: Path, refused: Import
) -> None:
    pytest.importorskip("pyarrow")
    folder = changed(sample, tmp_path / "data set", lambda there: there.update(info))
    assert said in refused(folder)


def test_a_camera_is_chosen_by_name(tmp_path: Path, refused: Import) -> None:
    pytest.importorskip("pyarrow")
    said = refused(SAMPLES / "lerobot-v3.0", "--camera", "wrist")
    assert "has no camera 'wrist': choose one of observation.images.top" in said


def minari_episodes(actions: str) -> list[dict[str, Any]]:
    """Two games of the square, as a collector keeps them."""
    found = []
    for seed, steps in ((0, 9), (1, 12)):
        places, pressed = play(steps, seed)
        bits = [np.array([key in keys for key in WAYS], np.int8) for keys in pressed]
        vectors = [np.array([sum(WAYS[k][axis] for k in keys) for axis in (0, 1)], np.float32) for keys in pressed]
        taken: Any = {
            "keys": bits,
            "vector": vectors,
            "choices": [(vector + 1).astype(np.int64) for vector in vectors],
            "named": {"down": [int(v[0]) for v in vectors], "right": [int(v[1]) for v in vectors]},
        }[actions]
        images = [frame_of(place) for place in places]
        found.append({"places": [np.array(place, np.float32) for place in places], "images": images, "actions": taken})
    return found


MINARI: dict[str, spaces.Space[Any]] = {
    "keys": spaces.MultiBinary(4),
    "vector": spaces.Box(-1, 1, (2,), np.float32),
    "choices": spaces.MultiDiscrete([3, 3]),
    "named": spaces.Dict(down=spaces.Discrete(3, start=-1), right=spaces.Discrete(3, start=-1)),
}


@pytest.fixture
def minari_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A data set written by Minari itself."""
    minari = pytest.importorskip("minari")
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))

    def make(actions: str, storage: str, observations: spaces.Space[Any] | None = None) -> Path:
        pytest.importorskip("h5py" if storage == "hdf5" else "pyarrow")
        inner = spaces.Dict(place=spaces.Box(0, 9, (2,), np.float32), image=spaces.Box(0, 255, (48, 64, 3), np.uint8))
        buffers = []
        for episode in minari_episodes(actions):
            count = len(episode["images"]) - 1
            seen = {"place": episode["places"], "image": episode["images"]}
            buffers.append(
                EpisodeBuffer(
                    observations=seen if observations is None else episode["places"],
                    actions=episode["actions"],
                    rewards=[float(t) for t in range(count)],
                    terminations=[t == count - 1 for t in range(count)],
                    truncations=[False] * count,
                )
            )
        minari.create_dataset_from_buffers(
            "square/test-v0",
            buffers,
            observation_space=observations or inner,
            action_space=MINARI[actions],
            data_format=storage,
        )
        return tmp_path / "minari"

    return make


@pytest.mark.filterwarnings("ignore")  # Minari warns of what a data set may also say
@pytest.mark.parametrize("storage", ["hdf5", "arrow", "parquet"])
@pytest.mark.parametrize("actions", MINARI)
def test_minari(actions: str, storage: str, minari_set: Callable[..., Path], tmp_path: Path, import_to: Import) -> None:
    done = import_to(minari_set(actions, storage))
    assert "minari, 2 recordings (it has metadata.json beside episodes)" in done.out
    with Dataset.open(tmp_path / "data") as data:
        assert data.episodes.lengths.tolist() == [9, 12] and data.episodes.terminated.all()
        assert data.episodes.returns.tolist() == [36, 66] and data.spec.rewards and data.spec.ends
        if actions == "keys":
            bits = np.concatenate([episode.actions for episode in data.episodes])
            (keys,) = (part for part in data.spec.actions.parts)
            order = [int(name.split()[-1]) for name in keys.names]  # type: ignore[union-attr]
            ways = [list(WAYS)[i] for i in order]
            told = [[key for key, down in zip(ways, row, strict=True) if down] for row in bits]
            assert all(
                moved(place, keys) == after for keys, (place, _, after) in zip(told, steps_of(data), strict=True)
            )
        elif actions == "choices":
            assert [part.values for part in data.spec.actions.parts] == [("0", "1", "2")] * 2  # type: ignore[union-attr]
        else:
            assert pushed(data) == 1


@pytest.mark.filterwarnings("ignore")
def test_minari_without_pictures_is_one_line(minari_set: Callable[..., Path], refused: Import) -> None:
    folder = minari_set("keys", "hdf5", spaces.Box(0, 9, (2,), np.float32))
    assert "and no pictures to learn from" in refused(folder)


@pytest.mark.filterwarnings("ignore")
def test_minari_never_runs_the_environment_it_names(minari_set: Callable[..., Path], refused: Import) -> None:
    folder = minari_set("keys", "hdf5")
    (path,) = folder.rglob("test-v0/data/metadata.json")
    metadata = json.loads(path.read_text())
    del metadata["observation_space"]
    metadata["env_spec"] = '{"id": "x", "entry_point": "os:abort"}'
    path.write_text(json.dumps(metadata))
    assert "its environment is not run to ask for them" in refused(folder)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["external link", "raw external file"])
def test_minari_cannot_reach_other_files(
    kind: str, minari_set: Callable[..., Path], tmp_path: Path, refused: Import
) -> None:
    h5py = pytest.importorskip("h5py")
    folder = minari_set("keys", "hdf5")
    (path,) = folder.rglob("main_data.hdf5")
    (tmp_path / "secret").write_bytes(bytes(100))
    with h5py.File(tmp_path / "other.hdf5", "w") as other:
        other["rewards"] = np.zeros(9)
    with h5py.File(path, "a") as file:
        for name in ("episode_0", "episode_1"):
            del file[name]["rewards"]
            if kind == "external link":
                file[name]["rewards"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "rewards")
            else:
                file[name].create_dataset("rewards", (9,), "u1", external=[(str(tmp_path / "secret"), 0, 9)])
    assert "rewards is" in refused(folder)


def test_owamcap(tmp_path: Path, import_to: Import) -> None:
    pytest.importorskip("mcap")
    done = import_to(SAMPLES / "owamcap")
    assert "owamcap, 1 recording (it has MCAP files)" in done.out
    assert "square.mcap: 41 screen messages, the mouse's own movement" in done.out
    with Dataset.open(tmp_path / "data") as data:
        assert data.num_steps == 40 and follows(data) == 1
        names = [keys for _, keys, _ in steps_of(data)]
        assert [t for t, keys in enumerate(names) if "e" in keys] == [0, 1, 2, 3, 4]  # known from a state alone
        assert [t for t, keys in enumerate(names) if "mouse left" in keys] == [10, 11, 12]
        assert all(("mouse x 5" if t % 2 else "mouse x -5") in keys for t, keys in enumerate(names))


def rewritten(folder: Path, change: Callable[[str, dict[str, Any]], None], profile: str = "owa") -> Path:
    """A copy of the sample with other messages."""
    from mcap.reader import make_reader
    from mcap.writer import Writer

    shutil.copytree(SAMPLES / "owamcap", folder)
    with (SAMPLES / "owamcap" / "square.mcap").open("rb") as old, (folder / "square.mcap").open("wb") as new:
        writer = Writer(new)
        writer.start(profile=profile)
        channels: dict[str, int] = {}
        for _, channel, message in make_reader(old).iter_messages():
            content = json.loads(message.data)
            change(channel.topic, content)
            if channel.topic not in channels:
                channels[channel.topic] = writer.register_channel(channel.topic, "json", 0)
            writer.add_message(
                channels[channel.topic], message.log_time, json.dumps(content).encode(), message.log_time
            )
        writer.finish()
    return folder


def pointing(uri: str) -> Callable[[str, dict[str, Any]], None]:
    def change(topic: str, content: dict[str, Any]) -> None:
        if topic == "screen":
            content["media_ref"]["uri"] = uri

    return change


BAD_OWA = [
    (pointing("../../secret.mkv"), "owa", "which lies outside of its folder"),
    (pointing("/etc/passwd"), "owa", "which lies outside of its folder"),
    (pointing("https://example.org/a.mkv"), "owa", "do not point into a video beside it"),
    (pointing("none.mkv"), "owa", "the video none.mkv that it points into is missing"),
    (pointing("square.mkv"), "ros2", "not of profile owa"),
    (lambda topic, content: content.pop("vk", None), "owa", "it cannot be read"),
]


@pytest.mark.parametrize(
    ("change", "profile", "said"), BAD_OWA, ids=[f"{profile} {said}" for _, profile, said in BAD_OWA]
)
def test_a_bad_desktop_is_one_line(change: Any, profile: str, said: str, tmp_path: Path, refused: Import) -> None:
    pytest.importorskip("mcap")
    assert said in refused(rewritten(tmp_path / "desktop", change, profile))


def test_a_chunk_that_unpacks_to_too_much_is_one_line(
    tmp_path: Path, refused: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mcap")
    from diffworld.importing import owamcap

    assert owamcap.LARGEST_CHUNK == 2**28
    monkeypatch.setattr(owamcap, "LARGEST_CHUNK", 10_000)
    assert "unpacks to more than" in refused(SAMPLES / "owamcap")


def test_a_file_that_was_never_closed_is_one_line(tmp_path: Path, refused: Import) -> None:
    pytest.importorskip("mcap")
    shutil.copytree(SAMPLES / "owamcap", tmp_path / "desktop")
    path = tmp_path / "desktop" / "square.mcap"
    path.write_bytes(path.read_bytes()[:9000])
    assert "square.mcap: it" in refused(tmp_path / "desktop")


def vpt_line(t: int, keys: list[str], **more: Any) -> dict[str, Any]:
    """A line as the contractors' recorder writes it (VPT's README and data loader)."""
    mouse = {"x": 640.0, "y": 360.0, "dx": 0.0, "dy": 0.0, "scaledX": 0.0, "scaledY": 0.0, "dwheel": 0.0}
    line: dict[str, Any] = {
        "mouse": {**mouse, "buttons": [], "newButtons": []},
        "keyboard": {"keys": [f"key.keyboard.{key}" for key in keys], "newKeys": [], "chars": ""},
        "isGuiOpen": False,
        "isGuiInventory": False,
        "hotbar": 0,
        "yaw": 0.0,
        "pitch": 0.0,
        "xpos": 0.5,
        "tick": 1000 + t,
        "milli": 1_636_409_370_411 + 50 * t,
        "inventory": [{"type": "dirt", "quantity": 3}],
        "serverTick": 2000 + t,
        "stats": {"minecraft.custom:minecraft.jump": 1},
    }
    for name, value in more.items():
        line[name] = {**line[name], **value} if isinstance(value, dict) else value
    return line


def test_vpt(tmp_path: Path, import_to: Import) -> None:
    places, pressed = play(60)
    write_video(tmp_path / "a.mp4", frames_of(places), 20)
    lines = [vpt_line(t, keys) for t, keys in enumerate(pressed)]
    for t in range(60):
        lines[t]["mouse"]["dx"] = float(t % 3 - 1)
        lines[t]["mouse"]["buttons"] = [0] if t < 20 or t in (30, 31) else []  # stuck until 20, then a real attack
        lines[t]["hotbar"] = int(t >= 10) + int(t >= 15)
        lines[t]["isGuiOpen"] = 40 <= t < 44
        lines[t]["tick"] += 30 * (t >= 50)  # half a minute is missing
    lines[0]["mouse"]["newButtons"] = [0]
    lines[30]["mouse"]["newButtons"] = [0]
    lines[15]["keyboard"]["keys"].append("key.keyboard.3")  # the first turn was of the wheel, this one of a key
    write_lines(tmp_path / "a.jsonl", lines)
    done = import_to(tmp_path)
    assert "vpt, 1 recording" in done.out and "speed: 20 steps a second" in done.out
    for said in (
        "lines with the attack button stuck, put right: 20",
        "turns of the hotbar by wheel, put in as keys: 1",
        "gaps in its ticks, after which an episode begins: 1",
        "lines in menus, whose pointer is not in the video: 4",
    ):
        assert said in done.out, done.out
    with Dataset.open(tmp_path / "data") as data:
        steps = steps_of(data)
        # Nothing leads from line 49's frame to line 50's, which is of half a minute later.
        assert data.episodes.lengths.tolist() == [49, 10] and follows(data) == 1
        held = [keys for _, keys, _ in steps]
        assert [t for t, keys in enumerate(held) if "mouse left" in keys] == [30, 31]
        assert [t for t, keys in enumerate(held) if "2" in keys] == [10] and [
            t for t, k in enumerate(held) if "3" in k
        ] == [15]
        assert data.spec.keys["mouse left"].startswith("Key") and data.spec.keys["mouse x -1"] == "ArrowLeft"
        (mouse,) = (part for part in data.spec.actions.parts if isinstance(part, Choice))
        assert mouse.values == ("-1", "0", "1")


@pytest.mark.parametrize("broken", [{"mouse": {"buttons": 3}}, {"keyboard": {"keys": None}}, {"mouse": {"dx": "far"}}])
def test_a_bad_line_of_vpt_is_named(broken: dict[str, Any], tmp_path: Path, refused: Import) -> None:
    places, pressed = play(20)
    write_video(tmp_path / "a.mp4", frames_of(places), 20)
    lines = [vpt_line(t, keys, **(broken if t == 7 else {})) for t, keys in enumerate(pressed)]
    write_lines(tmp_path / "a.jsonl", lines)
    assert "line 8 of its log is not as VPT's are" in refused(tmp_path)


def test_a_movie_of_stable_retro_is_played_anew(tmp_path: Path, import_to: Import) -> None:
    retro = pytest.importorskip("stable_retro")
    env = retro.make("Airstriker-Genesis-v0", record=str(tmp_path), render_mode="rgb_array")  # its ROM comes along
    frames, taken, buttons = [env.reset()[0]], [], list(env.buttons)
    rng, action = np.random.default_rng(0), np.zeros(12, np.uint8)
    for t in range(90):
        if t % 6 == 0:
            action = np.zeros(12, np.uint8)
            action[buttons.index(rng.choice(["LEFT", "RIGHT"]))] = 1
            action[buttons.index("B")] = rng.integers(2)
        frames.append(env.step(action)[0])
        taken.append(action.copy())
    env.stop_record()
    env.close()
    (movie,) = tmp_path.glob("*.bk2")
    done = import_to(movie, "--fps", "59.92", "--size", "56x80")
    assert "90 frames played anew" in done.out
    with Dataset.open(tmp_path / "data") as data:
        assert data.num_steps == 90
        shown = data.episode_frames(0).astype(int)
        whole = [frame.reshape(56, 4, 80, 4, 3).mean(axis=(1, 3)) for frame in frames[:90]]
        assert np.abs(shown - np.array(whole)).max() <= 1
        for name in data.spec.actions.names:
            place = buttons.index(name.upper())
            mine = data.episodes[0].actions[:, data.spec.actions.names.index(name)]
            assert mine.tolist() == [int(action[place]) for action in taken], name


def test_what_is_not_installed_is_named_with_its_extra(tmp_path: Path, refused: Import) -> None:
    try:
        import stable_retro  # noqa: F401

        pytest.skip("stable-retro is installed")
    except ImportError:
        pass
    (tmp_path / "a.bk2").write_bytes(b"PK")
    assert "pip install 'diffworld[retro]'" in refused(tmp_path / "a.bk2")


def test_every_format_can_be_asked_for_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("video", "vpt", "lerobot", "minari", "owamcap", "retro", "numpy", "pictures"):
        done = run("import-data", tmp_path / "empty", "--format", name, "--out", tmp_path / "data")
        assert done.code == 2 and f"has no recordings of format {name}" in done.err
