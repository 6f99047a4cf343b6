"""The DDPM's mathematics against what is known of it in closed form."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from diffworld.game import ActionSpace
from diffworld.models.denoiser import Conditioning, DenoiserConfig, DenoiserNetwork
from diffworld.models.sampler import SamplerConfig
from diffworld.nn.blocks import modulations
from diffworld.world import FrameStack
from research import ddpm

ACTIONS, N = ActionSpace.discrete(3), 2
CONFIG = DenoiserConfig(N, 16, (8, 8), (1, 1), (False, False))


def network() -> DenoiserNetwork:
    """Random everywhere, also where training starts at zero."""
    net = DenoiserNetwork(CONFIG, ACTIONS, Conditioning())
    for p in net.parameters():
        p.data += 0.1 * torch.randn_like(p)
    return net


class Knows(DenoiserNetwork):
    """A network that knows the frame, and so the noise in what it is shown."""

    def __init__(self, frame: Tensor) -> None:
        super().__init__(CONFIG, ACTIONS, Conditioning())
        self.frame, self.asked = frame, []

    def modulate(self, c_noise: Tensor, condition: Tensor) -> list[Tensor]:
        self.asked.append(c_noise[0].item())
        return [c_noise]

    def forward(self, scaled: Tensor, features: Tensor, modulated: list[Tensor]) -> Tensor:
        (c_noise,) = modulated
        a = ddpm.alpha_bars()[(c_noise * 1000).round().long()][:, None, None, None]
        return ((scaled.double() - a.sqrt() * self.frame) / (1 - a).sqrt()).float()


def test_alpha_bars_are_those_of_linear_betas() -> None:
    a = ddpm.alpha_bars()
    assert len(a) == 1001 and a[0] == 1
    assert a[1].item() == pytest.approx(1 - 1e-4)
    assert (a[1000] / a[999]).item() == pytest.approx(1 - 0.02)
    assert a[1000].item() == pytest.approx(4.04e-5, rel=0.01)  # what Ho et al. leave of the frame at the end
    assert (a.diff() < 0).all()


def test_noise_has_a_part_that_a_channel_shares() -> None:
    noise = ddpm.draw_noise((2000, 3, 4, 4), 0.3, torch.randn)
    flat = noise.flatten(2).double()
    assert flat.square().mean().item() == pytest.approx(1 + 0.09, rel=0.02)
    assert (flat[..., 0] * flat[..., 5]).mean().item() == pytest.approx(0.09, abs=0.05)
    assert (flat[:, 0, 0] * flat[:, 1, 0]).mean().item() == pytest.approx(0, abs=0.08)


@given(t=st.integers(2, 1000), data=st.data(), eta=st.floats(0, 1))
def test_each_step_leads_to_the_noise_level_it_should(t: int, data: st.DataObject, eta: float) -> None:
    s = data.draw(st.integers(0, t - 1))
    of_frame, of_eps, of_new = ddpm.posterior(t, s, eta)
    a_s = ddpm.alpha_bars()[s].item()
    assert of_frame == pytest.approx(math.sqrt(a_s))
    assert of_eps**2 + of_new**2 == pytest.approx(1 - a_s, abs=1e-12)


@given(t=st.integers(2, 1000))
def test_single_steps_are_those_of_ho_et_al(t: int) -> None:
    """Equation 11: mean (x_t - beta / sqrt(1 - a_t) eps) / sqrt(1 - beta); section 3.2: the lower variance."""
    a = ddpm.alpha_bars()
    a_t, a_s = a[t].item(), a[t - 1].item()
    beta = 1 - a_t / a_s
    of_frame, of_eps, of_new = ddpm.posterior(t, t - 1, 1.0)
    x_t, eps = 0.7, -0.4
    x_0 = (x_t - math.sqrt(1 - a_t) * eps) / math.sqrt(a_t)
    mean = (x_t - beta / math.sqrt(1 - a_t) * eps) / math.sqrt(1 - beta)
    assert of_frame * x_0 + of_eps * eps == pytest.approx(mean, rel=1e-6, abs=1e-9)
    assert of_new**2 == pytest.approx((1 - a_s) / (1 - a_t) * beta, rel=1e-6)


def test_time_steps_are_evenly_spaced_but_for_one() -> None:
    assert ddpm.time_steps(1) == [500]
    assert ddpm.time_steps(2) == [1000, 1]
    assert ddpm.time_steps(3) == [1000, 500, 1]
    ten = ddpm.time_steps(10)
    assert ten == [1000, 889, 778, 667, 556, 445, 334, 223, 112, 1]
    assert ddpm.time_steps(1000) == list(range(1000, 0, -1))
    assert all(a > b for a, b in pairwise(ten))
    for count in (0, 1001):
        with pytest.raises(ValueError, match="denoising steps"):
            ddpm.time_steps(count)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [1, 3, 10])
def test_a_network_that_knows_the_frame_draws_it(steps: int, eta: float) -> None:
    levels = torch.randint(0, 256, (2, 3, 8, 8))
    knows = Knows((levels + 0.5).double() / 127.5 - 1)  # half a level up, for the grid truncates
    frames, actions = torch.rand(2, N, 3, 8, 8), torch.zeros(2, N, dtype=torch.long)
    drawn, trajectory = ddpm.sample(knows, frames, actions, torch.randn, denoising_steps=steps, offset=0.3, eta=eta)
    assert len(trajectory) == steps + 1
    assert torch.equal(((drawn + 1) * 127.5).round().long(), levels)
    assert knows.asked == pytest.approx([t / 1000 for t in ddpm.time_steps(steps)])


def test_the_samplers_new_noise_is_all_from_randn_and_only_with_eta() -> None:
    net, frames, actions = network(), torch.rand(2, N, 3, 8, 8), torch.zeros(2, N, dtype=torch.long)
    drawn: list[tuple[int, ...]] = []

    def randn(shape: tuple[int, ...]) -> Tensor:
        drawn.append(shape)
        return torch.randn(shape)

    pair = [(2, 3, 8, 8), (2, 3, 1, 1)]
    ddpm.sample(net, frames, actions, randn, denoising_steps=3, offset=0.3)
    assert drawn == pair * 3  # the start and two steps; the last one adds nothing
    drawn.clear()
    ddpm.sample(net, frames, actions, randn, denoising_steps=3, offset=0.3, eta=0)
    assert drawn == pair


def test_neither_input_nor_context_is_scaled() -> None:
    net, frames = network(), torch.rand(2, N, 3, 8, 8)
    actions, t = torch.tensor([[0, 1], [2, 0]]), torch.tensor([1, 1000])
    noisy = torch.randn(2, 3, 8, 8)
    got = ddpm.predict_noise(net, noisy, t, ddpm.encode(net, frames, actions))
    x = torch.nn.functional.conv2d(
        torch.cat([frames.flatten(1, 2), noisy], 1), net.conv_in.weight, net.conv_in.bias, padding=1
    )
    embedded = net.action_embedding(actions).flatten(1)  # type: ignore[misc]
    cond = net.condition_mlp(net.fourier(torch.tensor([0.001, 1.0])) + embedded)
    wanted = net.conv_out(torch.nn.functional.silu(net.norm_out(net.unet(x, iter(modulations(net.unet, cond))))))
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)


def test_the_loss_is_the_error_of_the_noise_over_real_targets() -> None:
    net, frames = network(), torch.rand(3, N + 1, 3, 8, 8)
    actions, t = torch.zeros(3, N + 1, dtype=torch.long), torch.tensor([1, 500, 1000])
    mask = torch.ones(3, N + 1, dtype=torch.bool)
    mask[2, -1] = False
    noise = torch.randn(3, 3, 8, 8)
    got = ddpm.loss(net, frames, actions, mask, t, lambda shape: noise, 0.0)
    context = ddpm.encode(net, frames[:, :N], actions[:, :N])
    output = ddpm.predict_noise(net, ddpm.add_noise(frames[:, N], t, noise), t, context)
    assert got.item() == pytest.approx((output - noise)[:2].square().mean().item(), rel=1e-5)
    assert ddpm.loss(net, frames, actions, torch.zeros_like(mask), t, torch.randn, 0.3) == 0


@pytest.mark.thorough
def test_the_loss_can_be_learnt_and_tells_noise_from_frame() -> None:
    net = DenoiserNetwork(CONFIG, ACTIONS, Conditioning())
    frame = torch.full((1, 3, 8, 8), -0.6)
    frame[:, :, 2:6, 2:6] = 0.5
    frames = frame[:, None].expand(16, N + 1, -1, -1, -1)
    actions, mask = torch.zeros(16, N + 1, dtype=torch.long), torch.ones(16, N + 1, dtype=torch.bool)
    adam, losses = torch.optim.Adam(net.parameters(), 5e-3), []
    for _ in range(100):
        value = ddpm.loss(net, frames, actions, mask, torch.randint(1, 1001, (16,)), torch.randn, 0.3)
        adam.zero_grad()
        value.backward()
        adam.step()
        losses.append(value.item())
    assert sum(losses[-20:]) < 0.4 * sum(losses[:10]) * 2


def test_its_frames_make_a_world_model() -> None:
    denoiser = ddpm.DdpmDenoiser(CONFIG, ACTIONS)
    denoiser.network.load_state_dict(network().state_dict())
    denoiser.eta = 0.5
    world = FrameStack(denoiser, None, SamplerConfig(denoising_steps=2))
    frames, actions, taken = torch.rand(2, N, 3, 8, 8), torch.tensor([[1, 0], [2, 0]]), torch.tensor([2, 1])
    torch.manual_seed(1)
    state, prediction = world.step(world.start(frames, actions), taken, torch.randn)
    acted, settings = torch.stack([actions[:, 0], taken], dim=1), {"denoising_steps": 2, "offset": CONFIG.sigma_offset}
    torch.manual_seed(1)
    wanted, _ = ddpm.sample(denoiser.network, frames, acted, torch.randn, eta=0.5, **settings)
    assert torch.equal(prediction.frames, wanted) and torch.equal(state.frame, wanted)
    assert prediction.reward_logits is None and prediction.end_logits is None
