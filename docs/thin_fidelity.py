"""A record of `diffworld fidelity` made small enough to keep: python -m docs.thin_fidelity FIDELITY.JSON OUT.JSON

Means alone, at a few steps, four significant digits; everything that is not by step stays as it is.
"""

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.measuring import write_compact_json

STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 500)


def thin(record: dict[str, Any]) -> dict[str, Any]:
    """The record with `steps`, and each film's means at those steps."""
    steps = [step for step in STEPS if step <= record["horizon"]]
    films = {}
    for name, film in record["films"].items():
        means = {
            measure: [_rounded(values["mean"][step - 1]) for step in steps]
            for measure, values in film["by_step"].items()
        }
        films[name] = {**film, "by_step": means}
    return {**record, "rows": [record["rows"][step - 1] for step in steps], "steps": steps, "films": films}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("give the record and the file to write")
    write_compact_json(Path(sys.argv[2]), thin(json.loads(Path(sys.argv[1]).read_text())))
