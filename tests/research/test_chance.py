"""What comes by chance is counted right, and the whole command runs."""

import json
from pathlib import Path

import numpy as np

from diffworld.cli import main
from research.chance import ENEMY, PLAYER, TREASURE, Options, counted, run
from research.objects import colours

SMALL = """
--preset minatar --networks denoiser --epochs 1 --denoiser.channels 8 --denoiser.depths 1 --denoiser.attention False
--denoiser.cond-channels 8 --denoiser-updates.first-steps 2 --denoiser-updates.batch-size 2
""".split()


def test_enemies_treasures_players_and_odd_cells() -> None:
    ground, player, enemy, treasure = colours([(), (PLAYER,), (ENEMY,), (TREASURE,)])
    films = np.broadcast_to(ground.astype(np.uint8), (2, 2, 10, 10, 3)).copy()
    films[:, :, 4, 4] = player
    films[0, 0, 1, 0], films[0, 1, 1, 1], films[1, 1, 2, 9] = enemy, enemy, treasure
    films[1, 0, 0, 0] = (16, 16, 160)  # a blue that Asterix does not have
    found = counted(films)
    assert found == {"things": [0.5, 1.0], "one_player": 1.0, "odd": 0.25}


def test_the_whole_command(tmp_path: Path) -> None:
    data, model, out = (str(tmp_path / name) for name in ("data", "run", "chance.json"))
    assert main(["record", "--env", "minatar/asterix", "--steps", "200", "--out", data]) == 0
    assert main(["train", *SMALL, "--data", data, "--out", model]) == 0
    run(Options(model, Path(data), Path(out), steps=2, starts=3))
    record = json.loads(Path(out).read_text())
    assert record["starts"] == 3
    assert {len(way["things"]) for way in record.values() if isinstance(way, dict)} == {2}
    assert len([name for name in record if "start, steps" in name]) == 8
