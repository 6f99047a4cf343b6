"""Parity with the published implementation: networks filled by a rule, checked against stored numbers.

A folder holds `atari_config.json` and `csgo_config.json` (network settings, published tensor names and
shapes) and `.npz` files of inputs and outputs; its README gives the rule and the tolerances, repeated in
`checks.py`.
"""

import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from diffworld.compat.checks import Result, check_file
from diffworld.compat.names import load_published
from diffworld.compat.published import read_config, refuse_bomb
from diffworld.compat.sizes import build_parts
from diffworld.runtime.errors import UserError, one_line

LARGEST_FILE = 2**30
"""Bytes of a file of numbers, unpacked."""


def fill_weights(parts: Mapping[str, nn.Module], shapes: Mapping[str, list[int]], salt: str) -> None:
    """Fill the networks with the weights that follow from the rule in the folder's README."""
    tensors = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng(zlib.crc32((salt + name).encode()))
        v = rng.standard_normal(shape).astype(np.float32)
        if not name.endswith(("noise_emb.weight", "noise_cond_emb.weight")):
            if len(shape) >= 2:
                v = v / np.sqrt(np.prod(shape[1:]))
            else:
                v = 1 + 0.1 * v if name.endswith("norm.weight") else 0.02 * v
        tensors[name] = torch.from_numpy(v.astype(np.float32))
    load_published(parts, tensors)
    for module in parts.values():
        module.eval()  # channel-first: group norm over channels-last sums less exactly, past 1e-5


def verify_golden(folder: Path, salt: str = "") -> Iterator[Result]:
    """Check every `.npz` of a folder; UserError when it is no such folder."""
    files = sorted(folder.glob("*.npz"))
    configs = [path for family in ("atari", "csgo") if (path := folder / f"{family}_config.json").is_file()]
    if not files or not configs:
        raise UserError(f"{folder} holds no golden numbers: it needs *.npz and atari_config.json or csgo_config.json")
    parts = {}
    for path in configs:
        config, family = read_config(path), path.stem.removesuffix("_config")
        try:
            parts[family] = build_parts(config)
            fill_weights(parts[family], config["state_dict"], salt)
        except UserError:
            raise
        except Exception as error:  # a configuration from elsewhere may hold anything
            reason = one_line(f"{type(error).__name__} {error}")
            raise UserError(f"{path} is not a network configuration: {reason}") from error
    with torch.no_grad():
        for path in files:
            try:
                refuse_bomb(path, LARGEST_FILE)
                with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
                    arrays = {name: torch.from_numpy(np.asarray(data[name])) for name in data.files}
            except Exception as error:
                yield Result(path.stem, math.inf, False, f"cannot be read: {error}".splitlines()[0])
                continue
            yield check_file(path.stem, arrays, parts)
