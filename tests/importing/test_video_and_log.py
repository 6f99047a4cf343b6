"""Videos with logs: which action belongs to which frame, at whatever speed, in whatever video, told however."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import Import, run
from square import (
    HEIGHT,
    WAYS,
    WIDTH,
    follows,
    frame_of,
    frames_of,
    moved,
    place_of,
    play,
    steps_of,
    write_clip,
    write_lines,
    write_video,
)

from diffworld.data import Dataset
from diffworld.game import Choice, Keys

STEPS = 40


def keys_of(data: Dataset) -> list[list[str]]:
    return [keys for _, keys, _ in steps_of(data)]


@pytest.mark.parametrize("late", [-2, -1, 0, 1, 2])
def test_shift_puts_every_action_on_its_frame(late: int, tmp_path: Path, import_to: Import) -> None:
    import_to(write_clip(tmp_path / "clips", "a", STEPS, shift=late), "--shift", str(late))
    with Dataset.open(tmp_path / "data") as data:
        assert follows(data) == 1 and data.num_steps == {-2: 38, -1: 39, 0: 40, 1: 40, 2: 39}[late]


@pytest.mark.parametrize("lines", [STEPS - 1, STEPS, STEPS + 1, STEPS + 2])
def test_as_many_lines_as_frames_give_or_take_one(lines: int, tmp_path: Path, import_to: Import) -> None:
    steps = min(lines, STEPS)
    places, pressed = play(STEPS)
    write_video(tmp_path / "a.mp4", frames_of(places))
    write_lines(tmp_path / "a.jsonl", [{"keys": keys} for keys in [*pressed, [], ["a"]][:lines]])
    done = import_to(tmp_path / "a.mp4")
    assert f"a line a frame: {lines} lines, {STEPS + 1} frames" in done.out
    assert ("entries of a log after the last frame: 1" in done.out) == (lines == STEPS + 2)
    with Dataset.open(tmp_path / "data") as data:
        assert data.num_steps == steps and follows(data) == 1
        assert [data.episodes[0].terminated, data.episodes[0].truncated] == [False, True]


def test_a_log_that_is_shorter_than_the_video_ends_the_episode(tmp_path: Path, import_to: Import) -> None:
    places, pressed = play(STEPS)
    write_video(tmp_path / "a.mp4", frames_of(places))
    write_lines(tmp_path / "a.jsonl", [{"keys": keys} for keys in pressed[:25]])
    done = import_to(tmp_path / "a.mp4")
    assert "frames without a logged action: 15" in done.out
    with Dataset.open(tmp_path / "data") as data:
        assert data.num_steps == 25 and follows(data) == 1


VIDEOS = [
    ("h264.mp4", {}),
    ("variable.mkv", {"times": [t / 15 for t in range(STEPS + 1)]}),
    ("h265-10-bit.mp4", {"codec": "libx265", "pixels": "yuv420p10le"}),
    ("h264-444.mkv", {"pixels": "yuv444p"}),
    ("vp9.webm", {"codec": "libvpx-vp9"}),
    ("av1.mp4", {"codec": "libsvtav1"}),
    ("mpeg2-interlaced.mpg", {"codec": "mpeg2video", "options": {"flags": "+ildct+ilme"}}),
    ("h264-interlaced.mkv", {"options": {"flags": "+ildct+ilme"}}),
    ("b-frames.avi", {}),
    ("h264.ts", {}),
    ("prores.mov", {"codec": "prores_ks", "pixels": "yuv422p10le"}),
    ("sound.mp4", {"sound": True}),
]


@pytest.mark.parametrize(("name", "options"), VIDEOS, ids=[name for name, _ in VIDEOS])
def test_any_video_is_read(name: str, options: dict[str, Any], tmp_path: Path, import_to: Import) -> None:
    places, pressed = play(STEPS)
    fps = 25 if name.endswith(".mpg") else 15  # of which MPEG-2 knows a few alone
    write_video(tmp_path / name, frames_of(places, 2), fps, **options)
    write_lines((tmp_path / name).with_suffix(".jsonl"), [{"keys": keys} for keys in pressed])
    import_to(tmp_path / name, "--fps", str(fps))
    with Dataset.open(tmp_path / "data") as data:
        assert data.num_steps == STEPS and follows(data) == 1
        frame = data.episode_frames(0)[0].astype(int)
        assert np.abs(frame - np.asarray(frame_of(places[0]))).mean() < 4  # and in its colours


def test_a_video_held_upright_is_turned(tmp_path: Path, import_to: Import) -> None:
    places, pressed = play(STEPS)
    frames = [np.rot90(frame, 1) for frame in frames_of(places, 2)]
    write_video(tmp_path / "a.mp4", frames, rotation=-90)
    write_lines(tmp_path / "a.jsonl", [{"keys": keys} for keys in pressed])
    done = import_to(tmp_path / "a.mp4")
    assert "frames: 48x64 (from 96x128" in done.out
    with Dataset.open(tmp_path / "data") as data:
        assert follows(data) == 1


def test_pixels_that_are_not_square_keep_the_pictures_aspect(tmp_path: Path, import_to: Import) -> None:
    places, pressed = play(5)
    squeezed = [frame[:, ::2] for frame in frames_of(places, 4)]  # 192 x 128, to be shown 256 wide
    write_video(tmp_path / "a.mp4", squeezed, aspect=Fraction(2))
    write_lines(tmp_path / "a.jsonl", [{"keys": keys} for keys in pressed])
    assert "frames: 48x64 (from 192x256" in import_to(tmp_path / "a.mp4").out


@pytest.mark.parametrize(
    ("shape", "stored"),
    [
        ((90, 160), (32, 56)),
        ((161, 91), (56, 32)),
        ((33, 47), (33, 47)),
        ((360, 640), (32, 56)),
        ((600, 600), (64, 64)),
    ],
)
def test_the_size_is_chosen_and_said(
    shape: tuple[int, int], stored: tuple[int, int], tmp_path: Path, import_to: Import
) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (4, *shape, 3), dtype=np.uint8)
    write_video(tmp_path / "a.mkv", frames, codec="ffv1", pixels="bgr0")
    write_lines(tmp_path / "a.jsonl", [{"keys": ["a"]}, {"keys": []}, {"keys": ["b"]}])
    done = import_to(tmp_path / "a.mkv")
    assert f"frames: {stored[0]}x{stored[1]} (" in done.out
    with Dataset.open(tmp_path / "data") as data:
        assert data.spec.frame_size == stored


def test_frames_of_another_shape_keep_it_between_black_bars(tmp_path: Path, import_to: Import) -> None:
    places, pressed = play(5)
    for name, frames in (
        ("a", frames_of(places)),
        ("b", [frame[:24].repeat(2, axis=1) for frame in frames_of(places)]),
    ):
        write_video(tmp_path / f"{name}.mkv", frames, codec="ffv1", pixels="bgr0")
        write_lines(tmp_path / f"{name}.jsonl", [{"keys": keys} for keys in pressed])
    import_to(tmp_path)
    with Dataset.open(tmp_path / "data") as data:
        wide = data.episode_frames(1)[0]
        assert wide.shape == (48, 64, 3) and not wide[:18].any() and not wide[-18:].any() and wide[18:30].any()


# A cursor whose place is the sum of all movements so far, in frames that tell it to the pixel.


def cursor_frame(place: int) -> np.ndarray:
    frame = np.zeros((16, 64, 3), np.uint8)
    frame[:, :, 2] = 60
    frame[:, place % 64] = 255
    return frame


def cursor_of(frame: np.ndarray) -> int:
    return int(frame[..., 0].astype(int).sum(axis=0).argmax())


EXACT = {"axes": {"mouse x": [float(edge) + 0.5 for edge in range(-9, 9)]}}


@pytest.mark.parametrize("kind", ["60 frames a second", "variable rate"])
def test_a_log_of_20_lines_a_second_on_other_frames_gives_15_steps(
    kind: str, tmp_path: Path, import_to: Import, keymap: Callable[[object], Path]
) -> None:
    rng = np.random.default_rng(1)
    ticks = 61
    ways = rng.integers(-3, 4, ticks)
    sums = np.concatenate([[0], np.cumsum(ways)])
    held = rng.random(ticks) < 0.3
    times = np.arange(180) / 60
    if kind == "variable rate":  # a frame is left out now and then, never one that a step begins on
        times = times[(rng.random(180) < 0.7) | (np.arange(180) % 4 == 0)]
    frames = [cursor_frame(sums[int(time * 20 + 1e-6)]) for time in times]
    write_video(tmp_path / "a.mkv", frames, 60, codec="ffv1", pixels="bgr0", times=[float(time) for time in times])
    write_lines(
        tmp_path / "a.jsonl",
        [{"t": i / 20, "keys": ["fire"] if held[i] else [], "mouse": {"dx": int(ways[i])}} for i in range(ticks)],
    )
    import_to(tmp_path / "a.mkv", "--fps", "15", "--keymap", keymap(EXACT))
    with Dataset.open(tmp_path / "data") as data:
        names = data.spec.actions.names
        shown = [*data.episode_frames(0), data.final_frame(0)]
        actions = data.episodes[0].actions
        assert data.num_steps == 44
        for step, action in enumerate(actions):
            begins = [i for i in range(ticks) if step / 15 - 1e-9 <= i / 20 < (step + 1) / 15 - 1e-9]
            (name,) = [name for name, on in zip(names, action, strict=True) if on and name.startswith("mouse")]
            assert int(name.rpartition(" ")[2]) == ways[begins].sum()
            assert bool(action[names.index("fire")]) == held[begins].any()
            # The frame of a step is the one seen when it begins: what has begun to move by then is in it.
            assert cursor_of(shown[step]) == sums[int(step / 15 * 20 + 1e-6)] % 64


def test_the_speed_is_the_slower_rate_divided_by_a_whole_number(tmp_path: Path, import_to: Import) -> None:
    places, pressed = play(60)
    write_video(tmp_path / "a.mp4", frames_of(places), 60)
    write_lines(tmp_path / "a.jsonl", [{"keys": keys} for keys in pressed])
    assert "speed: 20 steps a second (the video's 60 a second divided by 3)" in import_to(tmp_path / "a.mp4").out
    with Dataset.open(tmp_path / "data") as data:
        assert data.num_steps == 20  # of three frames each, and what was pressed in any of them counts
        for step, (_, keys, _) in enumerate(steps_of(data)):
            assert {*keys} == {key for frame in pressed[3 * step : 3 * step + 3] for key in frame}


EVENTS = [
    {"t": 0.0, "event": "key_down", "key": "d"},
    {"t": 0.0667, "event": "key_down", "key": "d"},  # a keyboard repeats
    {"t": 0.2, "event": "key_up", "key": "d"},
    {"t": 0.30, "event": "KeyDown", "key": "KeyS"},
    {"t": 0.31, "event": "KeyUp", "key": "KeyS"},  # shorter than a step
    {"t": 0.35, "event": "focus", "window": "game"},
    {"t": 0.4, "event": "key_down", "key": "a"},  # never released
]


def test_events_hold_keys_from_press_to_release(tmp_path: Path, import_to: Import) -> None:
    expected = [["d"], ["d"], ["d"], [], ["s"], [], ["a"], ["a"], ["a"]]
    places = [(1, 1)]
    for keys in expected:
        places.append(moved(places[-1], keys))
    write_video(tmp_path / "a.mp4", frames_of(places))
    write_lines(tmp_path / "a.jsonl", EVENTS)
    done = import_to(tmp_path / "a.mp4")
    assert "events with times ('t', seconds since the first frame)" in done.out
    assert "events of other kinds (focus), left out: 1" in done.out
    with Dataset.open(tmp_path / "data") as data:
        assert keys_of(data) == expected and follows(data) == 1


@pytest.mark.parametrize(
    ("stamp", "said"),
    [
        (lambda t: {"time_ms": 1000 * t}, "milliseconds since the first frame"),
        (lambda t: {"timestamp": 1.7e9 + t}, "seconds since its first line"),
        (lambda t: {"timestamp": int((1.7e9 + t) * 1e9)}, "nanoseconds since its first line"),
        (lambda t: {"t": 1000 * t}, "milliseconds since the first frame"),  # told by the video's length
        (lambda t: {"time": 5000 + t}, "seconds since its first line"),  # a clock that began long before
    ],
)
def test_clocks_of_every_unit(stamp: Any, said: str, tmp_path: Path, import_to: Import) -> None:
    places, pressed = play(STEPS)
    write_video(tmp_path / "a.mp4", frames_of(places))
    lines = [{**stamp(t / 15 / 2), "keys": pressed[t // 2]} for t in range(2 * STEPS)]  # two lines a frame
    write_lines(tmp_path / "a.jsonl", lines)
    assert said in import_to(tmp_path / "a.mp4", "--fps", "15").out
    with Dataset.open(tmp_path / "data") as data:
        assert data.num_steps == STEPS and follows(data) == 1


CSVS = {
    "columns of zeros and ones": lambda keys, t: {key: int(key in keys) for key in WAYS},
    "a column of keys": lambda keys, t: {"keys": "+".join(keys)},
    "frames in disorder": lambda keys, t: {"frame": t, "keys": " ".join(keys)},
}


@pytest.mark.parametrize("kind", CSVS)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv(kind: str, delimiter: str, tmp_path: Path, import_to: Import) -> None:
    places, pressed = play(STEPS)
    write_video(tmp_path / "a.mp4", frames_of(places))
    rows = [CSVS[kind](keys, t) for t, keys in enumerate(pressed)]
    order = rows[::-1] if "disorder" in kind else rows
    lines = [delimiter.join(rows[0]), *(delimiter.join(map(str, row.values())) for row in order)]
    (tmp_path / "a.csv").write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    import_to(tmp_path / "a.mp4")
    with Dataset.open(tmp_path / "data") as data:
        assert data.num_steps == STEPS and follows(data) == 1


def test_rewards_and_ends_of_a_log_are_taken(tmp_path: Path, import_to: Import) -> None:
    places, pressed = play(11)
    write_video(tmp_path / "a.mp4", frames_of(places))
    lines = [
        {"keys": keys, "reward": t / 2, "terminated": t == 4} for t, keys in enumerate(pressed)
    ]  # frame 5 is the next game's first one
    write_lines(tmp_path / "a.jsonl", lines)
    assert "ends without their last frame, told a step earlier: 1" in import_to(tmp_path / "a.mp4").out
    with Dataset.open(tmp_path / "data") as data:
        first, second = data.episodes
        assert data.spec.rewards and data.spec.ends
        assert first.rewards.tolist() == [0, 0.5, 1, 1.5 + 2] and first.terminated
        assert second.rewards.tolist() == [t / 2 for t in range(5, 11)] and second.truncated
        assert place_of(data.episode_frames(second.id)[0]) == places[5]


def test_one_wild_value_is_put_into_the_outermost_bin(tmp_path: Path, import_to: Import) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (201, 16, 16, 3), dtype=np.uint8)
    ways = [float(way) for way in rng.normal(0, 8, 200).round()]
    ways[50] = 72590.5
    write_video(tmp_path / "a.mp4", frames)
    write_lines(tmp_path / "a.jsonl", [{"mouse": {"dx": way, "dy": 0.0}} for way in ways])
    done = import_to(tmp_path / "a.mp4")
    assert "wild values of mouse x, put into its outermost bin: 1" in done.out
    assert "left out: mouse y (always the same)" in done.out
    with Dataset.open(tmp_path / "data") as data:
        (part,) = data.spec.actions.parts
        assert isinstance(part, Choice) and part.size == 7 and part.values[3] == "0"
        assert data.episodes[0].actions[50] == 6 and data.num_steps == 200
        assert [float(name) for name in part.values] == sorted(float(name) for name in part.values)
        assert float(part.values[6]) < 30


def test_bindings_of_each_player_are_mapped_to_named_actions(
    tmp_path: Path, import_to: Import, keymap: Callable[[object], Path]
) -> None:
    places, pressed = play(STEPS)
    arrows = {"w": "ArrowUp", "a": "ArrowLeft", "s": "ArrowDown", "d": "ArrowRight"}
    for player, names in (("alice", {key: key for key in WAYS}), ("bob", arrows)):
        (tmp_path / "clips" / player).mkdir(parents=True)
        write_video(tmp_path / "clips" / player / "1.mp4", frames_of(places))
        write_lines(
            tmp_path / "clips" / player / "1.jsonl",
            [{"keys": [*(names[key] for key in keys), "esc"]} for keys in pressed],
        )
    content = {
        "keys": {"w": "forward", "a": "left", "s": "back", "d": "right"},
        "recordings": {"bob/*": {"up": "forward", "left": "left", "down": "back", "right": "right"}},
        "exclusive": [["left", "right"]],
        "play": {"forward": "KeyI"},
    }
    import_to(tmp_path / "clips", "--keymap", keymap(content))
    with Dataset.open(tmp_path / "data") as data:
        assert data.spec.actions.parts == (Keys(("forward", "left", "back", "right"), (("left", "right"),)),)
        assert data.spec.keys["forward"] == "KeyI"
        alice, bob = data.episodes
        assert (alice.actions == bob.actions).all()
        order = "wasd"
        assert [["wasd"[i] for i in np.flatnonzero(row)] for row in alice.actions] == [
            sorted(keys, key=order.index) for keys in pressed
        ]


def test_the_map_that_an_import_writes_gives_the_same_actions(tmp_path: Path, import_to: Import) -> None:
    write_clip(tmp_path / "clips", "a", STEPS)
    import_to(tmp_path / "clips")
    again = run(
        "import-data", tmp_path / "clips", "--out", tmp_path / "again", "--keymap", tmp_path / "data" / "keymap.json"
    )
    assert again.code == 0, again.err
    with Dataset.open(tmp_path / "data") as first, Dataset.open(tmp_path / "again") as second:
        assert first.spec.actions == second.spec.actions
        assert (first.episodes[0].actions == second.episodes[0].actions).all()


def test_parts_are_cut_out_by_time(tmp_path: Path, import_to: Import) -> None:
    write_clip(tmp_path / "clips", "a", 45)
    write_clip(tmp_path / "clips", "b", 45, seed=1)
    done = import_to(tmp_path / "clips", "--cut", "0-1", "b.mp4@2-2.2")
    assert "frames cut out: " in done.out
    with Dataset.open(tmp_path / "data") as data:
        assert follows(data) == 1
        # 46 frames: the first second is 15 of them, and 2 to 2.2 s are 3.
        assert data.episodes.lengths.tolist() == [30, 14, 12]


@pytest.mark.thorough
def test_a_long_recording_becomes_several_episodes_and_loses_no_step(tmp_path: Path, import_to: Import) -> None:
    places, pressed = play(2500)
    write_video(tmp_path / "a.mp4", frames_of(places))
    write_lines(tmp_path / "a.jsonl", [{"keys": keys} for keys in pressed])
    import_to(tmp_path / "a.mp4")
    with Dataset.open(tmp_path / "data") as data:
        assert data.episodes.lengths.tolist() == [833, 834, 833] and follows(data) == 1
        assert [{*keys} for keys in keys_of(data)] == [{*keys} for keys in pressed]


def test_only_the_lines_that_changed_something_are_logged(tmp_path: Path, import_to: Import) -> None:
    expected = [["d"]] * 20 + [[]] * 3 + [["s"]] * 40 + [["a"]] * 7
    places = [(1, 1)]
    for keys in expected:
        places.append(moved(places[-1], keys))
    write_video(tmp_path / "a.mp4", frames_of(places))
    changes = [t for t in range(len(expected)) if t == 0 or expected[t] != expected[t - 1]]
    write_lines(tmp_path / "a.jsonl", [{"t": t / 15, "keys": expected[t]} for t in changes])
    import_to(tmp_path / "a.mp4")
    with Dataset.open(tmp_path / "data") as data:
        assert keys_of(data) == expected and follows(data) == 1


def test_a_hole_in_a_steady_log_begins_another_episode(tmp_path: Path, import_to: Import) -> None:
    places, pressed = play(60)
    write_video(tmp_path / "a.mp4", frames_of(places))
    lines = [{"t": t / 15, "keys": keys} for t, keys in enumerate(pressed)]
    write_lines(tmp_path / "a.jsonl", lines[:20] + lines[40:])
    import_to(tmp_path / "a.mp4")
    with Dataset.open(tmp_path / "data") as data:
        assert data.episodes.lengths.tolist() == [20, 20] and follows(data) == 1


def test_a_torn_last_line_is_left_out(tmp_path: Path, import_to: Import) -> None:
    folder = write_clip(tmp_path / "clips", "a", STEPS)
    with (folder / "a.jsonl").open("a") as file:
        file.write('{"keys": ["w"')
    import_to(folder)
    with Dataset.open(tmp_path / "data") as data:
        assert data.num_steps == STEPS and follows(data) == 1


BAD_LOGS = [
    ("", "is empty"),
    ('{"keys": []}\nnonsense\n{}\n', "line 2 of its log is no JSON"),
    ("[1, 2]\n", "line 1 of its log is no JSON object"),
    ('{"event": "key_down", "key": "w"}\n', "line 1 of its log is an event without a time"),
    ('{"t": 0.1, "event": "press"}\n', "no event that is known"),
    ("[" * 100_000 + "\n", "line 1 of its log is no JSON"),
    ('{"keys": ["' + "w" * 2**20 + '"]}\n', "longer than a megabyte"),
    ('{"t": "noon", "keys": []}\n', "nothing was ever pressed"),
    ("\x00\xff", "is no text"),
    ('{"frame": 99, "keys": ["w"]}\n', "its log covers none of its frames"),
    ("{" + ", ".join(f'"column {i}": 0.5' for i in range(600)) + "}\n", "more than 512 columns"),
]


@pytest.mark.parametrize(("text", "said"), BAD_LOGS, ids=[said for _, said in BAD_LOGS])
def test_a_bad_log_is_one_line(text: str, said: str, tmp_path: Path, refused: Import) -> None:
    write_video(tmp_path / "a.mp4", frames_of(play(5)[0]))
    (tmp_path / "a.jsonl").write_text(text, encoding="latin-1")
    assert said in refused(tmp_path / "a.mp4")


BAD_CSVS = [("1,2\n3,4\n", "no names of columns"), ("keys\nw\nw,a,s\n", "line 3 of its log has 3 columns, not 1")]


@pytest.mark.parametrize(("text", "said"), BAD_CSVS, ids=[said for _, said in BAD_CSVS])
def test_a_bad_csv_is_one_line(text: str, said: str, tmp_path: Path, refused: Import) -> None:
    write_video(tmp_path / "a.mp4", frames_of(play(5)[0]))
    (tmp_path / "a.csv").write_text(text)
    assert said in refused(tmp_path / "a.mp4")


def test_bad_videos_are_one_line_each(tmp_path: Path, refused: Import) -> None:
    one = write_video(tmp_path / "one.mp4", frames_of(play(0)[0]))
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile '{one}'\n")
    huge = tmp_path / "huge.mkv"
    write_video(huge, np.zeros((2, 2, 20_000, 3), np.uint8), codec="ffv1", pixels="bgr0")
    (tmp_path / "text.mp4").write_text("no video")
    for name, said in (
        ("one.mp4", "it has one frame, and a step needs two"),
        ("list.mp4", "cannot be read"),
        ("huge.mkv", "its frames are 20000x2 pixels: at most 16384 a side can be read"),
        ("text.mp4", "cannot be read"),
    ):
        assert "it has no log beside it" in refused(tmp_path / name)
        write_lines((tmp_path / name).with_suffix(".jsonl"), [{"keys": ["w"]}, {"keys": []}])
        assert said in refused(tmp_path / name), name
    assert "none of the 4 recordings" in refused(tmp_path)


def test_a_bad_file_among_good_ones_is_named_skipped_and_counted(tmp_path: Path, import_to: Import) -> None:
    folder = write_clip(tmp_path / "clips", "good", STEPS)
    (folder / "bad.mp4").write_bytes((folder / "good.mp4").read_bytes()[:500])
    write_lines(folder / "bad.jsonl", [{"keys": ["w"]}])
    write_video(folder / "alone.mp4", frames_of(play(5)[0]))
    done = import_to(folder)
    assert "skipped alone.mp4: it has no log beside it" in done.out
    assert "skipped bad.mp4: its video cannot be read" in done.out
    with Dataset.open(tmp_path / "data") as data:
        assert data.num_steps == STEPS


def test_a_video_that_breaks_off_keeps_what_comes_before(tmp_path: Path, import_to: Import) -> None:
    places, pressed = play(400)
    path = write_video(tmp_path / "a.mkv", frames_of(places, 2), options={"g": "15"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    write_lines(tmp_path / "a.jsonl", [{"keys": keys} for keys in pressed])
    import_to(path)
    with Dataset.open(tmp_path / "data") as data:
        assert 150 < data.num_steps < 400 and follows(data) == 1


BAD_OPTIONS = [
    (["--fps", "0"], "--fps is 0.0; it must be above 0"),
    (["--size", "64"], "--size is '64': give HxW"),
    (["--size", "4x4"], "give 8 to 1024 pixels a side"),
    (["--cut", "5"], "--cut is '5': give FROM-TO in seconds"),
    (["--cut", "5-2"], "--cut is '5-2'"),
    (["--cut", "0-"], "all of it is cut out"),
    (["--format", "lerobot"], "has no recordings of format lerobot"),
    (["--shift", "5000"], "--shift is 5000; it must be at most 1000"),
    (["--keymap", "/nowhere"], "cannot read /nowhere (No such file or directory): give the key map as a JSON file"),
]


@pytest.mark.parametrize(("options", "said"), BAD_OPTIONS, ids=[" ".join(options) for options, _ in BAD_OPTIONS])
def test_bad_options_are_one_line(options: list[str], said: str, tmp_path: Path, refused: Import) -> None:
    write_clip(tmp_path / "clips", "a", 5)
    assert said in refused(tmp_path / "clips" / "a.mp4", *options)


BAD_MAPS: list[tuple[object, str]] = [
    ([], "should be a JSON object"),
    ({"kyes": {}}, "an unknown field 'kyes'"),
    ({"axes": {"mouse x": [3, 1]}}, "must be numbers that increase"),
    ({"axes": {"mouse x": 1}}, "give 2 or more"),
    ({"keys": {"w": 3}}, "key map map.json: keys.w is 3"),
    ({"keys": {"x": None}}, "nothing was ever pressed"),
    ({"keys": {"w": "up"}, "exclusive": [["up", "down"]]}, "must be two of the keys"),
]


@pytest.mark.parametrize(("content", "said"), BAD_MAPS, ids=[said for _, said in BAD_MAPS])
def test_a_bad_key_map_is_one_line(
    content: object, said: str, tmp_path: Path, refused: Import, keymap: Callable[[object], Path]
) -> None:
    write_clip(tmp_path / "clips", "a", 30)
    assert said in refused(tmp_path / "clips", "--keymap", keymap(content))


def test_sources_that_hold_nothing_or_too_much_are_one_line(tmp_path: Path, refused: Import) -> None:
    assert "there is nothing at" in refused(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "has no recordings: none of" in refused(tmp_path / "empty")
    folder = write_clip(tmp_path / "clips", "a", 5)
    np.savez(folder / "b.npz", frames=np.zeros((3, 16, 16, 3), np.uint8), actions=np.arange(3))
    said = refused(folder)
    assert "say which with --format numpy or video" in said
    assert f"{HEIGHT}x{WIDTH}" not in said
