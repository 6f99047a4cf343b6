"""A thinned record of `diffworld fidelity` as tables in Markdown: python -m docs.fidelity_table THINNED.JSON

The record is one that docs.thin_fidelity wrote.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STEPS = (1, 10, 50, 100)


def tables(record: dict[str, Any]) -> Iterator[str]:
    """Lines: closeness of every film, then by how many steps the actions are obeyed."""
    steps = [step for step in STEPS if step in record["steps"]]
    alone = record["next_frame"]
    yield f"| PSNR (dB) / SSIM | next frame | {' | '.join(f'step {step}' for step in steps)} |"
    yield "|---" * (2 + len(steps)) + "|"
    for name, film in record["films"].items():
        if film["kind"] == "real":
            continue
        following = alone["films"].get(name)
        cells = [_cell(*(following[key]["mean"] for key in ("psnr", "ssim")))] if following else [""]
        at = [record["steps"].index(step) for step in steps]
        cells += [_cell(*(film["by_step"][key][place] for key in ("psnr", "ssim"))) for place in at]
        yield f"| {name} | {' | '.join(cells)} |"
    counts = [alone["places"], *(record["rows"][record["steps"].index(step)] for step in steps)]
    yield f"| frames compared | {' | '.join(f'{count:,}' for count in counts)} |"
    if "obedience" in record:
        yield ""
        yield from _obeyed(record["obedience"])


def _obeyed(found: list[dict[str, Any]]) -> Iterator[str]:
    yield f"| the actions taken drew the nearer frame after | {' | '.join(_steps(each['after']) for each in found)} |"
    yield "|---" * (1 + len(found)) + "|"
    yield f"| all actions alike | {' | '.join(_share(each['whole']) for each in found)} |"
    for name in found[0]["opposites"]:
        yield f"| {name}, against the opposite way | {' | '.join(_share(each['opposites'][name]) for each in found)} |"


def _steps(count: int) -> str:
    return f"{count} step{'s' if count > 1 else ''}"


def _cell(psnr: float, ssim: float) -> str:
    return f"{psnr:.1f} / {ssim:.2f}"


def _share(obeyed: dict[str, Any]) -> str:
    return f"{obeyed['share']:.0%} ({obeyed['low']:.0%} to {obeyed['high']:.0%})".replace("%", " %")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("give the thinned record")
    print("\n".join(tables(json.loads(Path(sys.argv[1]).read_text()))))
