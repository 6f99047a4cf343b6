"""The agent as a player of real frames: what it remembers, and how it draws its actions."""

import numpy as np
import pytest
import torch

from diffworld.agents.policy import ActorCriticPolicy
from diffworld.game import ActionSpace, Choice, Keys
from diffworld.models.actor_critic import ActorCritic, ActorCriticConfig
from diffworld.runtime.frames import frames_from_bytes

ACTIONS = 4


SPACE = ActionSpace.discrete(ACTIONS)
SHOOTER = ActionSpace((Keys(("w", "s"), (("w", "s"),)), Choice("mouse", ("-1", "0", "1"))))


def agent(space: ActionSpace = SPACE) -> ActorCritic:
    actor_critic = ActorCritic(ActorCriticConfig(lstm_channels=6, channels=(4,), pool=(True,)), space, (4, 6))
    with torch.no_grad():
        for parameter in actor_critic.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.6)
    return actor_critic


def frames(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, 4, 6, 3), dtype=np.uint8)


NONE_FRESH = np.zeros(3, dtype=bool)


def test_state_goes_on_and_fresh_rows_forget() -> None:
    actor_critic = agent()
    policy = ActorCriticPolicy(actor_critic, 3)
    state = actor_critic.zero_state(3)
    for seed, fresh in enumerate([[True] * 3, [False] * 3, [False, True, False], [True, False, False]]):
        actions = policy.act(frames(3, seed), np.array(fresh))
        forgotten = torch.tensor(fresh)[:, None]
        state = state[0].masked_fill(forgotten, 0), state[1].masked_fill(forgotten, 0)
        _, _, state = actor_critic(frames_from_bytes(torch.from_numpy(frames(3, seed))), state)
        torch.testing.assert_close(policy.state, state)
        assert not policy.state[0].requires_grad
        assert actions.shape == (3,) and actions.dtype == np.int64


def test_a_saved_state_may_be_put_back() -> None:
    policy = ActorCriticPolicy(agent(), 3, generator=torch.Generator().manual_seed(1))
    assert policy.generator is not None
    policy.act(frames(3), ~NONE_FRESH)
    state, draws = policy.state, policy.generator.get_state()
    first = [policy.act(frames(3, seed), NONE_FRESH).tolist() for seed in range(5)]
    policy.state = state
    policy.generator.set_state(draws)
    assert [policy.act(frames(3, seed), NONE_FRESH).tolist() for seed in range(5)] == first


def test_temperature_0_takes_the_best() -> None:
    actor_critic = agent()
    policy, state = ActorCriticPolicy(actor_critic, 3, temperature=0.0), actor_critic.zero_state(3)
    for seed in range(8):
        logits, _, state = actor_critic(frames_from_bytes(torch.from_numpy(frames(3, seed))), state)
        assert policy.act(frames(3, seed), NONE_FRESH).tolist() == logits.argmax(-1).tolist()


def shares(policy: ActorCriticPolicy, rows: int) -> list[float]:
    actions = policy.act(np.repeat(frames(1), rows, axis=0), np.ones(rows, dtype=bool))
    return (np.bincount(actions, minlength=ACTIONS) / rows).tolist()


def test_actions_are_sampled_with_the_policys_probabilities() -> None:
    actor_critic = agent()
    logits, _, _ = actor_critic(frames_from_bytes(torch.from_numpy(frames(1))), actor_critic.zero_state(1))
    for temperature in (1.0, 0.5):
        wanted = (logits[0] / temperature).softmax(-1).tolist()
        assert shares(ActorCriticPolicy(actor_critic, 8000, temperature=temperature), 8000) == pytest.approx(
            wanted, abs=0.03
        )


@pytest.mark.parametrize("epsilon", [0.0, 0.4, 1.0])
def test_epsilon_is_the_share_of_uniform_actions(epsilon: float) -> None:
    actor_critic = agent()
    best = ActorCriticPolicy(actor_critic, 1, temperature=0.0).act(frames(1), np.array([True]))[0]
    found = shares(ActorCriticPolicy(actor_critic, 8000, temperature=0.0, epsilon=epsilon), 8000)
    wanted = [epsilon / ACTIONS + (1 - epsilon) * (action == best) for action in range(ACTIONS)]
    assert found == pytest.approx(wanted, abs=0.03)


def test_an_own_generator_leaves_torchs_alone() -> None:
    actor_critic = agent()

    def play(seed: int) -> list[list[int]]:
        policy = ActorCriticPolicy(actor_critic, 3, epsilon=0.5, generator=torch.Generator().manual_seed(seed))
        return [policy.act(frames(3, step), NONE_FRESH).tolist() for step in range(20)]

    before = torch.get_rng_state()
    first = play(1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert play(1) == first
    assert play(2) != first


def test_without_one_torchs_seed_decides() -> None:
    actor_critic = agent()

    def play() -> list[int]:
        torch.manual_seed(5)
        return (
            ActorCriticPolicy(actor_critic, 30).act(np.repeat(frames(3), 10, axis=0), np.ones(30, dtype=bool)).tolist()
        )

    assert play() == play()


def test_a_player_of_keys_and_choices() -> None:
    """Its actions are of the space, and a share of epsilon are drawn uniformly, whole actions at a time."""
    actor_critic, rows = agent(SHOOTER), 6000
    for epsilon in (0.0, 1.0):
        policy = ActorCriticPolicy(actor_critic, rows, epsilon=epsilon)
        actions = policy.act(np.repeat(frames(1), rows, axis=0), np.ones(rows, dtype=bool))
        assert actions.shape == (rows, 5) and actions.dtype == np.uint8
        for action in np.unique(actions, axis=0):
            assert (SHOOTER.check(action) == action).all() and action[2:].sum() == 1 and action[:2].sum() < 2
        if epsilon:
            assert actions[:, 2:].mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)
            assert actions[:, :2].mean(0).tolist() == pytest.approx([1 / 2, 1 / 4], abs=0.03)
    best = ActorCriticPolicy(actor_critic, 1, temperature=0.0).act(frames(1), np.array([True]))[0]
    policy = ActorCriticPolicy(actor_critic, rows, temperature=0.0, epsilon=0.5)
    actions = policy.act(np.repeat(frames(1), rows, axis=0), np.ones(rows, dtype=bool))
    by_chance = (1 / 4 if not best[0] else 1 / 2) / 3  # of keys: none 1/4, s alone 1/4, w alone 1/2
    assert (actions == best).all(1).mean() == pytest.approx(0.5 + 0.5 * by_chance, abs=0.03)
