"""Six updates of the agent in its dreams, beside the same written out row by row.

The plain way knows nothing of batches over time, of starts kept ahead or of what a rollout leaves to a second pass: it
follows the published rules (the paper's appendix on the actor-critic) one row, one step, one frame after another. Both
are given the same windows, the same noise and the same numbers to draw rewards and ends with; actions are the
likeliest.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from diffworld.config import Config
from diffworld.game import ActionSpace, GameSpec
from diffworld.recipes import Networks
from diffworld.training.trainer import Averages, Trainer
from tests.tiny_training import noise_of, world_trainer

HORIZON, ROWS, UPDATES = 5, 3, 6
RATE, WARMUP, CLIP = 3e-3, 2, 0.5


class Row:
    """One dream, and what the policy remembers of it."""

    def __init__(self, networks: Networks, frames: Tensor, actions: Tensor) -> None:
        """From a window: frames (n, 3, H, W), actions (n,)."""
        assert networks.reward_end is not None and networks.actor_critic is not None
        self.networks, self.frames, self.actions, self.steps = networks, list(frames), list(actions), 0
        self.judge = networks.reward_end.zero_state(1)
        for t in range(len(frames) - 1):
            _, _, self.judge = networks.reward_end(
                *(x[t][None, None] for x in (frames, actions)), frames[t + 1][None, None], self.judge
            )
        self.policy = networks.actor_critic.zero_state(1)

    def burn_in(self) -> None:
        """Show the policy the window but its last frame."""
        assert self.networks.actor_critic is not None
        for frame in self.frames[:-1]:
            _, _, self.policy = self.networks.actor_critic(frame[None], self.policy)

    @torch.no_grad()
    def judged(self, drawn: Tensor, chances: tuple[Tensor, Tensor]) -> tuple[float, bool]:
        """Go on to the frame (3, H, W) that the last action led to: the reward's sign, and whether the dream ends."""
        assert self.networks.reward_end is not None
        rewards, ends, self.judge = self.networks.reward_end(
            self.frames[-1][None, None], self.actions[-1][None, None], drawn[None, None], self.judge
        )
        self.frames = [*self.frames[1:], drawn]
        self.actions = [*self.actions[1:], torch.zeros_like(self.actions[-1])]
        self.steps += 1
        reward, end = (drawn_with(x[0].softmax(-1), u[None]) for x, u in zip((rewards, ends), chances, strict=True))
        return float(reward) - 1, bool(end)


def drawn_with(probabilities: Tensor, chance: Tensor) -> Tensor:
    """The index (B,) that numbers from 0 to 1 (B,) fall on, where (B, n) `probabilities` divide that line."""
    return (probabilities.cumsum(-1) > chance[:, None]).long().argmax(-1)


def plainly(
    networks: Networks, config: Config, windows: list[Any], noises: list[Tensor], chances: list[Tensor]
) -> tuple[list[float], Counter[str]]:
    """Losses of six updates, and what happened in them; the actor-critic is left as they made it."""
    agent, returns = networks.actor_critic, config.returns
    assert agent is not None
    optimiser = torch.optim.AdamW(agent.parameters(), lr=RATE, eps=1e-8, weight_decay=0.0)
    rows, losses = [Row(networks, *windows.pop(0)) for _ in range(ROWS)], []
    met = Counter[str]()
    for update in range(UPDATES):
        for row in rows:
            row.policy = tuple(x.detach() for x in row.policy)  # type: ignore[assignment]
        terms: list[dict[str, Any]] = [{"log_prob": [], "value": [], "entropy": [], "then": []} for _ in rows]
        for _ in range(HORIZON):
            for row, term in zip(rows, terms, strict=True):
                logits, value, row.policy = agent(row.frames[-1][None], row.policy)
                row.actions[-1] = logits[0].argmax()
                log_probs = F.log_softmax(logits[0], dim=0)
                term["log_prob"].append(log_probs[row.actions[-1]])
                term["value"].append(value[0])
                term["entropy"].append(-(log_probs.exp() * log_probs).sum())
            of_reward, of_end = chances.pop(0), chances.pop(0)
            for i, (row, drawn) in enumerate(zip(rows, next_frames(rows, config, noises.pop(0)), strict=True)):
                reward, end = row.judged(drawn, (of_reward[i], of_end[i]))
                with torch.no_grad():
                    following = agent(drawn[None], row.policy)[1][0]
                over = row.steps == HORIZON
                terms[i]["then"].append((reward, end, over, following))
                met.update(rewards=reward != 0, ends=end, cuts=over and not end)
                if end or over:
                    rows[i] = Row(networks, *windows.pop(0))
                    rows[i].burn_in()
        targets = [lambda_returns(term["then"], returns.discount, returns.lambda_return) for term in terms]
        target = torch.stack([x for of_row in targets for x in of_row])
        log_prob, value, entropy = (
            torch.stack([x for term in terms for x in term[name]]) for name in ("log_prob", "value", "entropy")
        )
        loss = (
            (-log_prob * (target - value.detach())).mean()
            + (value - target).square().mean()
            - returns.entropy_weight * entropy.mean()
        )
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(agent.parameters(), CLIP)
        optimiser.param_groups[0]["lr"] = RATE * min(1.0, update / WARMUP)
        optimiser.step()
        losses.append(loss.item())
    return losses, met


@torch.no_grad()
def next_frames(rows: list[Row], config: Config, noise: Tensor) -> Tensor:
    """The frames (B, 3, H, W) after the rows' own; of all at once, for the order of a sum may tell two levels apart."""
    frames, actions = (
        torch.stack([torch.stack(x) for x in of]) for of in ([r.frames for r in rows], [r.actions for r in rows])
    )
    denoiser = rows[0].networks.denoiser
    assert denoiser is not None
    return denoiser.sample(frames, actions, config.sampler, lambda shape: noise)[0]


def lambda_returns(steps: list[tuple[float, bool, bool, Tensor]], discount: float, lam: float) -> list[Tensor]:
    """R_t = r_t + gamma (1 - e_t) [u_t V(x_{t+1}) + (1 - u_t) ((1 - lambda) V(x_{t+1}) + lambda R_{t+1})]."""
    found: list[Tensor] = []
    after = steps[-1][3]
    for reward, end, over, value in reversed(steps):
        mixed = value if over else (1 - lam) * value + lam * after
        after = reward + discount * (0.0 if end else 1.0) * mixed
        found.append(after)
    return found[::-1]


def remembering(trainer: Trainer, rng: torch.Generator) -> tuple[list[Any], list[Tensor]]:
    """Let the dreams of a trainer keep the windows they begin in and the noise they are drawn from."""
    imagination: Any = trainer.recipe.agent.world  # type: ignore[attr-defined]
    windows: list[Any] = []
    noises: list[Tensor] = []
    draw_starts: Callable[[int], tuple[Tensor, Tensor]] = imagination.draw_starts

    def starts(count: int) -> tuple[Tensor, Tensor]:
        frames, actions = draw_starts(count)
        windows.extend(zip(frames, actions, strict=True))
        return frames, actions

    def noise(shape: tuple[int, ...]) -> Tensor:
        noises.append(torch.randn(shape, generator=rng))
        return noises[-1]

    imagination.draw_starts, imagination.randn = starts, noise
    return windows, noises


def test_six_updates_in_dreams_are_those_of_the_plain_way(
    small: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, chances = torch.Generator().manual_seed(0), list[Tensor]()

    def draw(probabilities: Tensor) -> Tensor:
        """From small numbers rather than large ones: ends, the last of two, are seldom."""
        chances.append(torch.rand(len(probabilities), generator=rng) ** (3 if probabilities.shape[1] == 2 else 1))
        return drawn_with(probabilities, chances[-1])

    monkeypatch.setattr("diffworld.world.imagination.draw_index", draw)
    monkeypatch.setattr("diffworld.agents.rollout.draw_actions", lambda space, logits: logits.argmax(-1))
    spec = GameSpec("noise", 12, 12, ActionSpace.discrete(3))
    data = noise_of(tmp_path / "data", spec, [9] * 12)
    agent = replace(
        small.actor_critic_updates, learning_rate=RATE, weight_decay=0.0, clip=CLIP, warmup=WARMUP, batch_size=ROWS
    )
    config = replace(
        small, horizon=HORIZON, networks=("denoiser", "reward_end", "actor_critic"), actor_critic_updates=agent
    )
    with world_trainer(config, data) as whole, world_trainer(config, data) as plain:
        with torch.no_grad():
            for _, module in whole.networks.items():
                for parameter in module.parameters():
                    parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng))
        plain.networks.load(whole.networks.tensors())
        windows, noises = remembering(whole, rng)
        losses = []
        for _ in range(UPDATES):
            whole.update("actor_critic")
            losses.append(whole.averages.means()["actor_critic/loss"])
            whole.averages = Averages()
        expected, met = plainly(plain.networks, config, windows, noises, chances)
        assert min(met.values()) >= 5, met
        assert losses == pytest.approx(expected, rel=1e-4, abs=1e-5)
        mine, theirs = (trainer.networks.actor_critic.state_dict() for trainer in (whole, plain))  # type: ignore[union-attr]
        for name, tensor in mine.items():
            torch.testing.assert_close(tensor, theirs[name], rtol=1e-4, atol=1e-5, msg=name)
