"""The reward/end model: reward sign and termination of a step, from (x_t, a_t, x_{t+1}), CNN + LSTM."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffworld.game import ActionSpace
from diffworld.models.embedding import ActionEmbedding
from diffworld.nn.blocks import ResBlocks, conv3x3, downsample, init_lstm, modulations
from diffworld.runtime.checked import Count

LstmState = tuple[Tensor, Tensor]
"""Hidden and cell state, each (B, lstm_channels)."""

NUM_REWARDS = 3  # signs -1, 0, 1
NUM_ENDS = 2  # no, yes


@dataclass(frozen=True)
class RewardEndConfig:
    """Size of the reward/end model."""

    lstm_channels: Count = 512
    """Width of the LSTM."""
    cond_channels: Count = 128
    """Width of the action embedding that conditions the blocks."""
    channels: tuple[Count, ...] = (32, 32, 32, 32)
    """Channels of each level; between levels the size halves."""
    depths: tuple[Count, ...] = (2, 2, 2, 2)
    """Residual blocks of each level."""
    attention: tuple[bool, ...] = (False, False, False, False)
    """Self-attention at each level (the last two blocks always have it)."""
    window: Count = 15
    """Steps of a training window beyond the denoiser's context frames."""


@dataclass(frozen=True)
class RewardEndLosses:
    """Scalar losses of a batch, and what the model said, for precision and recall."""

    total: Tensor
    reward: Tensor
    end: Tensor
    reward_logits: Tensor
    end_logits: Tensor


class RewardEndEncoder(nn.Module):
    """[x_t; x_{t+1}] (B, 6, H, W) and a condition (B, cond_channels) to features (B, C, H', W')."""

    def __init__(self, config: RewardEndConfig) -> None:
        super().__init__()
        channels, cond = config.channels, config.cond_channels
        self.conv_in = conv3x3(6, channels[0])
        self.levels = nn.ModuleList(
            ResBlocks([(channels[max(0, i - 1)], c)] + [(c, c)] * (depth - 1), cond, attend)
            for i, (c, depth, attend) in enumerate(zip(channels, config.depths, config.attention, strict=True))
        )
        self.middle = ResBlocks([(channels[-1], channels[-1])] * 2, cond, True)
        self.downsamples = nn.ModuleList([nn.Identity(), *(downsample(c) for c in channels[:-1])])

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        x, modulated = self.conv_in(x), iter(modulations(self, cond))
        for shrink, level in zip(self.downsamples, self.levels, strict=True):
            x = level(shrink(x), modulated)
        return self.middle(x, modulated)


class RewardEndModel(nn.Module):
    """Predicts the reward's sign and the end of every step of a sequence."""

    def __init__(self, config: RewardEndConfig, actions: ActionSpace, frame_size: tuple[int, int]) -> None:
        super().__init__()
        self.config = config
        self.action_embedding = ActionEmbedding(actions, config.cond_channels)
        self.encoder = RewardEndEncoder(config)
        height, width = frame_size
        for _ in config.channels[1:]:
            height, width = (height + 1) // 2, (width + 1) // 2
        self.lstm = nn.LSTM(config.channels[-1] * height * width, config.lstm_channels, batch_first=True)
        self.head = nn.Sequential(
            nn.Linear(config.lstm_channels, config.lstm_channels),
            nn.SiLU(),
            nn.Linear(config.lstm_channels, NUM_REWARDS + NUM_ENDS, bias=False),
        )
        init_lstm(self.lstm)

    def zero_state(self, rows: int) -> LstmState:
        """State before the first step of `rows` sequences."""
        zeros = self.action_embedding.weight.new_zeros(rows, self.config.lstm_channels)
        return zeros, zeros

    def forward(
        self, frames: Tensor, actions: Tensor, next_frames: Tensor, state: LstmState
    ) -> tuple[Tensor, Tensor, LstmState]:
        """Logits of reward sign (B, T, 3) and end (B, T, 2), and the new state.

        `frames` and `next_frames` are (B, T, 3, H, W); `actions` (B, T) int64, or (B, T, A) of 0 and 1.
        """
        b, t = actions.shape[:2]
        x = torch.cat([frames, next_frames], dim=2).flatten(0, 1)
        features = self.encoder(x, self.action_embedding(actions.flatten(0, 1)))
        h, c = state
        # .flatten is channel first whatever the memory format, as published weights expect
        out, (h, c) = self.lstm(features.flatten(1).unflatten(0, (b, t)), (h[None], c[None]))
        logits = self.head(out).float()
        return logits[..., :NUM_REWARDS], logits[..., NUM_REWARDS:], (h[0].float(), c[0].float())

    def loss(
        self,
        frames: Tensor,
        actions: Tensor,
        rewards: Tensor,
        ends: Tensor,
        mask: Tensor,
        counts: Tensor | None = None,
    ) -> RewardEndLosses:
        """Cross-entropies over windows of L frames, which give L - 1 steps.

        `frames` (B, L, 3, H, W) with final observations in place; `actions`, `ends` (B, L) int64; `rewards`
        (B, L) raw; `mask` (B, L) marks steps whose next frame is known. The last column is not used. `counts`
        (L,) are the marked steps of a column to divide by, where those of this batch alone are not the ones.
        """
        reward_logits, end_logits, _ = self(
            frames[:, :-1], actions[:, :-1], frames[:, 1:], self.zero_state(len(frames))
        )
        mask = mask[:, :-1].float()
        count = mask.sum().clamp(min=1) if counts is None else counts[:-1].sum().clamp(min=1e-9)
        signs = rewards[:, :-1].sign().long() + 1
        reward = (_cross_entropy(reward_logits, signs) * mask).sum() / count
        end = (_cross_entropy(end_logits, ends[:, :-1]) * mask).sum() / count
        return RewardEndLosses(reward + end, reward, end, reward_logits, end_logits)


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Per-step cross-entropy (B, T) of logits (B, T, classes); no -100 trick, masks are explicit."""
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view_as(target)
