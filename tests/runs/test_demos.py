"""The models that come with the package: they dream, and their agents look at the screen."""

import pytest
import torch

from diffworld.envs import ActionCounter
from diffworld.evaluation.blind import play_blind
from diffworld.evaluation.games import TestGames, scores
from diffworld.evaluation.statistics import clearly_above, mean_interval
from diffworld.runs import load
from diffworld.runs.loading import DEMOS
from diffworld.runtime.frames import frames_from_bytes
from diffworld.runtime.progress import Display

NAMES = sorted(file.stem for file in DEMOS.glob("*.zip"))
WITH_AGENTS = [name for name in NAMES if load(f"demo/{name}", "cpu").policy is not None]


def test_there_are_two_or_more_and_one_with_an_agent() -> None:
    assert len(NAMES) >= 2 and WITH_AGENTS


@pytest.mark.parametrize("name", WITH_AGENTS)
def test_what_an_agent_does_depends_on_the_screen(name: str) -> None:
    model = load(f"demo/{name}", "cpu")
    agent, frames = model.require_policy(), torch.stack([torch.from_numpy(w.frames) for w in model.starts.windows()])
    seen = frames_from_bytes(frames)  # (windows, n, 3, H, W)
    logits, _, _ = agent(seen[:, -1], agent.burn_in(seen[:, :-1]))
    probs = logits.softmax(-1)
    assert len(set(probs.argmax(-1).tolist())) > 1
    assert float(probs.std(dim=0).max()) > 0.1


@pytest.mark.parametrize("name", WITH_AGENTS)
def test_an_agent_beats_those_who_do_not_look(name: str) -> None:
    model = load(f"demo/{name}", "cpu")
    tests, pressed = TestGames(model.spec, 0, 10, 1.0), ActionCounter()
    played = tests.play(model.require_policy(), 20, on_step=pressed)
    agent = mean_interval(scores(played))
    blind = play_blind(tests, pressed, 20, Display()).scores
    assert clearly_above(agent, blind.constant) and clearly_above(agent, blind.mixture)
