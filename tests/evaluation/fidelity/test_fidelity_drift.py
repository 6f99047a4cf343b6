"""Colours are known near real ones and unknown far from them, at their place or anywhere."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffworld.evaluation.fidelity.drift import KnownColours, brightness, contrast

CPU = torch.device("cpu")
colour = st.tuples(*[st.integers(0, 255)] * 3)


def dots(*colours: tuple[int, int, int]) -> torch.Tensor:
    """One frame, a row of pixels."""
    return torch.tensor(colours, dtype=torch.uint8)[None, None]


@settings(max_examples=200)
@given(colour, colour)
def test_known_within_16_levels_and_unknown_from_32(real: tuple[int, int, int], asked: tuple[int, int, int]) -> None:
    known = KnownColours([dots(real).numpy()], CPU)
    here, anywhere = (share.item() for share in known.unseen(dots(asked)))
    apart = max(abs(a - b) for a, b in zip(real, asked, strict=True))
    assert here == anywhere
    if apart <= 16:
        assert here == 0
    if apart >= 32:
        assert here == 1


def test_a_colour_of_another_place_is_known_anywhere_but_not_here() -> None:
    known = KnownColours([dots((0, 0, 0), (255, 255, 255)).numpy()], CPU)
    here, anywhere = known.unseen(dots((255, 255, 255), (255, 255, 255)))
    assert (here.item(), anywhere.item()) == (0.5, 0.0)


def test_real_frames_are_known_however_they_were_added() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (9, 40, 33, 3), dtype=np.uint8)  # more than one part of places
    whole, parts = KnownColours([frames], CPU), KnownColours([frames[:2], frames[2:7], frames[7:]], CPU)
    assert torch.equal(whole.here, parts.here) and torch.equal(whole.anywhere, parts.anywhere)
    assert all((share == 0).all() for share in whole.unseen(torch.from_numpy(frames)))
    other = torch.from_numpy(np.random.default_rng(1).integers(0, 256, frames.shape, dtype=np.uint8))
    here, anywhere = whole.unseen(other)
    assert (here > 0.5).all() and (anywhere < here).all()


def test_without_a_real_frame_nothing_can_be_said() -> None:
    with pytest.raises(ValueError, match="no real frames"):
        KnownColours([], CPU)


def test_brightness_and_contrast_are_the_mean_and_spread_of_grey() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 7, 9, 3), dtype=np.uint8)
    x = torch.from_numpy(frames)
    np.testing.assert_allclose(brightness(x), frames.mean(axis=(1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(contrast(x), frames.mean(axis=3).std(axis=(1, 2)), rtol=1e-5)
