"""Does a dream obey? What the measure says of worlds that are known to obey, to obey in part, and not at all."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from diffworld.data import Dataset
from diffworld.evaluation import obedience as module
from diffworld.evaluation.obedience import by_step_lines, draw_by_step, draw_obedience, obedience, obedience_by_step
from diffworld.game import ActionSpace, Choice, GameSpec, Keys
from diffworld.models.denoiser import Conditioning, Denoiser, DenoiserConfig, UpsamplerConfig
from diffworld.models.diffusion import Randn
from diffworld.models.sampler import SamplerConfig
from diffworld.runtime.errors import UserError
from diffworld.runtime.frames import frames_from_bytes
from diffworld.world import DreamState, FrameStack, Prediction, TwoStages

HEIGHT, WIDTH = 12, 16
CPU = torch.device("cpu")
WAYS = ((0, -2), (0, 2), (-2, 0), (2, 0))
SPACES = {
    "keys": ActionSpace((Keys(("left", "right", "up", "down"), (("left", "right"),)),)),
    "choice": ActionSpace.discrete(["left", "right", "up", "down"]),
    "both": ActionSpace((Keys(("left", "right")), Choice("climb", ("up", "down")))),
}


def frame_of(place: np.ndarray) -> np.ndarray:
    frame = np.full((HEIGHT, WIDTH, 3), (20, 40, 90), np.uint8)
    frame[place[0] : place[0] + 2, place[1] : place[1] + 2] = (240, 220, 120)
    return frame


def bits_of(space: ActionSpace, actions: np.ndarray) -> np.ndarray:
    return np.eye(space.size, dtype=np.int64)[actions] if space.is_discrete else actions.astype(np.int64)


def make_data(path: Path, space: ActionSpace, steps: int = 600, only: int | None = None) -> Dataset:
    """A light that goes where the actions say, in three episodes; perhaps one action alone is ever taken."""
    rng = np.random.default_rng(0)
    with Dataset.create(path, GameSpec("light", HEIGHT, WIDTH, space)) as data:
        for _ in range(3):
            episode, place = data.new_episode(), np.array([6, 8])
            actions = space.sample(rng, steps // 3) if only is None else np.full(steps // 3, only)
            for t, action in enumerate(actions):
                before = frame_of(place)
                place = (place + bits_of(space, actions)[t] @ np.array(WAYS)) % (HEIGHT, WIDTH)
                last = t == len(actions) - 1
                data.append(episode, before, action, 0.0, last, False, frame_of(place) if last else None)
    return Dataset.open(path)


@dataclass(frozen=True)
class State(DreamState):
    frames: Tensor
    actions: Tensor


class Light:
    """A world that knows the game, but heeds of an action what `heed` leaves of it, and adds noise."""

    context_frames = 2

    def __init__(self, space: ActionSpace, heed: Callable[[np.ndarray], np.ndarray], spoil: Any = None) -> None:
        self.space, self.heed, self.spoil = space, heed, spoil

    @property
    def first_stage(self) -> "Light":
        return self

    def seen(self, frames: Tensor) -> Tensor:
        return frames

    def start(self, frames: Tensor, actions: Tensor) -> State:
        assert frames.shape[1] == self.context_frames == actions.shape[1]
        return State(frames, actions)

    def step(self, state: State, actions: Tensor, randn: Randn, **_: Any) -> tuple[State, Prediction]:
        noise = 0.05 * randn((len(actions), 3, HEIGHT, WIDTH))
        drawn = []
        for frame, bits in zip(state.frames[:, -1], bits_of(self.space, actions.numpy()), strict=True):
            lit = (frame[0] > 0.5).nonzero()
            at = lit.min(dim=0).values.numpy()
            if (lit.max(dim=0).values.numpy() - at).max() > 1:  # over an edge
                at = at * 0
            place = (at + self.heed(bits) @ np.array(WAYS)) % (HEIGHT, WIDTH)
            image = torch.from_numpy(frame_of(place)).movedim(-1, 0).float() / 127.5 - 1
            drawn.append(image * (1 if self.spoil is None else self.spoil(bits)))
        return state, Prediction(torch.stack(drawn) + noise, None, None)

    def state_from(self, plain: dict[str, Any]) -> State:
        raise NotImplementedError


def measured(space: ActionSpace, tmp_path: Path, heed: Callable[[np.ndarray], np.ndarray], spoil: Any = None) -> Any:
    with make_data(tmp_path / "data", space) as data:
        return obedience(Light(space, heed, spoil), data, np.array([False, True, True]), CPU)


@pytest.mark.parametrize("kind", SPACES)
def test_a_world_that_obeys_is_nearly_always_right(kind: str, tmp_path: Path) -> None:
    found = measured(SPACES[kind], tmp_path, lambda bits: bits)
    assert found.whole.share > 0.97 and found.whole.low > 0.9 and not found.left_out
    assert {*found.actions} == {*SPACES[kind].names}
    assert all(obeyed.low > 0.5 and obeyed.moved > 1 for obeyed in found.actions.values())
    assert found.change > 1 and "obeyed: " in found.lines()[1] and "warning" not in " ".join(found.lines())


@pytest.mark.parametrize("kind", SPACES)
def test_a_world_that_ignores_actions_is_at_chance_exactly(kind: str, tmp_path: Path) -> None:
    found = measured(SPACES[kind], tmp_path, lambda bits: bits * 0)
    assert found.whole.share == 0.5 and found.whole.low < 0.5 < found.whole.high and found.whole.moved == 0
    assert all(obeyed.share == 0.5 for obeyed in found.actions.values())
    assert found.lines()[-1].startswith("warning: on the whole the dream does not follow the actions")


@pytest.mark.parametrize("kind", SPACES)
def test_frames_that_are_good_or_bad_by_action_alone_are_no_obedience(kind: str, tmp_path: Path) -> None:
    """A model that knows some actions better than others draws their frames better, whatever came of them."""
    skill = np.array([1.0, 0.7, 0.9, 0.4])
    found = measured(
        SPACES[kind], tmp_path, lambda bits: bits * 0, lambda bits: float(skill @ bits) / max(bits.sum(), 1)
    )
    assert abs(found.whole.share - 0.5) < 0.08 and found.whole.low < 0.5 < found.whole.high


def test_what_is_not_heeded_is_told_by_name(tmp_path: Path) -> None:
    found = measured(SPACES["keys"], tmp_path, lambda bits: bits * np.array([1, 1, 0, 0]))
    assert {name for name, obeyed in found.actions.items() if obeyed.low > 0.5} == {"left", "right"}
    assert "  not told from chance: up, down: it does nothing there, or was not learnt" in found.lines()
    assert 0.55 < found.whole.share < 0.8


def test_it_is_the_same_each_time_and_heeds_the_episodes_asked_for(tmp_path: Path) -> None:
    space = SPACES["both"]
    before = torch.get_rng_state()
    with make_data(tmp_path / "data", space) as data:
        world = Light(space, lambda bits: bits * np.array([1, 0, 1, 1]))
        advanced: list[int] = []
        first = obedience(world, data, None, CPU, advanced.append)
        assert first == obedience(world, data, None, CPU)
        assert sum(advanced) == first.whole.cases <= module.comparisons(space)
        with pytest.raises(UserError, match="no action occurs often enough"):
            obedience(world, data, np.zeros(3, np.bool_), CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_action_that_is_always_or_never_taken_is_not_judged(tmp_path: Path) -> None:
    space = SPACES["choice"]
    with make_data(tmp_path / "data", space, only=2) as data, pytest.raises(UserError, match="no action occurs"):
        obedience(Light(space, lambda bits: bits), data, None, CPU)


def test_the_picture_shows_it(tmp_path: Path) -> None:
    found = measured(SPACES["keys"], tmp_path, lambda bits: bits)
    draw_obedience(found, tmp_path / "obedience.png", "Does $it$ obey?")
    with Image.open(tmp_path / "obedience.png") as picture:
        assert picture.width > 600 and len(picture.convert("RGB").getcolors(2**20) or []) > 20


def test_two_stages_are_judged_by_the_small_frames_that_actions_decide(tmp_path: Path) -> None:
    space, levels = SPACES["keys"], {"channels": (8,), "depths": (1,), "attention": (False,)}
    denoiser = Denoiser(DenoiserConfig(2, 8, **levels), space, Conditioning(noise_context=True))  # type: ignore[arg-type]
    upsampler = Denoiser(UpsamplerConfig(1, 8, **levels, factor=2), None, Conditioning(upsampling_factor=2))  # type: ignore[arg-type]
    with torch.no_grad():
        upsampler.network.conv_out.weight.fill_(torch.nan)  # whoever asks it gets no numbers
    world = TwoStages(FrameStack(denoiser, None, SamplerConfig(1)), upsampler, SamplerConfig(1))
    with make_data(tmp_path / "data", space) as data:
        found = obedience(world, data, None, CPU)
    assert found.whole.share == pytest.approx(0.5) and found.whole.moved == 0, "a fresh denoiser ignores its actions"
    assert 0 < found.change < 255


# --- after several steps, and left for right -------------------------------------------------------------------------

TURNS = ActionSpace((Keys(("up",)), Choice("mouse x", ("-4", "-2", "0", "2", "4"))))


@dataclass(frozen=True)
class Turned(DreamState):
    places: Tensor
    steps: Tensor


class Turning:
    """A world whose light goes sideways by the number chosen; it heeds it for the first `heeds` steps of a dream."""

    context_frames = 2

    def __init__(self, heeds: int = 99, sign: int = 1) -> None:
        self.heeds, self.sign = heeds, sign
        self.acted: list[np.ndarray] = []

    @property
    def first_stage(self) -> "Turning":
        return self

    def seen(self, frames: Tensor) -> Tensor:
        return frames

    def start(self, frames: Tensor, actions: Tensor) -> Turned:
        bright = (frames[:, -1, 0] > 0.5).any(dim=1).int()
        return Turned(bright.argmax(dim=1), torch.zeros(len(frames), dtype=torch.int64))

    def step(self, state: Turned, actions: Tensor, randn: Randn, **_: Any) -> tuple[Turned, Prediction]:
        self.acted.append(actions.numpy())
        way = torch.from_numpy(sideways(actions.numpy())) * self.sign * (state.steps < self.heeds)
        places = (state.places + way) % WIDTH
        frames = torch.stack([frames_from_bytes(torch.from_numpy(column(int(x)))) for x in places])
        return Turned(places, state.steps + 1), Prediction(frames, None, None)


def sideways(actions: np.ndarray) -> np.ndarray:
    return actions[:, 1:].astype(np.int64) @ np.array([-4, -2, 0, 2, 4]) // 2


def column(x: int) -> np.ndarray:
    frame = np.full((HEIGHT, WIDTH, 3), (20, 40, 90), np.uint8)
    frame[:, x] = (240, 220, 120)
    return frame


@pytest.fixture(scope="module")
def turns(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A light that the numbers move, two steps of them the same each time, so that turns do not cancel at once."""
    path, rng = tmp_path_factory.mktemp("turns") / "data", np.random.default_rng(0)
    with Dataset.create(path, GameSpec("turns", HEIGHT, WIDTH, TURNS)) as data:
        for _ in range(2):
            episode, x = data.new_episode(), 8
            for action in TURNS.sample(rng, 200):
                data.append(episode, column(x), action, 0.0, False, False)
                x = (x + int(sideways(action[None])[0])) % WIDTH
    return Dataset.open(path)


def test_a_world_that_turns_as_told_is_right_after_every_number_of_steps(turns: Dataset) -> None:
    world = Turning()
    found = obedience_by_step(world, turns, None, CPU, steps=(1, 2, 5))
    assert list(found) == [1, 2, 5] and {*found[1].opposites} == {"mouse x"}
    for step in (1, 2, 5):
        turned = found[step].opposites["mouse x"]
        assert turned.share >= 0.5 and turned.cases == 80, "the ways may cancel, or meet: never is the other nearer"
        assert turned.moved > 1 and found[step].change > 1
    assert found[1].opposites["mouse x"].share == 1
    assert found[1] == obedience_by_step(Turning(), turns, None, CPU, steps=(1, 2, 5))[1]
    assert "mouse x, against the opposite way, after steps 1: 100%" in by_step_lines(found)[2]


def test_the_other_dream_has_the_opposite_of_every_number_and_all_else_alike(turns: Dataset) -> None:
    world = Turning()
    obedience_by_step(world, turns, None, CPU, steps=(3,))
    mine, others = (np.concatenate(half) for half in zip(*(np.split(a, 2) for a in world.acted[-6:]), strict=True))
    assert (mine[:, :1] == others[:, :1]).all() and (mine[:, 1:] == others[:, :0:-1]).all()


def test_a_world_that_forgets_how_to_turn_shows_it_by_step(turns: Dataset) -> None:
    wrong = obedience_by_step(Turning(sign=-1), turns, None, CPU, steps=(1,))[1].opposites["mouse x"]
    assert wrong.share == 0 and wrong.high < 0.5
    deaf = obedience_by_step(Turning(heeds=0), turns, None, CPU, steps=(1, 4))
    for each in deaf.values():
        assert each.opposites["mouse x"].share == 0.5 and each.whole.share == pytest.approx(0.5)
    assert all(each.opposites["mouse x"].moved == 0 for each in deaf.values())


def test_choices_without_numbers_or_opposites_have_no_opposite_way(tmp_path: Path) -> None:
    with make_data(tmp_path / "data", SPACES["both"]) as data:
        assert obedience(Light(SPACES["both"], lambda bits: bits), data, None, CPU).opposites == {}


def test_the_picture_by_step_shows_it(turns: Dataset, tmp_path: Path) -> None:
    draw_by_step(obedience_by_step(Turning(), turns, None, CPU), tmp_path / "obedience.png", "Does it obey?")
    with Image.open(tmp_path / "obedience.png") as picture:
        assert picture.width > 600 and len(picture.convert("RGB").getcolors(2**20) or []) > 20
