"""The reward/end model: what counts in its loss, and its state passed from step to step."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffworld.game import ActionSpace, Keys
from diffworld.models.reward_end import RewardEndConfig, RewardEndModel

SMALL = RewardEndConfig(lstm_channels=8, cond_channels=6, channels=(4, 8), depths=(1, 1), attention=(False, True))
ACTIONS = 4


def model_of(size: tuple[int, int] = (6, 7), config: RewardEndConfig = SMALL) -> RewardEndModel:
    model = RewardEndModel(config, ActionSpace.discrete(ACTIONS), size)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


Window = dict[str, Tensor]


def windows(rows: int = 3, length: int = 5, size: tuple[int, int] = (6, 7)) -> Window:
    return {
        "frames": torch.rand(rows, length, 3, *size) * 2 - 1,
        "actions": torch.randint(ACTIONS, (rows, length)),
        "rewards": torch.randn(rows, length) * 3,
        "ends": torch.randint(2, (rows, length)),
        "mask": torch.ones(rows, length, dtype=torch.bool),
    }


def test_masked_steps_do_not_count() -> None:
    model, batch = model_of(), windows()
    batch["mask"][0, :2] = False
    batch["mask"][2, 3] = False
    losses = model.loss(**batch)
    hidden = ~batch["mask"]
    other = batch | {
        "rewards": torch.where(hidden, -batch["rewards"], batch["rewards"]),
        "ends": torch.where(hidden, 1 - batch["ends"], batch["ends"]),
    }
    assert model.loss(**other).total == losses.total
    shown = batch | {"mask": torch.ones_like(batch["mask"])}
    assert model.loss(**shown).total != losses.total


def test_loss_is_the_mean_over_unmasked_steps() -> None:
    model, batch = model_of(), windows()
    batch["mask"][:, 1] = False
    losses = model.loss(**batch)
    rewards, ends = [], []
    for row in range(3):
        for t in (0, 2, 3):
            sign = int(batch["rewards"][row, t].sign()) + 1
            rewards.append(-losses.reward_logits[row, t].log_softmax(-1)[sign])
            ends.append(-losses.end_logits[row, t].log_softmax(-1)[batch["ends"][row, t]])
    torch.testing.assert_close(losses.reward, torch.stack(rewards).mean())
    torch.testing.assert_close(losses.end, torch.stack(ends).mean())
    torch.testing.assert_close(losses.total, losses.reward + losses.end)


def test_last_column_is_only_a_successor() -> None:
    model, batch = model_of(), windows()
    losses = model.loss(**batch)
    assert losses.reward_logits.shape == (3, 4, 3) and losses.end_logits.shape == (3, 4, 2)
    other = {name: value.clone() for name, value in batch.items()}
    other["rewards"][:, -1] *= -1
    other["ends"][:, -1] = 1 - other["ends"][:, -1]
    other["actions"][:, -1] = (other["actions"][:, -1] + 1) % ACTIONS
    other["mask"][:, -1] = False
    assert model.loss(**other).total == losses.total
    other["frames"][:, -1] *= -1
    assert model.loss(**other).total != losses.total


def test_padding_alone_is_no_loss() -> None:
    model, batch = model_of(), windows()
    losses = model.loss(**batch | {"mask": torch.zeros(3, 5, dtype=torch.bool)})
    losses.total.backward()
    assert losses.total == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_only_the_sign_of_a_reward_is_learnt() -> None:
    model, batch = model_of(), windows()
    batch["rewards"] = torch.tensor([[7.0, -0.5, 0.0, 200.0, 0.0]]).repeat(3, 1)
    signs = batch | {"rewards": torch.tensor([[1.0, -1.0, 0.0, 1.0, 0.0]]).repeat(3, 1)}
    assert model.loss(**batch).total == model.loss(**signs).total
    flipped = batch | {"rewards": -batch["rewards"]}
    assert model.loss(**flipped).reward != model.loss(**batch).reward


def test_a_model_that_knows_nothing() -> None:
    model, batch = model_of(), windows()
    torch.nn.init.zeros_(model.head[2].weight)
    losses = model.loss(**batch)
    assert losses.reward.item() == pytest.approx(math.log(3))
    assert losses.end.item() == pytest.approx(math.log(2))
    assert model.head[2].bias is None


@settings(max_examples=15)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 13), st.integers(1, 13), st.integers(1, 3))
def test_a_sequence_is_its_steps_one_by_one(rows: int, steps: int, height: int, width: int, levels: int) -> None:
    config = RewardEndConfig(8, 6, (4, 8, 4)[:levels], (1, 2, 1)[:levels], (False, True, False)[:levels])
    model, batch = model_of((height, width), config), windows(rows, steps + 1, (height, width))
    frames, following, actions = batch["frames"][:, :-1], batch["frames"][:, 1:], batch["actions"][:, :-1]
    rewards, ends, last = model(frames, actions, following, model.zero_state(rows))
    assert rewards.shape == (rows, steps, 3) and ends.shape == (rows, steps, 2)
    state = model.zero_state(rows)
    for t in range(steps):
        one = slice(t, t + 1)
        reward, end, state = model(frames[:, one], actions[:, one], following[:, one], state)
        torch.testing.assert_close(reward, rewards[:, one], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(end, ends[:, one], atol=1e-5, rtol=1e-4)
    for own, whole in zip(state, last, strict=True):
        assert own.shape == (rows, 8)
        torch.testing.assert_close(own, whole, atol=1e-5, rtol=1e-4)


def test_it_remembers() -> None:
    model, batch = model_of(), windows()
    frames, actions = batch["frames"][:, :1], batch["actions"][:, :1]
    fresh, _, state = model(frames, actions, batch["frames"][:, 1:2], model.zero_state(3))
    later, _, _ = model(frames, actions, batch["frames"][:, 1:2], state)
    assert not torch.allclose(fresh, later)


def test_features_are_flattened_channel_first_in_any_memory_format() -> None:
    model, batch = model_of(), windows()
    expected = model.loss(**batch).total
    model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(model.loss(**batch).total, expected)
    arguments = batch["frames"][:, 0], batch["frames"][:, 1], model.action_embedding(batch["actions"][:, 0])
    features = model.encoder(torch.cat(arguments[:2], dim=1), arguments[2])
    by_hand, _ = model.lstm(features.contiguous().reshape(3, 1, -1))
    rewards, _, _ = model(batch["frames"][:, :1], batch["actions"][:, :1], batch["frames"][:, 1:2], model.zero_state(3))
    torch.testing.assert_close(rewards, model.head(by_hand)[..., :3])


def test_actions_of_keys() -> None:
    """Keys that are down add up; an action of one key is a choice of that number."""
    torch.manual_seed(0)
    of_choice = RewardEndModel(SMALL, ActionSpace.discrete(ACTIONS), (6, 7))
    of_keys = RewardEndModel(SMALL, ActionSpace((Keys(tuple("abcd")),)), (6, 7))
    of_keys.load_state_dict(of_choice.state_dict())
    batch = windows()
    vectors = F.one_hot(batch["actions"], ACTIONS).to(torch.uint8)
    torch.testing.assert_close(of_keys.loss(**batch | {"actions": vectors}).total, of_choice.loss(**batch).total)
