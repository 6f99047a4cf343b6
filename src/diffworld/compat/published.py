"""Published files read as data, and the run that follows from them.

Weights are one flat state dict of an Atari agent's three networks; their configuration is YAML beside them on the
hub. Nothing read here is run: of weights only tensors are taken, of a configuration only plain values.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from diffworld.compat.names import load_published
from diffworld.compat.sizes import sizes_from_config, sizes_from_tensors, tensor_size
from diffworld.config import Config, preset
from diffworld.game import GameSpec
from diffworld.recipes import Networks, build_networks
from diffworld.recipes.networks import require_layers
from diffworld.runtime.checked import read_as
from diffworld.runtime.errors import UserError, one_line
from diffworld.runtime.files import write_json
from diffworld.runtime.versions import versions


@dataclass(frozen=True)
class Published:
    """Published weights at hand: their file, its configuration (None if unknown), and where they come from."""

    file: Path
    config: Mapping[str, Any] | None
    source: str


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The flat state dict in a `.pt` or `.safetensors` file; UserError, one line, for anything else.

    The file is read as tensors only: whatever else it holds is refused and never run.
    """
    try:
        size = path.stat().st_size
        if path.suffix == ".safetensors":
            data = safetensors.torch.load_file(path)
        else:
            refuse_bomb(path, size)  # torch does not compress what it saves
            data = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # what a damaged or hostile file can raise has no end
        raise UserError(
            f"{path} cannot be read as tensors alone: it is damaged, or holds more than tensors, which is never "
            "run; give a state dict saved as .pt or .safetensors"
        ) from error
    if not isinstance(data, dict) or not data or not all(map(_is_plain, data.keys(), data.values())):
        raise UserError(f"{path} is no flat state dict: it should hold names with a tensor of floats each")
    if sum(tensor.nbytes for tensor in data.values()) > size:  # views of one number, or of each other
        raise UserError(f"{path} has tensors of more numbers than it holds: it is damaged, or made to fill the memory")
    return data


def refuse_bomb(path: Path, most: int) -> None:
    """UserError for an archive that would unpack to more than so many bytes."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > most:
            raise UserError(f"{path} would unpack to {unpacked:,} bytes, more than it can hold: give the original file")


def _is_plain(name: object, value: object) -> bool:
    """Whether this is a name and a dense tensor of floats that are really there."""
    return (
        isinstance(name, str)
        and isinstance(value, Tensor)
        and value.is_floating_point()
        and value.layout is torch.strided
        and value.device.type == "cpu"
    )


def read_config(path: Path) -> dict[str, Any]:
    """A published configuration from JSON or YAML, as data; UserError, one line, if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        data = _read_yaml(text) if path.suffix in (".yaml", ".yml") else json.loads(text)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except UserError:
        raise
    except Exception as error:  # a file from elsewhere may hold anything
        raise UserError(f"{path} is no JSON or YAML: {one_line(error)}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path} is no published configuration: it should map names to settings")
    return data


def _read_yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise UserError("a YAML file needs PyYAML: pip install 'diffworld[hub]', or give JSON") from error
    return yaml.safe_load(text)


def imported_config(env: str, published: Mapping[str, Any] | None, tensors: Mapping[str, Tensor]) -> Config:
    """The configuration of a run with published weights for the game `env`; UserError if its values are unfit."""
    sizes = sizes_from_config(published, tensors) if published is not None else sizes_from_tensors(tensors)
    base = preset("atari100k")
    height, width = sizes.frame_size
    config = replace(
        base,
        env=env,
        environment=replace(base.environment, height=height, width=width),
        **{name: getattr(sizes, name) for name in ("denoiser", "reward_end", "actor_critic")},
    )
    config = read_as(Config, asdict(config), "published configuration")  # checks the types
    config.check()
    return config


def imported_networks(config: Config, spec: GameSpec, tensors: Mapping[str, Tensor]) -> Networks:
    """The networks of `config` with published weights; UserError, one line, unless every tensor fits."""
    table = "denoiser.inner_model.act_emb.0.weight"
    published = tensor_size(tensors, table)
    if published != spec.actions.size:
        raise UserError(
            f"the weights are for a game of {published} actions and {spec.name} has {spec.actions.size}: "
            "give the game they were trained on with --env"
        )
    require_layers((config.denoiser.depths, config.upsampler.depths, config.reward_end.depths), len(tensors))
    with (nowhere := torch.device("meta")):  # first: a configuration from elsewhere may ask for any size
        load_published(dict(build_networks(config, spec, nowhere).items()), tensors)
    networks = build_networks(config, spec, torch.device("cpu"))
    load_published(dict(networks.items()), tensors)
    for name, tensor in networks.tensors().items():
        if not tensor.isfinite().all():
            raise UserError(f"{name} holds numbers that are not finite: the file is damaged")
    return networks


def write_source(folder: Path, published: Published) -> None:
    """Say in a run's `version.json` where its weights come from."""
    with published.file.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    record = {**versions(), "imported_from": published.source, "imported_sha256": digest}
    write_json(folder / "version.json", record)
