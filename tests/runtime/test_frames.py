"""Frames between bytes and numbers, without a level lost."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffworld.runtime.frames import frames_from_bytes, frames_to_bytes, to_numpy

ALL_LEVELS = torch.arange(256, dtype=torch.uint8)


def test_all_256_levels_come_back_exactly() -> None:
    stored = ALL_LEVELS.view(4, 8, 8, 1).expand(4, 8, 8, 3)
    frames = frames_from_bytes(stored)
    assert frames.shape == (4, 3, 8, 8) and frames.dtype == torch.float32
    assert frames.min() == -1 and frames.max() == 1
    assert torch.equal(frames_to_bytes(frames), stored)
    assert torch.equal(stored[..., 0].flatten(), ALL_LEVELS), "the bytes themselves are left alone"


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
@settings(max_examples=30)
def test_windows_of_frames_keep_their_places(rows: int, length: int, height: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    stored = torch.randint(0, 256, (rows, length, height, width, 3), generator=generator, dtype=torch.uint8)
    frames = frames_from_bytes(stored)
    assert frames.shape == (rows, length, 3, height, width)
    for channel in range(3):
        torch.testing.assert_close(frames[:, :, channel], stored[..., channel] / 127.5 - 1)
    assert torch.equal(frames_to_bytes(frames), stored)


def test_padded_frames_are_mid_grey() -> None:
    stored = torch.zeros(2, 3, 4, 4, 3, dtype=torch.uint8)
    has_frame = torch.tensor([[False, True, True], [True, False, True]])
    frames = frames_from_bytes(stored, has_frame)
    assert (frames[~has_frame] == 0).all()
    assert (frames[has_frame] == -1).all()


def test_frames_for_people_are_contiguous_bytes() -> None:
    stored = torch.randint(0, 256, (2, 5, 4, 3), dtype=torch.uint8)
    film = to_numpy(frames_from_bytes(stored))
    assert film.dtype == np.uint8 and film.flags.c_contiguous
    np.testing.assert_array_equal(film, stored.numpy())
    beyond = to_numpy(torch.tensor([-3.0, 0.0, 3.0]).view(3, 1, 1))
    assert beyond.tolist() == [[[0, 128, 255]]]
