"""The world model without diffusion: noise makes no difference, and what it learns is the mean."""

import torch

from diffworld.game import ActionSpace
from diffworld.models.denoiser import DenoiserConfig
from diffworld.models.sampler import SamplerConfig
from research.regression import Regressor

SMALL = DenoiserConfig(cond_channels=8, channels=(8,), depths=(1,), attention=(False,), context_frames=1)


def test_noise_makes_no_difference() -> None:
    torch.manual_seed(0)
    model, frames = Regressor(SMALL, ActionSpace.discrete(("A", "B")), None), torch.rand(2, 1, 3, 4, 4)
    torch.nn.init.normal_(model.network.conv_out.weight)
    actions = torch.zeros(2, 1, dtype=torch.int64)
    loud, quiet = (
        model.sample(frames, actions, SamplerConfig(1), lambda shape, level=level: level * torch.randn(shape))[0]
        for level in (5.0, 0.1)
    )
    torch.testing.assert_close(loud, quiet)
    assert loud.std() > 0


def test_of_two_frames_that_may_follow_it_learns_the_mean() -> None:
    torch.manual_seed(0)
    model = Regressor(SMALL, ActionSpace.discrete(("A", "B")), None)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    frames = torch.full((8, 3, 3, 4, 4), -0.5)
    frames[:, 1:] = torch.tensor([0.8, -0.2, -0.2, -0.2] * 2)[:, None, None, None, None]  # the mean is 0.05
    mask, actions = torch.tensor([[1, 1, 0]] * 8).bool(), torch.zeros(8, 3, dtype=torch.int64)
    for _ in range(150):
        optimiser.zero_grad()
        model.loss(frames, actions, mask, torch.randn).backward()
        optimiser.step()
    drawn, _ = model.sample(frames[:1, :1], actions[:1, :1], SamplerConfig(1), torch.randn)
    assert (drawn - 0.05).abs().max() < 0.05
