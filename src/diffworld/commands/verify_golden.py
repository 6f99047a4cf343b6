"""`diffworld verify-golden`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from diffworld.commands.parsing import parse


@dataclass(frozen=True)
class VerifyOptions:
    """Check the networks against the numbers of the published implementation; one line a file."""

    folder: tyro.conf.Positional[Path]
    """Folder with atari_config.json or csgo_config.json and .npz files."""
    salt: str = ""
    """Text that goes before each name in the rule that gives the weights."""


def main(arguments: list[str]) -> int:
    """Check every file of the folder; 1 if any fails."""
    options = parse(VerifyOptions, "diffworld verify-golden", arguments)
    from diffworld.compat.golden import verify_golden

    verdicts: list[bool] = []
    for result in verify_golden(options.folder, options.salt):
        verdict = "PASS" if result.passed else "FAIL"
        line = f"{verdict}  {result.name:26} largest error {result.error:.2e}  {result.note}"
        print(line.rstrip(), flush=True)
        verdicts.append(result.passed)
    print(f"{sum(verdicts)} of {len(verdicts)} passed")
    return 0 if all(verdicts) else 1
