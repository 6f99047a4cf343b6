"""PPO on a vector of dreams in 60 lines: python examples/ppo_in_60_lines.py --model runs/breakout."""

import gymnasium
import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.distributions import Categorical

import diffworld  # noqa: F401  (registers diffworld/Dream-v0)


def main(model: str = "demo", steps: int = 100_000, rows: int = 32, length: int = 32, seed: int = 0) -> list[float]:
    """Returns the mean reward of each rollout's steps."""
    torch.manual_seed(seed)
    envs = gymnasium.make_vec("diffworld/Dream-v0", rows, model=model, device="cpu", autoreset_mode="SameStep")
    layers = [nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten()]
    heads = nn.Linear(128, 1 + int(envs.single_action_space.n))  # the value, then a logit an action
    network = nn.Sequential(*layers, nn.LazyLinear(128), nn.ReLU(), heads)

    def look(frames: Tensor) -> tuple[Categorical, Tensor]:  # bytes (B, H, W, 3) to policy and value
        value, logits = network(frames.permute(0, 3, 1, 2) / 255).split([1, heads.out_features - 1], dim=1)
        return Categorical(logits=logits), value.squeeze(1)

    frames, means = torch.from_numpy(envs.reset(seed=seed)[0]), []
    look(frames)  # gives the lazy layer its size
    optimiser, discount, trace = torch.optim.Adam(network.parameters(), 5e-4), 0.97, 0.95
    for update in range(max(1, steps // (rows * length))):
        seen = []
        with torch.no_grad():
            for _ in range(length):
                policy, value = look(frames)
                action = policy.sample()
                following, rewards, ended, truncated, info = envs.step(action.numpy())
                reward, cut = torch.tensor(rewards, dtype=torch.float32), np.flatnonzero(truncated)
                if len(cut):  # a dream cut at its horizon would have gone on
                    reward[cut] += discount * look(torch.from_numpy(np.stack(info["final_obs"][cut])))[1]
                done = torch.from_numpy(ended | truncated).float()
                seen.append((frames, action, policy.log_prob(action), value, torch.tensor(rewards), reward, done))
                frames = torch.from_numpy(following)
            states, actions, log_probs, values, paid, gains, dones = (torch.stack(x) for x in zip(*seen, strict=True))
            advantages, running, next_value = torch.zeros_like(values), torch.zeros(rows), look(frames)[1]
            for t in reversed(range(length)):
                error = gains[t] + discount * next_value * (1 - dones[t]) - values[t]
                advantages[t] = running = error + discount * trace * running * (1 - dones[t])
                next_value = values[t]
            flat = [x.flatten(0, 1) for x in (states, actions, log_probs, advantages, advantages + values)]
        for batch in torch.randperm(rows * length).repeat(3).split(256):
            state, action, log_prob, advantage, target = (x[batch] for x in flat)
            policy, value = look(state)
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
            ratio = (policy.log_prob(action) - log_prob).exp()
            loss = -torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
            loss += 0.5 * (value - target).square().mean() - 0.01 * policy.entropy().mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            optimiser.step()
        means.append(paid.double().mean().item())
        print(f"{(update + 1) * rows * length:,} steps | reward a step {means[-1]:+.4f}", flush=True)
    return means


if __name__ == "__main__":
    tyro.cli(main)
