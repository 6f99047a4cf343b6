"""What was seen of a data set as one HTML page that needs nothing beside it."""

import base64

from jinja2 import Environment, PackageLoader, StrictUndefined

from diffworld import __version__
from diffworld.evaluation.look.alignment import Alignment
from diffworld.evaluation.look.summary import Look
from diffworld.runtime.progress import duration


def page(seen: Look, alignment: Alignment | None, verdict: str) -> str:
    """The whole page; `verdict` says in words what the alignment means."""
    templates = Environment(
        loader=PackageLoader("diffworld.evaluation.look", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("look.html").render(
        seen=seen,
        alignment=alignment,
        verdict=verdict,
        play=duration(seen.seconds),
        sheet=base64.b64encode(seen.sheet).decode(),
        made=f"diffworld {__version__}",
    )
