"""What the agent's network makes of frames: features, and what centring them is for."""

import pytest
import torch
from torch import Tensor

from diffworld.game import ActionSpace, Choice, Keys
from diffworld.models.actor_critic import ActorCritic, ActorCriticConfig

SIZE = (40, 32)


def network(centre_features: bool) -> ActorCritic:
    torch.manual_seed(0)
    config = ActorCriticConfig(
        lstm_channels=32, channels=(8, 16, 32), pool=(True, True, True), centre_features=centre_features
    )
    return ActorCritic(config, ActionSpace.discrete(4), SIZE)


def still_frames_with_a_dot(count: int, generator: torch.Generator) -> Tensor:
    """The same screen (B, 3, H, W) everywhere, but for four pixels."""
    frames = torch.linspace(-1, 1, SIZE[0]).view(1, 1, -1, 1).expand(count, 3, *SIZE).clone()
    for frame, (y, x) in zip(frames, torch.randint(0, 31, (count, 2), generator=generator), strict=True):
        frame[:, y : y + 2, x : x + 2] = 1
    return frames


def test_features_are_as_published_unless_asked_for() -> None:
    plain, centred = network(False), network(True)
    assert set(centred.state_dict()) - set(plain.state_dict()) == {"feature_mean"}
    frames = still_frames_with_a_dot(8, torch.Generator().manual_seed(0))
    before = plain.encode(frames)
    torch.testing.assert_close(centred.encode(frames), before)  # nothing is known of the mean yet
    plain.recentre(frames)
    torch.testing.assert_close(plain.encode(frames), before, rtol=0, atol=0)


def test_the_mean_is_that_of_the_last_frames_and_travels_with_the_weights() -> None:
    agent, generator = network(True), torch.Generator().manual_seed(0)
    for shift in (0, 1):
        frames = torch.randn(16, 3, *SIZE, generator=generator) + shift
        agent.recentre(frames)
        torch.testing.assert_close(agent.encode(frames).mean(0), torch.zeros(640), atol=1e-5, rtol=0)
    other = network(True)
    other.load_state_dict(agent.state_dict())
    torch.testing.assert_close(other.encode(frames), agent.encode(frames), rtol=0, atol=0)


def test_values_follow_their_mean_error_where_features_are_centred() -> None:
    frames = still_frames_with_a_dot(4, torch.Generator().manual_seed(0))
    for agent, moved in ((network(True), 2.5), (network(False), 0.0)):
        before = agent(frames, agent.zero_state(4))[1]
        agent.follow(torch.tensor(2.5))
        torch.testing.assert_close(agent(frames, agent.zero_state(4))[1], before + moved)


@pytest.mark.parametrize("centre_features", [False, True])
@pytest.mark.cases(every=2)
def test_centred_features_keep_the_lstm_from_saturation(centre_features: bool) -> None:
    agent, generator = network(centre_features), torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(agent.parameters(), lr=3e-4)
    for _ in range(60):
        frames = still_frames_with_a_dot(32, generator)
        agent.recentre(frames)
        _, values, _ = agent(frames, agent.zero_state(len(frames)))
        optimiser.zero_grad()
        (values - 8).square().mean().backward()
        optimiser.step()
    frames = still_frames_with_a_dot(64, generator)
    _, _, (h, _) = agent(frames, agent.zero_state(len(frames)))
    told_apart = h.std(0).mean() / h.abs().mean()
    assert told_apart > 0.5 if centre_features else told_apart < 0.001


def test_a_head_has_a_logit_for_each_number_of_an_encoded_action() -> None:
    space = ActionSpace((Keys(("w", "space")), Choice("mouse", ("-1", "0", "1"))))
    agent = ActorCritic(ActorCriticConfig(8, (8,), (True,)), space, (8, 8))
    logits, value, _ = agent(torch.randn(3, 3, 8, 8), agent.zero_state(3))
    assert agent.actions == space and logits.shape == (3, 5) and value.shape == (3,)
