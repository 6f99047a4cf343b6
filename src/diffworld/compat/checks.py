"""What each golden file claims, and by how much the networks may differ from it (the folder's README)."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diffworld.agents.returns import ReturnConfig, actor_critic_losses, lambda_returns
from diffworld.envs import EnvironmentConfig, list_envs, make_env
from diffworld.game import ActionSpace
from diffworld.models.actor_critic import ActorCritic
from diffworld.models.denoiser import Denoiser, resize_bicubic
from diffworld.models.diffusion import LogNormalSigma, Randn
from diffworld.models.reward_end import RewardEndModel
from diffworld.models.sampler import SamplerConfig, karras_schedule

Arrays = Mapping[str, Tensor]
ONE_LEVEL = 2 / 255
ATARI_NOISE, SHOOTER_NOISE = LogNormalSigma(), LogNormalSigma(mean=-1.2)
"""Noise levels that the two families of networks were trained with."""

UPSAMPLER = SamplerConfig(1, sigma_min=1.0, churn=10.0, churn_min=1.0, churn_max=5.0, churn_noise=0.9)
SAMPLERS = {
    "sampler_euler1": SamplerConfig(denoising_steps=1),
    "sampler_euler3": SamplerConfig(denoising_steps=3),
    "sampler_heun2": SamplerConfig(denoising_steps=2, order=2),
    "sampler_churn3": SamplerConfig(3, churn=2.0, churn_min=0.01, churn_max=4.0, churn_noise=0.9),
    "sampler_churnsmall4": SamplerConfig(4, churn=0.8, churn_min=0.01, churn_max=5.0),
    "csgo_sampler_fast": SamplerConfig(1, sigma_context=0.005),
    "csgo_sampler_quality": SamplerConfig(3, sigma_context=0.005),
    "csgo_upsampler_fast": UPSAMPLER,
    "csgo_upsampler_quality": replace(UPSAMPLER, denoising_steps=4),
}


@dataclass(frozen=True)
class Result:
    """One file's verdict; `error` is its largest error in units of what is allowed (above 1 fails)."""

    name: str
    error: float
    passed: bool
    note: str = ""


class Checker:
    """Collects the largest error of one file, relative to each quantity's tolerance."""

    def __init__(self, expected: Arrays) -> None:
        self.expected = expected
        self.worst, self.absolute, self.note = 0.0, 0.0, ""

    def close(self, tolerance: float = 1e-5, relative: bool = False, **values: Tensor) -> None:
        """Every number within `tolerance`, scaled by the largest expected one (if `relative`, also down)."""
        for name, value in values.items():
            expected = self.expected[name].double()
            if value.shape != expected.shape:
                raise ValueError(f"{name} has shape {tuple(expected.shape)}, the network gives {tuple(value.shape)}")
            error = (value.double() - expected).abs()
            scale = expected.abs().max().item()
            self._note(error.max().item(), tolerance * (scale if relative and scale > 0 else max(1.0, scale)))

    def on_grid(self, name: str, value: Tensor, share: float, any_amount: bool = False) -> None:
        """At most `share` of the values off, and those by one 8-bit level (or any amount)."""
        error = (value.double() - self.expected[name].double()).abs()
        off = (~(error <= 1e-4)).double().mean().item()
        self._note(off, share)
        if not any_amount:
            self._note(error.max().item(), ONE_LEVEL * 1.01)
            if off:
                self.note = f"({off:.2%} of the values fall on the next of 256 grey levels)"

    def equal(self, **values: Tensor) -> None:
        """Exactly the same."""
        for name, value in values.items():
            self._note(float((value != self.expected[name]).sum()), 0.5)

    def _note(self, error: float, tolerance: float) -> None:
        ratio = error / tolerance if math.isfinite(error) else math.inf
        if ratio >= self.worst:
            self.worst, self.absolute = ratio, error


def stored_noise(arrays: Arrays) -> Randn:
    """The stored draws, in order."""
    draws: Iterator[Tensor] = (arrays[f"noise_{i}"] for i in range(len(arrays)) if f"noise_{i}" in arrays)

    def randn(shape: tuple[int, ...]) -> Tensor:
        noise = next(draws, None)
        if noise is None or tuple(noise.shape) != tuple(shape):
            got = None if noise is None else tuple(noise.shape)
            raise ValueError(f"expected a stored draw of shape {tuple(shape)}, found {got}")
        return noise

    return randn


def check_forward(model: Denoiser, arrays: Arrays, check: Checker) -> None:
    """`denoiser_forward`: F, D and the coefficients."""
    context = model.encode(arrays["context_obs"], arrays["context_act"], sigma_context=arrays.get("sigma_cond"))
    output, c = model.network_output(arrays["noisy"], arrays["sigma"], context)
    check.close(network_output=output)
    check.close(**{name: getattr(c, name) for name in ("c_in", "c_skip", "c_out", "c_noise") if name in arrays})
    if "denoised" in arrays:
        denoised = model.denoise(arrays["noisy"], arrays["sigma"], context)
        check.on_grid("denoised", denoised, share=1e-3)


def check_loss(model: Denoiser, arrays: Arrays, check: Checker, levels: LogNormalSigma) -> None:
    """`*_loss`: the loss of a window and its gradient's norm, from the stored draws."""
    model.config = replace(model.config, noise_levels=levels)
    upsampler = model.conditioning.upsampling_factor > 1
    frames = arrays["full_res" if upsampler else "obs"]
    low_res = arrays["low_res"] if upsampler else None
    with torch.enable_grad():
        model.zero_grad()
        loss = model.loss(frames, arrays.get("act"), arrays["mask"], stored_noise(arrays), low_res=low_res)
        loss.backward()
    check.close(relative=True, loss=loss.detach())
    if "grad_norm" in arrays:
        norm = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        check.close(relative=True, grad_norm=norm)


def check_sampler(model: Denoiser, arrays: Arrays, check: Checker, config: SamplerConfig) -> None:
    """`*sampler_*`: schedule, sample and trajectory, from the stored draws."""
    low_res, context_name = arrays.get("low_res"), "context_obs"
    if low_res is not None:
        context_name = "previous_full_res"
        size = arrays[context_name].shape[-2:]
        check.close(low_res_resized=resize_bicubic(low_res, (size[0], size[1])))
    sample, trajectory = model.sample(
        arrays[context_name], arrays.get("context_act"), config, stored_noise(arrays), low_res=low_res
    )
    check.close(tolerance=1e-4, sigmas=torch.tensor(karras_schedule(config)))
    any_amount = config.order == 2
    check.on_grid("sample", sample, share=5e-3, any_amount=any_amount)
    if "trajectory" in arrays:
        check.on_grid("trajectory", torch.stack(trajectory), share=5e-3, any_amount=any_amount)
        check.equal(sample=arrays["trajectory"][-1], noise_0=arrays["trajectory"][0])


def check_reward_end(model: RewardEndModel, arrays: Arrays, check: Checker) -> None:
    """`reward_end_forward`: logits and states of a sequence."""
    obs, act = arrays["obs"], arrays["act"]
    reward, end, (h, c) = model(obs[:, :-1], act[:, :-1], obs[:, 1:], model.zero_state(len(obs)))
    check.close(logits_reward=reward, logits_end=end, hx=h[None], cx=c[None])


def check_reward_end_loss(model: RewardEndModel, arrays: Arrays, check: Checker) -> None:
    """`reward_end_loss`: both cross-entropies, final observations standing in for the padding after an end."""
    obs = arrays["obs"].clone()
    ended_rows = [row for row in range(len(obs)) if arrays["end"][row, :-1].any()]
    for row, final in zip(ended_rows, arrays["final_obs"], strict=True):
        obs[row, int(arrays["end"][row].argmax()) + 1] = final
    losses = model.loss(obs, arrays["act"], arrays["reward"], arrays["end"], arrays["mask"])
    check.close(relative=True, loss_reward=losses.reward, loss_end=losses.end, loss=losses.total)


def check_actor_critic(model: ActorCritic, arrays: Arrays, check: Checker) -> None:
    """`actor_critic_forward`: logits and values of a sequence (T, B, ...), and the last state."""
    state = model.zero_state(arrays["obs"].shape[1])
    steps = []
    for frame in arrays["obs"]:
        *step, state = model(frame, state)
        steps.append(step)
    logits, values = map(torch.stack, zip(*steps, strict=True))
    check.close(logits=logits, value=values, hx=state[0], cx=state[1])


def check_returns(arrays: Arrays, check: Checker) -> None:
    """`actor_critic_loss`: lambda-returns and the three losses."""
    config, space = ReturnConfig(), ActionSpace.discrete(arrays["logits"].shape[-1])
    returns = lambda_returns(arrays["reward"], arrays["end"], arrays["trunc"], arrays["value_bootstrap"], config)
    losses = actor_critic_losses(space, arrays["logits"], arrays["act"], arrays["value"], returns, config)
    check.close(lambda_returns=returns, loss_actions=losses.policy, loss_values=losses.value)
    check.close(loss_entropy=losses.entropy, loss=losses.total)


def check_atari(game: str, arrays: Arrays, check: Checker) -> None:
    """`atari_*`: rewards, lives, ends and frames of a game played from seed 123, exactly."""
    ids = {env_id.split("/")[1].lower(): env_id for env_id in list_envs() if env_id.startswith("atari/")}
    env_id = ids.get(game.replace("_", "").lower())
    if env_id is None:
        raise ValueError(f"no Atari game called {game}")
    height, width = arrays["frames"].shape[1:3]
    env = make_env(env_id, EnvironmentConfig(height, width, noop_max=0))
    frames, steps = [env.reset([123])[0]], []
    for action in arrays["actions"].tolist():
        step = env.step(np.array([action]))
        steps.append((float(step.rewards[0]), bool(step.terminated[0]), bool(step.needs_reset[0])))
        frames.append(step.frames[0])
        if step.needs_reset[0]:
            break
    env.close()
    reward, ended, over = (torch.tensor(column) for column in zip(*steps, strict=True))
    check.equal(reward=reward, terminated=over)
    if not torch.equal(arrays["life_loss"] | arrays["terminated"], ended):
        check.equal(life_loss=ended)
    check.equal(frames=torch.from_numpy(np.stack(frames))[arrays["frame_index"]])


CHECKS: dict[str, Callable[[Any, Arrays, Checker], None]] = {
    "denoiser_forward": check_forward,
    "csgo_denoiser_forward": check_forward,
    "denoiser_loss": partial(check_loss, levels=ATARI_NOISE),
    "denoiser_loss_clipped": partial(check_loss, levels=LogNormalSigma(std=6.0)),
    "csgo_denoiser_loss": partial(check_loss, levels=SHOOTER_NOISE),
    "csgo_upsampler_loss": partial(check_loss, levels=SHOOTER_NOISE),
    "reward_end_forward": check_reward_end,
    "reward_end_loss": check_reward_end_loss,
    "actor_critic_forward": check_actor_critic,
    **{name: partial(check_sampler, config=config) for name, config in SAMPLERS.items()},
}
"""Name of a file about one network -> its check."""


def check_file(name: str, arrays: Arrays, parts: Mapping[str, dict[str, nn.Module]]) -> Result:
    """Check one `.npz` by the kind its name tells."""
    check = Checker(arrays)
    try:
        if name in CHECKS:
            family = "csgo" if name.startswith("csgo") else "atari"
            part = next((each for each in ("upsampler", "reward_end", "actor_critic") if each in name), "denoiser")
            CHECKS[name](parts.get(family, {})[part], arrays, check)
        elif name == "actor_critic_loss":
            check_returns(arrays, check)
        elif name.startswith("atari_"):
            check_atari(name.removeprefix("atari_"), arrays, check)
        else:
            return Result(name, math.inf, False, "unknown kind of file")
    except Exception as error:  # a file from elsewhere may hold anything, and the others are still to be checked
        return Result(name, math.inf, False, f"does not fit: {error}".splitlines()[0])
    return Result(name, check.absolute, check.worst <= 1, check.note)
