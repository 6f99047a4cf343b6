"""The denoiser's conditioning, its loss and its sampling, for the three jobs it serves."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from diffworld.game import ActionSpace, Keys
from diffworld.models.denoiser import Conditioning, Context, Denoiser, DenoiserConfig, resize_bicubic
from diffworld.models.diffusion import LogNormalSigma, expand, precondition, to_byte_grid
from diffworld.models.sampler import SamplerConfig
from diffworld.runtime.device import autocast
from diffworld.training.shapes import Live

ATARI = DenoiserConfig(
    context_frames=2, cond_channels=8, channels=(4, 8), depths=(1, 1), attention=(False, False), sigma_offset=0.3
)
SHOOTER = replace(ATARI, sigma_offset=0.1)
UPSAMPLER = replace(ATARI, context_frames=1)
NOISED, ENLARGING = Conditioning(noise_context=True), Conditioning(upsampling_factor=3)
ACTIONS = 5
CHOICE, KEYS = ActionSpace.discrete(ACTIONS), ActionSpace((Keys(tuple("abcde")),))


def randn(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape)


class Watched(Denoiser):
    """A denoiser that keeps the context frames it was asked to encode."""

    def __init__(
        self, config: DenoiserConfig, actions: ActionSpace | None = CHOICE, conditioning: Conditioning | None = None
    ) -> None:
        super().__init__(config, actions, conditioning)
        self.encoded: list[Tensor] = []
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():  # zero starts would hide the network's answer
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)

    def encode(
        self,
        frames: Tensor,
        actions: Tensor | None,
        *,
        low_res: Tensor | None = None,
        sigma_context: Tensor | None = None,
    ) -> Context:
        self.encoded.append(frames.clone() if not frames.requires_grad else frames)
        return super().encode(frames, actions, low_res=low_res, sigma_context=sigma_context)


class Draws:
    """Random draws that are kept."""

    def __init__(self) -> None:
        self.drawn: list[Tensor] = []

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        self.drawn.append(torch.randn(shape))
        return self.drawn[-1]


def replaying(draws: Sequence[Tensor]) -> Callable[[tuple[int, ...]], Tensor]:
    left = list(draws)

    def draw(shape: tuple[int, ...]) -> Tensor:
        assert tuple(left[0].shape) == shape
        return left.pop(0)

    return draw


def shooter(config: DenoiserConfig = SHOOTER) -> Watched:
    return Watched(config, KEYS, NOISED)


def windows(
    config: DenoiserConfig,
    rows: int = 3,
    steps: int = 2,
    size: tuple[int, int] = (6, 8),
    space: ActionSpace = CHOICE,
) -> tuple[Tensor, Tensor, Tensor]:
    """Frames, actions and a full mask of `rows` windows with `steps` frames to predict."""
    length = config.context_frames + steps
    frames = torch.rand(rows, length, 3, *size) * 2 - 1
    actions = torch.randint(ACTIONS, (rows, length))
    if not space.is_discrete:
        actions = torch.randint(2, (rows, length, ACTIONS))
    return frames, actions, torch.ones(rows, length, dtype=torch.bool)


def gradients(module: nn.Module) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    module.zero_grad(set_to_none=True)
    return found


# --- context ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2])
def test_context_is_computed_once_a_frame(order: int) -> None:
    denoiser = Watched(ATARI)
    frames, actions, _ = windows(ATARI, steps=0)
    denoiser.sample(frames, actions, SamplerConfig(denoising_steps=4, order=order), randn)
    assert len(denoiser.encoded) == 1
    assert torch.equal(denoiser.encoded[0], frames)


@pytest.mark.parametrize("order", [1, 2])
def test_context_noise_is_added_anew_once_a_step(order: int) -> None:
    denoiser, noise = shooter(), Draws()
    frames, actions, _ = windows(SHOOTER, steps=0, space=KEYS)
    denoiser.sample(frames, actions, SamplerConfig(denoising_steps=3, order=order, sigma_context=0.1), noise)
    assert len(denoiser.encoded) == 3
    start, *drawn = noise.drawn
    assert start.shape == (3, 3, 6, 8)
    assert [tuple(z.shape) for z in drawn] == [(3, 6, 1, 1), (3, 6, 6, 8)] * 3
    expected = frames
    for step in range(3):  # pixel noise only, onto the frames already noised
        expected = expected + 0.1 * drawn[2 * step + 1].unflatten(1, (2, 3))
        torch.testing.assert_close(denoiser.encoded[step], expected)


def test_split_convolution_is_one_over_the_concatenation() -> None:
    network = Watched(ATARI).network
    frames, actions, _ = windows(ATARI, steps=0)
    scaled, seen = torch.randn(3, 3, 6, 8), list[Tensor]()
    network.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    flat = frames.flatten(1, 2)
    context = network.encode(flat, actions, None)
    network(scaled, context.features, network.modulate(torch.randn(3), context.condition))
    torch.testing.assert_close(seen[0], network.conv_in(torch.cat([flat / 0.5, scaled], dim=1)))


def test_condition_is_fourier_features_plus_actions_oldest_first() -> None:
    denoiser, seen = Watched(ATARI), list[Tensor]()
    network = denoiser.network
    network.condition_mlp.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    frames, actions, _ = windows(ATARI, steps=0)
    sigma = torch.tensor([0.1, 1.0, 10.0])
    denoiser.network_output(torch.randn(3, 3, 6, 8), sigma, denoiser.encode(frames, actions))
    assert network.action_embedding is not None
    embedded = torch.cat([network.action_embedding(actions[:, 0]), network.action_embedding(actions[:, 1])], dim=1)
    c_noise = (sigma**2 + 0.3**2).sqrt().log() / 4
    torch.testing.assert_close(seen[0], network.fourier(c_noise) + embedded)


def test_an_action_of_one_key_is_a_choice_of_that_number() -> None:
    by_index, by_vector = Watched(ATARI), Watched(ATARI, KEYS)
    by_vector.load_state_dict(by_index.state_dict())
    frames, actions, _ = windows(ATARI, steps=0)
    expected = by_index.encode(frames, actions).condition
    torch.testing.assert_close(by_vector.encode(frames, F.one_hot(actions, ACTIONS)).condition, expected)
    pair = F.one_hot(actions, ACTIONS) | F.one_hot((actions + 1) % ACTIONS, ACTIONS)
    both = expected + by_index.encode(frames, (actions + 1) % ACTIONS).condition
    torch.testing.assert_close(by_vector.encode(frames, pair).condition, both)


def test_context_noise_has_features_of_its_own() -> None:
    denoiser = shooter()
    frames, actions, _ = windows(SHOOTER, steps=0, space=KEYS)
    sigma = torch.tensor([0.005, 0.1, 2.0])
    plain = denoiser.encode(frames, actions, sigma_context=torch.ones(3))  # c_noise 0: ones, then zeros
    noised = denoiser.encode(frames, actions, sigma_context=sigma)
    fourier = denoiser.network.context_fourier
    assert fourier is not None
    torch.testing.assert_close(noised.condition - plain.condition, fourier(sigma.log() / 4) - fourier(torch.zeros(3)))


def test_upsampler_sees_the_enlarged_frame_and_no_actions() -> None:
    denoiser = Watched(UPSAMPLER, None, ENLARGING)
    assert denoiser.network.action_embedding is None
    previous, low_res = torch.randn(2, 1, 3, 9, 12), torch.randn(2, 3, 3, 4)
    context = denoiser.encode(previous, None, low_res=low_res)
    assert context.condition.tolist() == [[1.0] * 4 + [0.0] * 4] * 2
    conv, seen = denoiser.network.conv_in, torch.cat([previous[:, 0], resize_bicubic(low_res, (9, 12))], dim=1) / 0.5
    expected = conv(torch.cat([seen, torch.zeros(2, 3, 9, 12)], dim=1))
    torch.testing.assert_close(context.features, expected)


# --- the loss --------------------------------------------------------------------------------------------------------


def test_loss_of_a_network_that_says_nothing() -> None:
    """F = 0 at the start, so the loss is the mean square of the target itself."""
    denoiser, noise = Denoiser(ATARI, CHOICE), Draws()
    nn.init.zeros_(denoiser.network.conv_out.bias)
    frames, actions, mask = windows(ATARI, steps=1)
    loss = denoiser.loss(frames, actions, mask, noise)
    normals, offset, pixels = noise.drawn
    sigma = (-0.4 + 1.2 * normals).exp()[:, None, None, None]
    y = frames[:, -1] + 0.3 * offset + sigma * pixels
    s = (sigma**2 + 0.3**2).sqrt()
    skip = 0.25 / (s**2 + 0.25)
    target = (frames[:, -1] - skip * y) / (s * skip.sqrt())
    torch.testing.assert_close(loss, target.square().mean())


@pytest.mark.parametrize("make", [lambda: Watched(ATARI), shooter], ids=["atari", "shooter"])
def test_rows_whose_target_is_padding_do_not_count(make: Callable[[], Watched]) -> None:
    denoiser, noise = make(), Draws()
    config = denoiser.config
    frames, actions, mask = windows(config, space=CHOICE if config is ATARI else KEYS)
    mask[1, config.context_frames :] = False
    loss = denoiser.loss(frames, actions, mask, noise)
    changed = frames.clone()
    changed[1] = torch.rand_like(changed[1])
    assert torch.equal(denoiser.loss(changed, actions, mask, replaying(noise.drawn)), loss)
    kept = [0, 2]
    without = replaying([z[kept] for z in noise.drawn])
    torch.testing.assert_close(denoiser.loss(frames[kept], actions[kept], mask[kept], without), loss)
    mask[1] = True
    assert not torch.equal(denoiser.loss(changed, actions, mask, replaying(noise.drawn)), loss)


def test_padding_alone_is_no_loss() -> None:
    denoiser = Watched(ATARI)
    frames, actions, mask = windows(ATARI)
    loss = denoiser.loss(torch.zeros_like(frames), actions, torch.zeros_like(mask), randn)
    loss.backward()
    assert loss == 0
    assert all(not gradient.any() for gradient in gradients(denoiser).values())


def test_padded_targets_leave_the_other_steps_their_own_mean() -> None:
    """Steps are averaged alike, however many rows each has."""
    denoiser, noise = Watched(ATARI), Draws()
    frames, actions, mask = windows(ATARI, steps=2)
    mask[:2, 2] = False
    loss = denoiser.loss(frames, actions, mask, noise)
    row = slice(2, 3)
    first = denoiser.loss(frames[row, :3], actions[row, :3], mask[row, :3], replaying([z[row] for z in noise.drawn]))
    second_only = mask.clone()
    second_only[:, 2] = False
    second = 2 * denoiser.loss(frames, actions, second_only, replaying(noise.drawn))
    torch.testing.assert_close(loss, (first + second) / 2)


def test_own_frames_become_context_without_gradient() -> None:
    denoiser, noise = Watched(ATARI), Draws()
    frames, actions, mask = windows(ATARI, steps=2)
    original = frames.clone()
    denoiser.loss(frames, actions, mask, noise).backward()
    together = gradients(denoiser)
    assert torch.equal(frames, original), "the caller's windows are left alone"
    first, second = denoiser.encoded
    assert torch.equal(first, frames[:, 0:2]) and torch.equal(second[:, 0], frames[:, 1])
    assert not second.requires_grad

    # The second context is what the model made of the first target's noisy frame.
    normals, offset, pixels = noise.drawn[:3]
    sigma = LogNormalSigma().draw(3, lambda shape: normals.reshape(shape))
    noisy = frames[:, 2] + 0.3 * offset + expand(sigma) * pixels
    with torch.no_grad():
        torch.testing.assert_close(
            second[:, 1], denoiser.denoise(noisy, sigma, denoiser.encode(frames[:, :2], actions[:, :2]))
        )

    # And the gradient is that of two separate one-step windows.
    denoiser.loss(frames[:, :3], actions[:, :3], mask[:, :3], replaying(noise.drawn[:3])).backward()
    apart = gradients(denoiser)
    own = torch.cat([second, frames[:, 3:]], dim=1)
    denoiser.loss(own, actions[:, 1:], mask[:, 1:], replaying(noise.drawn[3:])).backward()
    for name, gradient in gradients(denoiser).items():
        torch.testing.assert_close(together[name], (apart[name] + gradient) / 2, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_steps_descended_one_by_one_give_the_gradient_of_all(steps: int, dtype: torch.dtype) -> None:
    """And the same loss to the last bit. Before the next step begins nothing of the last one is kept."""
    denoiser, noise, alive = shooter(), Draws(), list[int]()
    frames, actions, mask = windows(SHOOTER, steps=steps, space=KEYS)
    mask[0, -1] = False
    cpu = torch.device("cpu")
    with autocast(cpu, dtype):
        loss = denoiser.loss(frames, actions, mask, noise)
    loss.backward()
    together = gradients(denoiser)

    def each(share: Tensor) -> None:
        with autocast(cpu, torch.float32):
            share.backward()
        alive.append(kept.now)

    with (kept := Live()), autocast(cpu, dtype):
        again = denoiser.loss(frames, actions, mask, replaying(noise.drawn), each=each)
    assert torch.equal(again, loss) and not again.requires_grad and len(alive) == steps
    tolerance = {"rtol": 1e-4, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.02}
    for name, gradient in gradients(denoiser).items():
        torch.testing.assert_close(gradient, together[name], **tolerance)
    if steps > 2:
        assert alive[-1] < 1.2 * alive[1], "steps pile up"


def test_noised_context_is_drawn_before_the_target_noise() -> None:
    denoiser, noise = shooter(), Draws()
    frames, actions, mask = windows(SHOOTER, steps=1, space=KEYS)
    denoiser.loss(frames, actions, mask, noise)
    shapes = [(3,), (3, 6, 1, 1), (3, 6, 6, 8), (3,), (3, 3, 1, 1), (3, 3, 6, 8)]
    assert [tuple(z.shape) for z in noise.drawn] == shapes
    normals, offset, pixels = noise.drawn[:3]
    sigma = (-1.2 + 1.2 * normals).exp()[:, None, None, None]  # its own distribution, not the target's
    expected = frames[:, :2] + (0.1 * offset + sigma * pixels).unflatten(1, (2, 3))
    torch.testing.assert_close(denoiser.encoded[0], expected)


# --- everything runs, at any size ------------------------------------------------------------------------------------


@settings(max_examples=12)
@given(st.booleans(), st.integers(1, 4), st.integers(0, 2), st.integers(3, 11), st.integers(3, 11))
def test_any_frames_and_context(shooting: bool, context: int, extra: int, height: int, width: int) -> None:
    config = replace(SHOOTER if shooting else ATARI, context_frames=context, cond_channels=24)
    denoiser = shooter(config) if shooting else Watched(config)
    frames, actions, mask = windows(config, 2, 1 + extra, (height, width), KEYS if shooting else CHOICE)
    loss = denoiser.loss(frames, actions, mask, randn)
    loss.backward()
    assert loss.isfinite() and all(g.isfinite().all() for g in gradients(denoiser).values())
    past, acted = frames[:, :context], actions[:, :context]
    sampler = SamplerConfig(denoising_steps=2, sigma_context=0.005 if shooting else 0.0)
    frame, trajectory = denoiser.sample(past, acted, sampler, randn)
    assert frame.shape == (2, 3, height, width) and len(trajectory) == 3
    assert not frame.requires_grad
    torch.testing.assert_close((frame + 1) * 127.5, ((frame + 1) * 127.5).round(), atol=2e-3, rtol=0)


@settings(max_examples=10)
@given(st.integers(2, 5), st.integers(2, 4), st.integers(2, 4), st.integers(1, 2), st.integers(0, 1))
def test_upsampler_of_any_factor(factor: int, height: int, width: int, context: int, extra: int) -> None:
    config = replace(UPSAMPLER, context_frames=context)
    denoiser = Watched(config, None, Conditioning(upsampling_factor=factor))
    full, _, mask = windows(config, 2, 1 + extra, (height * factor, width * factor))
    low_res = torch.rand(2, full.shape[1], 3, height, width) * 2 - 1
    loss = denoiser.loss(full, None, mask, randn, low_res=low_res)
    loss.backward()
    assert loss.isfinite() and all(g.isfinite().all() for g in gradients(denoiser).values())
    frame, _ = denoiser.sample(full[:, :context], None, SamplerConfig(1), randn, low_res=low_res[:, 0])
    assert frame.shape == (2, 3, height * factor, width * factor)


def test_the_low_resolution_frame_is_that_of_the_target() -> None:
    denoiser, noise = Watched(UPSAMPLER, None, ENLARGING), Draws()
    full, _, mask = windows(UPSAMPLER, 2, 2, (6, 9))
    low_res = torch.rand(2, 3, 3, 2, 3)
    loss = denoiser.loss(full, None, mask, noise, low_res=low_res)
    other = low_res.clone()
    other[:, 0] = 0  # of the context frame
    assert torch.equal(denoiser.loss(full, None, mask, replaying(noise.drawn), low_res=other), loss)
    other[:, 2] = 0
    assert not torch.equal(denoiser.loss(full, None, mask, replaying(noise.drawn), low_res=other), loss)


def test_denoised_frame_is_the_formula_on_the_byte_grid() -> None:
    denoiser = Watched(ATARI)
    frames, actions, _ = windows(ATARI, steps=0)
    noisy, sigma = torch.randn(3, 3, 6, 8), torch.tensor([0.02, 0.7, 9.0])
    context = denoiser.encode(frames, actions)
    c = precondition(sigma, 0.3)
    modulated = denoiser.network.modulate(c.c_noise, context.condition)
    output = denoiser.network(expand(c.c_in) * noisy, context.features, modulated)
    expected = to_byte_grid(expand(c.c_skip) * noisy + expand(c.c_out) * output)
    assert torch.equal(denoiser.denoise(noisy, sigma, context), expected)


def test_a_new_network_answers_with_its_last_bias() -> None:
    network = Denoiser(ATARI, CHOICE).network
    frames, actions, _ = windows(ATARI, steps=0)
    context = network.encode(frames.flatten(1, 2), actions, None)
    modulated = network.modulate(torch.randn(3), context.condition)
    output = network(torch.randn(3, 3, 6, 8), context.features, modulated)
    torch.testing.assert_close(output, network.conv_out.bias[:, None, None].expand(3, 3, 6, 8))
