"""The published weights on the Hugging Face hub: one file for each Atari 100k game, and the shooter's."""

from difflib import get_close_matches
from pathlib import Path

from diffworld.compat.published import Published, read_config
from diffworld.envs.make import ATARI_100K_GAMES
from diffworld.runtime.errors import UserError, one_line

REPOSITORY = "eloialonso/diamond"
WEIGHTS = "atari_100k/models/{game}.pt"
AGENT_CONFIG = "atari_100k/config/agent/default.yaml"
ENV_CONFIG = "atari_100k/config/env/atari.yaml"
NO_CLIENT = "downloading needs huggingface_hub: pip install 'diffworld[hub]'"
SHOOTER, SHOOTER_WEIGHTS, SPAWN = "csgo", "csgo/model/csgo.pt", "csgo/spawn"


def published_game(name: str) -> str:
    """The game's name as it is published, whatever the case; UserError if there are no weights for it."""
    by_lower_name = {game.lower(): game for game in ATARI_100K_GAMES}
    if name.lower() in by_lower_name:
        return by_lower_name[name.lower()]
    close = get_close_matches(name.lower(), by_lower_name, n=1)
    hint = f"did you mean {by_lower_name[close[0]]}?" if close else f"choose one of {', '.join(ATARI_100K_GAMES)}"
    raise UserError(f"no weights are published for '{name}': {hint}")


def download(game: str) -> Published:
    """Get a game's weights and their configuration, from the local cache where they are there already.

    The cache is huggingface_hub's own; HF_HOME, HF_HUB_OFFLINE and the rest of its settings hold.
    Raises: UserError, one line, without the extra `hub`, or when a file cannot be had.
    """
    weights = _get(WEIGHTS.format(game=game))
    revision = weights.parents[2].name  # snapshots/<commit>/atari_100k/models/: so that all three files agree
    agent, env = (read_config(_get(name, revision)) for name in (AGENT_CONFIG, ENV_CONFIG))
    train = env.get("train")
    size = train.get("size") if isinstance(train, dict) else None  # the agent's configuration only refers to it
    config = agent | ({"image_size": [size, size]} if isinstance(size, int) else {})
    return Published(weights, config, f"{REPOSITORY}@{revision} {WEIGHTS.format(game=game)}")


def download_shooter() -> tuple[Published, Path]:
    """Get the shooter's weights, and the folder of its starting places; as `download`."""
    try:
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(REPOSITORY, allow_patterns=[SHOOTER_WEIGHTS, f"{SPAWN}/**"]))
    except ImportError as error:
        raise UserError(NO_CLIENT) from error
    except Exception as error:  # of the network, of the hub, of the disk
        raise _unreachable(SHOOTER_WEIGHTS, error) from error
    if not (folder / SHOOTER_WEIGHTS).exists() or not (folder / SPAWN).is_dir():
        raise UserError(f"{REPOSITORY} has no {SHOOTER_WEIGHTS} with {SPAWN} any more: give the file and --spawn")
    return Published(folder / SHOOTER_WEIGHTS, None, f"{REPOSITORY}@{folder.name} {SHOOTER_WEIGHTS}"), folder / SPAWN


def _get(name: str, revision: str | None = None) -> Path:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise UserError(NO_CLIENT) from error
    try:
        return Path(hf_hub_download(REPOSITORY, name, revision=revision))
    except Exception as error:  # of the network, of the hub, of the disk
        raise _unreachable(name, error) from error


def _unreachable(name: str, error: Exception) -> UserError:
    reason = one_line(error, 160)
    option = "--shooter --spawn DIR" if name == SHOOTER_WEIGHTS else "--env atari/<Game>"
    return UserError(
        f"cannot get {name} of {REPOSITORY} from the Hugging Face hub or its local cache ({reason}): "
        f"connect to the internet, or give the file itself with {option}"
    )
