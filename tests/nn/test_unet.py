"""The blocks do what their formulas say, and the U-Net takes any size, depth and number of levels."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from diffworld.nn.blocks import (
    FUSED_FROM,
    AdaptiveGroupNorm,
    FourierFeatures,
    ResBlock,
    SelfAttention,
    Upsample,
    attend,
    conv3x3,
    downsample,
    group_norm,
    init_lstm,
    modulations,
    num_groups,
    zero_init,
)
from diffworld.nn.unet import UNet

COND = 6


def run(module: nn.Module, x: Tensor, cond: Tensor) -> Tensor:
    """A module of residual blocks on x, conditioned."""
    output: Tensor = module(x, iter(modulations(module, cond)))
    return output


def randomise(module: nn.Module, seed: int = 0) -> None:
    """Give every parameter a small random value: zero starts would hide what a layer does."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)


def normalise(x: Tensor, groups: int) -> Tensor:
    """Group norm without affine map, written out."""
    parts = []
    for part in x.chunk(groups, dim=1):
        mean = part.mean(dim=(1, 2, 3), keepdim=True)
        variance = (part - mean).square().mean(dim=(1, 2, 3), keepdim=True)
        parts.append((part - mean) / (variance + 1e-5).sqrt())
    return torch.cat(parts, dim=1)


@st.composite
def levels(draw: st.DrawFn) -> tuple[list[int], list[int], list[bool]]:
    count = draw(st.integers(1, 4))

    def column(values: st.SearchStrategy) -> list:
        return draw(st.lists(values, min_size=count, max_size=count))

    return column(st.sampled_from([4, 8, 16, 40])), column(st.integers(1, 3)), column(st.booleans())


@settings(max_examples=25)
@given(levels(), st.integers(1, 19), st.integers(1, 19), st.integers(1, 2))
def test_any_size_comes_back_as_it_went_in(
    shape: tuple[list[int], list[int], list[bool]], height: int, width: int, rows: int
) -> None:
    channels, depths, attention = shape
    unet = UNet(channels, depths, attention, COND)
    out = run(unet, torch.randn(rows, channels[0], height, width), torch.randn(rows, COND))
    assert out.shape == (rows, channels[0], height, width)
    assert out.isfinite().all()
    assert [len(level.blocks) for level in unet.down] == depths
    assert [len(level.blocks) for level in unet.up] == [depth + 1 for depth in reversed(depths)]
    attended = [[not isinstance(block.attention, nn.Identity) for block in level.blocks] for level in unet.down]
    assert attended == [[wanted] * depth for wanted, depth in zip(attention, depths, strict=True)]
    assert all(isinstance(block.attention, SelfAttention) for block in unet.middle.blocks)


@pytest.mark.parametrize("size", [(5, 7), (8, 9), (9, 8), (1, 3)])
def test_odd_sizes_are_padded_with_zeros_right_and_below_and_cropped(size: tuple[int, int]) -> None:
    unet = UNet([4, 8, 8], [1, 1, 1], [False, True, False], COND)
    randomise(unet)
    x, cond = torch.randn(2, 4, *size), torch.randn(2, COND)
    height, width = (-(-side // 4) * 4 for side in size)
    padded = torch.zeros(2, 4, height, width)
    padded[:, :, : size[0], : size[1]] = x
    torch.testing.assert_close(run(unet, x, cond), run(unet, padded, cond)[:, :, : size[0], : size[1]])


def test_way_up_uses_every_feature_of_the_way_down_once_in_reverse() -> None:
    """Written out for two levels of one block: entry, block output; then output first, entry last."""
    unet = UNet([4, 8], [1, 1], [False, False], COND)
    randomise(unet)
    x, cond = torch.randn(2, 4, 6, 6), torch.randn(2, COND)
    down0, down1 = (level.blocks[0] for level in unet.down)
    a = run(down0, x, cond)
    entry = unet.downsamples[1](a)
    b = run(down1, entry, cond)
    y = run(unet.middle, b, cond)
    y = run(unet.up[0].blocks[0], torch.cat([y, b], 1), cond)
    y = run(unet.up[0].blocks[1], torch.cat([y, entry], 1), cond)
    y = unet.upsamples[1](y)
    y = run(unet.up[1].blocks[0], torch.cat([y, a], 1), cond)
    y = run(unet.up[1].blocks[1], torch.cat([y, x], 1), cond)
    torch.testing.assert_close(run(unet, x, cond), y)


def test_levels_must_be_described_alike() -> None:
    with pytest.raises(ValueError):
        UNet([4, 8], [1], [False, False], COND)


@given(st.integers(1, 4096))
def test_one_group_for_every_32_channels_and_at_least_one(channels: int) -> None:
    assert num_groups(channels) == max(1, channels // 32)


@pytest.mark.parametrize("channels", [1, 31, 32, 64, 96])
def test_group_norm_in_numbers(channels: int) -> None:
    x, cond = torch.randn(2, channels, 3, 4), torch.randn(2, COND)
    plain = normalise(x, max(1, channels // 32))
    torch.testing.assert_close(group_norm(channels)(x), plain)
    adaptive = AdaptiveGroupNorm(channels, COND)
    randomise(adaptive)
    scale, shift = adaptive.linear(cond).split(channels, dim=1)
    expected = plain * (1 + scale[..., None, None]) + shift[..., None, None]
    torch.testing.assert_close(adaptive(x, adaptive.linear(cond)), expected)


def test_a_new_residual_block_adds_only_a_bias() -> None:
    block = ResBlock(8, 8, COND, attention=False)
    x = torch.randn(2, 8, 5, 5)
    torch.testing.assert_close(run(block, x, torch.randn(2, COND)), x + block.conv2.bias[:, None, None])
    wider = ResBlock(8, 12, COND, attention=False)
    skip = wider.skip(x) + wider.conv2.bias[:, None, None]
    torch.testing.assert_close(run(wider, x, torch.randn(2, COND)), skip)
    assert not zero_init(conv3x3(3, 3)).weight.any()


def test_residual_block_in_its_order() -> None:
    block = ResBlock(8, 16, COND, attention=True)
    randomise(block)
    x, cond = torch.randn(2, 8, 5, 3), torch.randn(2, COND)
    h = block.conv1(F.silu(block.norm1(x, block.norm1.linear(cond))))
    h = block.conv2(F.silu(block.norm2(h, block.norm2.linear(cond))))
    torch.testing.assert_close(run(block, x, cond), block.attention(h + block.skip(x)))


def test_skip_of_attention_carries_the_normalised_input() -> None:
    attention = SelfAttention(16)
    nn.init.zeros_(attention.out.bias)
    x = 3 + 5 * torch.randn(2, 16, 4, 4)
    torch.testing.assert_close(attention(x), normalise(x, 1))


@pytest.mark.parametrize("channels", [8, 24, 64])
def test_attention_written_out(channels: int) -> None:
    attention = SelfAttention(channels)
    randomise(attention)
    x = torch.randn(2, channels, 3, 4)
    y = attention.norm(x)
    q, k, v = attention.qkv(y).flatten(2).split(channels, dim=1)
    heads = []
    for start in range(0, channels, 8):
        part = slice(start, start + 8)
        scores = q[:, part].transpose(1, 2) @ k[:, part] / math.sqrt(8)
        heads.append(v[:, part] @ scores.softmax(-1).transpose(1, 2))
    expected = y + attention.out(torch.cat(heads, dim=1).view_as(x))
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


@given(st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=20)
def test_resampling(height: int, width: int) -> None:
    x = torch.randn(1, 4, height, width)
    assert downsample(4)(x).shape == (1, 4, -(-height // 2), -(-width // 2))
    up = Upsample(4)
    bigger = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(up(x), up.conv(bigger))


def test_downsampling_starts_orthogonal() -> None:
    rows = downsample(6).weight.flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(6), atol=1e-5, rtol=0)


def test_fourier_features() -> None:
    features = FourierFeatures(8)
    x = torch.tensor([-1.3, 0.0, 0.4])
    angle = 2 * math.pi * x[:, None] * features.weight[0]
    expected = torch.cat([torch.cos(angle), torch.sin(angle)], dim=1)
    torch.testing.assert_close(features(x), expected)
    torch.testing.assert_close(features(x)[1], torch.tensor([1.0] * 4 + [0.0] * 4))
    assert not list(features.parameters()), "the weights are fixed"
    assert features.state_dict()["weight"].shape == (1, 4)
    assert FourierFeatures(4096).weight.std().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.LSTMCell])
def test_lstm_start(kind: type[nn.LSTM] | type[nn.LSTMCell]) -> None:
    inputs, hidden = 48, 16
    lstm = kind(inputs, hidden)
    init_lstm(lstm)
    parameters = {name.removesuffix("_l0"): value.detach() for name, value in lstm.named_parameters()}
    forget = torch.zeros(4 * hidden)
    forget[hidden : 2 * hidden] = 1
    assert torch.equal(parameters["bias_ih"], forget)
    assert not parameters["bias_hh"].any()
    recurrent = parameters["weight_hh"]
    torch.testing.assert_close(recurrent.T @ recurrent, torch.eye(hidden), atol=1e-5, rtol=0)
    bound = math.sqrt(6 / (inputs + 4 * hidden))
    assert 0.95 * bound < parameters["weight_ih"].abs().max() <= bound
    assert parameters["weight_ih"].std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


@pytest.mark.parametrize("positions", [16, FUSED_FROM - 1, FUSED_FROM, 3 * FUSED_FROM + 5])
def test_attention_is_the_same_over_few_positions_and_over_many(positions: int) -> None:
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(2, 3, 4, 8, positions, generator=generator, requires_grad=True)
    q, k, v = qkv.transpose(-1, -2).unbind(1)  # in pieces, as the block has them
    wanted = (q @ k.transpose(-1, -2) / 8**0.5).softmax(-1) @ v
    (gradient,) = torch.autograd.grad(wanted.square().sum(), qkv)
    found = attend(q, k, v)
    assert torch.allclose(found, wanted, atol=1e-5)
    assert torch.allclose(torch.autograd.grad(found.square().sum(), qkv)[0], gradient, atol=1e-4)
