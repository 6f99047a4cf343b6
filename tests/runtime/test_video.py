"""Films decode to what was put in, at the size, length and rate asked for."""

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from diffworld.runtime.video import side_by_side, write_gif, write_video


def film(length: int, height: int, width: int) -> NDArray[np.uint8]:
    """Flat colour patches that change over time: what a lossy codec keeps well."""
    generator = np.random.default_rng(0)
    patches = generator.integers(0, 256, (length, -(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    return patches.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]


@pytest.mark.parametrize("scale", [1, 4])
def test_an_mp4_decodes_to_its_frames(tmp_path: Path, scale: int) -> None:
    frames = film(12, 64, 64)
    write_video(tmp_path / "a.mp4", frames, fps=15, scale=scale)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 15
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
    expected = frames.repeat(scale, axis=1).repeat(scale, axis=2)
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected).mean() < 8
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_odd_sides_gain_a_pixel(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", film(3, 35, 61), scale=1)
    with av.open(str(tmp_path / "a.mp4")) as container:
        shapes = [frame.to_ndarray(format="rgb24").shape for frame in container.decode(video=0)]
    assert shapes == [(36, 62, 3)] * 3


def test_small_frames_are_enlarged_by_default_and_large_ones_not(tmp_path: Path) -> None:
    for height, expected in [(64, 256), (10, 260), (280, 280)]:
        write_video(tmp_path / "a.mp4", film(1, height, height))
        with av.open(str(tmp_path / "a.mp4")) as container:
            assert container.streams.video[0].height == expected


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((0, 8, 8, 3), np.uint8),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((2, 3, 8, 8), np.uint8),
        np.zeros((2, 8, 8, 3), np.float32),
    ],
)
def test_other_shapes_are_refused_and_nothing_written(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    for write in [write_video, write_gif]:
        with pytest.raises(ValueError, match=r"frames must be uint8 \(T, H, W, 3\)"):
            write(tmp_path / "a", frames)
    assert list(tmp_path.iterdir()) == []


def test_a_film_may_come_piece_by_piece(tmp_path: Path) -> None:
    frames = film(7, 16, 24)
    for name, write in {"a.mp4": write_video, "a.gif": write_gif}.items():
        write(tmp_path / name, frames, scale=2)
        write(tmp_path / f"pieces-{name}", (frames[start : start + 3] for start in range(0, 7, 3)), scale=2)
        assert (tmp_path / name).read_bytes() == (tmp_path / f"pieces-{name}").read_bytes()


def test_a_gif_has_its_frames_and_its_length(tmp_path: Path) -> None:
    frames = film(15, 64, 64)
    write_gif(tmp_path / "a.gif", frames, fps=15, scale=2)
    with Image.open(tmp_path / "a.gif") as image:
        pages = [(page.info["duration"], np.asarray(page.convert("RGB"))) for page in ImageSequence.Iterator(image)]
        assert image.info["loop"] == 0
    assert sum(duration for duration, _ in pages) == 1000
    decoded = np.stack([page for _, page in pages])
    assert np.abs(decoded.astype(int) - frames.repeat(2, axis=1).repeat(2, axis=2)).mean() < 2


def test_side_by_side_keeps_every_pixel_and_labels_each_film() -> None:
    left, right = film(5, 16, 16), film(3, 12, 20)
    joined = side_by_side([left, right], ["real", "dream"], scale=4)
    assert joined.dtype == np.uint8
    label = joined.shape[1] - 64
    separator = joined.shape[2] - 64 - 80
    assert label > 0
    assert separator > 0
    assert len(joined) == 5
    for t in range(5):
        np.testing.assert_array_equal(joined[t, label:, :64], left[t].repeat(4, 0).repeat(4, 1))
        still = right[min(t, 2)].repeat(4, 0).repeat(4, 1)
        np.testing.assert_array_equal(joined[t, label : label + 48, 64 + separator :], still)
    background = joined[0, 0, 64]
    for film_columns in [slice(0, 64), slice(64 + separator, None)]:
        assert (joined[0, :label, film_columns] != background).any()
    assert (joined[0, :, 64 : 64 + separator] == background).all()


def test_side_by_side_needs_a_label_for_each() -> None:
    with pytest.raises(ValueError, match="as many labels as films"):
        side_by_side([film(1, 8, 8)], [])
    with pytest.raises(ValueError, match="as many labels as films"):
        side_by_side([], [])
