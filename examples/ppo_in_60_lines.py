"""PPO on a vector of dreams in about 60 lines of torch: python examples/ppo_in_60_lines.py --model runs/breakout."""

import gymnasium
import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.distributions import Categorical

import diffworld  # noqa: F401  (registers diffworld/Dream-v0)


def to_input(frames: np.ndarray) -> Tensor:
    """Frames (B, H, W, 3) as networks take them."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255


class Agent(nn.Module):
    """Policy and value of a frame."""

    def __init__(self, pixels: tuple[int, ...], actions: int) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten()]
        self.body = nn.Sequential(*layers, nn.LazyLinear(128), nn.ReLU())
        self.policy, self.value = nn.Linear(128, actions), nn.Linear(128, 1)
        self(torch.zeros(1, 3, *pixels))

    def forward(self, frames: Tensor) -> tuple[Categorical, Tensor]:
        features = self.body(frames)
        return Categorical(logits=self.policy(features)), self.value(features).squeeze(-1)


def main(model: str = "demo", steps: int = 100_000, rows: int = 32, length: int = 32, seed: int = 0) -> list[float]:
    """Returns the mean reward of each rollout's steps."""
    torch.manual_seed(seed)
    envs = gymnasium.make_vec("diffworld/Dream-v0", rows, model=model, device="cpu", autoreset_mode="SameStep")
    agent = Agent(envs.single_observation_space.shape[:2], int(envs.single_action_space.n))
    optimiser, discount, trace = torch.optim.Adam(agent.parameters(), 5e-4), 0.97, 0.95
    frames, history = to_input(envs.reset(seed=seed)[0]), []
    for update in range(max(1, steps // (rows * length))):
        seen = []
        for _ in range(length):
            with torch.no_grad():
                policy, value = agent(frames)
                action = policy.sample()
                following, rewards, ended, truncated, info = envs.step(action.numpy())
                reward, cut = torch.tensor(rewards, dtype=torch.float32), np.flatnonzero(truncated)
                if len(cut):  # a dream cut at its horizon would have gone on
                    reward[cut] += discount * agent(to_input(np.stack(info["final_obs"][cut])))[1]
            done = torch.from_numpy(ended | truncated).float()
            seen.append((frames, action, policy.log_prob(action), value, reward, done))
            history.append(float(rewards.mean()))
            frames = to_input(following)
        states, actions, log_probs, values, rewards_, dones = (torch.stack(each) for each in zip(*seen, strict=True))
        advantages, running = torch.zeros_like(values), torch.zeros(rows)
        with torch.no_grad():
            next_value = agent(frames)[1]
        for t in reversed(range(length)):
            error = rewards_[t] + discount * next_value * (1 - dones[t]) - values[t]
            advantages[t] = running = error + discount * trace * running * (1 - dones[t])
            next_value = values[t]
        targets = (advantages + values).flatten()
        for batch in torch.randperm(rows * length).repeat(3).split(256):
            policy, value = agent(states.flatten(0, 1)[batch])
            gain = advantages.flatten()[batch]
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)
            ratio = (policy.log_prob(actions.flatten()[batch]) - log_probs.flatten()[batch]).exp()
            loss = -torch.min(ratio * gain, ratio.clamp(0.8, 1.2) * gain).mean() - 0.01 * policy.entropy().mean()
            loss = loss + 0.5 * (value - targets[batch]).square().mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimiser.step()
        print(f"{(update + 1) * rows * length:,} steps | reward a step {np.mean(history[-length:]):+.4f}", flush=True)
    return [float(np.mean(history[i : i + length])) for i in range(0, len(history), length)]


if __name__ == "__main__":
    tyro.cli(main)
