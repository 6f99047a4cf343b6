"""A compiled copy takes the place of the plain network while a session is open, and shows the same game."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import make_run

from diffworld.play.compiling import compile_in_background
from diffworld.play.drawing import Dreamer
from diffworld.play.session import PlaySession
from diffworld.runs import load


@pytest.mark.filterwarnings("default")  # the compiler's own warnings are not ours
def test_swapped_in_while_playing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = load(make_run(tmp_path / "run"), "cpu")
    dreamer = Dreamer(model)
    session = PlaySession(model, dreamer=dreamer, player="human", world="dream", seed=1)
    session.reset(0)
    before = [session.step(2).dream for _ in range(2)]
    # Traced only: a minute of compiling would say nothing that tests/nn/test_compiling.py does not.
    thread = compile_in_background(dreamer, backend="eager")
    session.rewind(2)
    assert session.step(2).dream is not None, "playing goes on meanwhile"
    thread.join()
    assert dreamer.world is not model.world
    assert "compiled the denoiser for 1 rows" in capsys.readouterr().err
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    session.rewind(1)
    for old in before:
        new = session.step(2).dream
        assert old is not None and new is not None
        np.testing.assert_array_equal(old, new)
    session.configure(denoising_steps=3, order=2, churn=5.0)
    session.step(1)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs > 0, "nobody waits for the compiler again"
