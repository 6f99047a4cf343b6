"""The actor-critic network: policy and value from frames, CNN + LSTM cell."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffworld.game import ActionSpace
from diffworld.nn.blocks import conv3x3, group_norm, init_lstm, silu
from diffworld.runtime.checked import Count
from diffworld.runtime.errors import UserError

PolicyState = tuple[Tensor, Tensor]
"""LSTM hidden and cell state, each (B, lstm_channels)."""


@dataclass(frozen=True)
class ActorCriticConfig:
    """Size of the actor-critic."""

    lstm_channels: Count = 512
    """Width of the LSTM."""
    channels: tuple[Count, ...] = (32, 32, 64, 64)
    """Channels of each stage of the encoder."""
    pool: tuple[bool, ...] = (True, True, True, True)
    """2x2 max-pool after each stage."""
    centre_features: bool = False
    """Take the encoder's mean features in the dreams of the last update away before the LSTM (not in the paper). What
    stands still on the screen outweighs what moves, and drives the LSTM of a fast-learning agent into saturation. What
    all frames share then reaches the value head by its bias alone, which takes up the mean error of the values at
    once."""


class Stage(nn.Module):
    """conv3(silu(groupnorm(x))) + skip, then perhaps a 2x2 max-pool."""

    def __init__(self, cin: int, cout: int, pool: bool) -> None:
        super().__init__()
        self.norm = group_norm(cin)
        self.conv = conv3x3(cin, cout)
        self.skip = nn.Conv2d(cin, cout, kernel_size=1) if cin != cout else nn.Identity()
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(silu(self.norm(x))) + self.skip(x))


class ActorCritic(nn.Module):
    """Policy logits and value for frames (B, 3, H, W) in [-1, 1], with recurrent state."""

    feature_mean: Tensor
    """(F,); only where features are centred."""

    def __init__(self, config: ActorCriticConfig, actions: ActionSpace, frame_size: tuple[int, int]) -> None:
        super().__init__()
        self.config, self.actions = config, actions
        channels = (config.channels[0], *config.channels)
        height, width = frame_size
        for pool in config.pool:
            height, width = (height // 2, width // 2) if pool else (height, width)
        if height * width == 0:
            raise UserError(f"frames of {frame_size} are too small for {sum(config.pool)} poolings: set fewer")
        self.conv_in = conv3x3(3, channels[0])
        self.stages = nn.Sequential(
            *(Stage(*args) for args in zip(channels[:-1], channels[1:], config.pool, strict=True))
        )
        self.lstm = nn.LSTMCell(channels[-1] * height * width, config.lstm_channels)
        self.policy_head = nn.Linear(config.lstm_channels, actions.size)
        self.value_head = nn.Linear(config.lstm_channels, 1)
        if config.centre_features:
            self.register_buffer("feature_mean", torch.zeros(self.lstm.input_size))
        init_lstm(self.lstm)
        for head in (self.policy_head, self.value_head):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def zero_state(self, rows: int) -> PolicyState:
        """State at the start of an episode."""
        zeros = self.policy_head.weight.new_zeros(rows, self.config.lstm_channels)
        return zeros, zeros

    def encode(self, frames: Tensor) -> Tensor:
        """Features (B, F) of frames (B, 3, H, W)."""
        features: Tensor = self.stages(self.conv_in(frames)).flatten(1)
        return features - self.feature_mean if self.config.centre_features else features

    @torch.no_grad()
    def recentre(self, frames: Tensor, shared: Callable[[Tensor], Tensor] = lambda mean: mean) -> None:
        """Centre features on their mean in frames (B, 3, H, W), if they are to be; `shared` makes it others' too."""
        if self.config.centre_features:
            self.feature_mean += shared(self.encode(frames).float().mean(0))

    @torch.no_grad()
    def follow(self, mean_error: Tensor) -> None:
        """Move the values by how much returns exceeded them on average in the last update, if features are centred."""
        if self.config.centre_features:
            self.value_head.bias.add_(mean_error)

    def forward(self, frames: Tensor, state: PolicyState) -> tuple[Tensor, Tensor, PolicyState]:
        """Logits (B, A), A the size of the action space, value (B,) and the new state."""
        return self.step(self.encode(frames), state)

    def step(self, features: Tensor, state: PolicyState) -> tuple[Tensor, Tensor, PolicyState]:
        """As `forward`, from features of `encode`."""
        h, c = self.lstm(features, state)
        return self.policy_head(h).float(), self.value_head(h).squeeze(1).float(), (h.float(), c.float())

    def burn_in(self, frames: Tensor) -> PolicyState:
        """State after seeing frames (B, T, 3, H, W), from the zero state, with gradients."""
        state = self.zero_state(len(frames))
        if frames.shape[1]:
            features = self.encode(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
            for t in range(frames.shape[1]):
                h, c = self.lstm(features[:, t], state)
                state = h.float(), c.float()
        return state
