"""Pieces of HTML. Text from anywhere passes `escape` here, and nowhere else is markup put together with it."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Cell:
    """A table cell: its text, its classes, a tooltip, and a second, smaller text."""

    text: str
    classes: str = ""
    title: str = ""
    small: str = ""


def table(head: Sequence[Cell], rows: Iterable[Sequence[Cell]], classes: str = "", foot: int = 0) -> str:
    """A table whose first column holds the rows' headings; the last `foot` rows are its foot."""
    body = [_row(row) for row in rows]
    split = len(body) - foot
    heading = "".join(_cell(cell, "th", ' scope="col"') for cell in head)
    tail = f"<tfoot>{''.join(body[split:])}</tfoot>" if foot else ""
    return (
        f'<div class="scroll"><table class="{classes}"><thead><tr>{heading}</tr></thead>'
        f"<tbody>{''.join(body[:split])}</tbody>{tail}</table></div>"
    )


def _row(cells: Sequence[Cell]) -> str:
    heading = _cell(cells[0], "th", ' scope="row"')
    return f"<tr>{heading}{''.join(_cell(cell, 'td') for cell in cells[1:])}</tr>"


def _cell(cell: Cell, tag: str, more: str = "") -> str:
    if cell.classes:
        more += f' class="{cell.classes}"'
    if cell.title:
        more += f' title="{escape(cell.title)}"'
    small = f" <small>{escape(cell.small)}</small>" if cell.small else ""
    return f"<{tag}{more}><span>{escape(cell.text)}</span>{small}</{tag}>"


def section(anchor: str, title: str, *parts: str, classes: str = "") -> str:
    """A section with its heading, reached from the page's contents by `anchor`."""
    return f'<section id="{anchor}" class="{classes}"><h2>{escape(title)}</h2>{"".join(parts)}</section>'


def paragraph(text: str, classes: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{classes}">{escape(text)}</p>'


def bullets(items: Iterable[str], classes: str = "") -> str:
    """A list of plain texts."""
    return f'<ul class="{classes}">{"".join(f"<li>{escape(item)}</li>" for item in items)}</ul>'


def image(png: bytes, alt: str) -> str:
    """A picture that lies in the page itself."""
    return f'<figure><img src="{data_uri(png, "image/png")}" alt="{escape(alt)}"></figure>'


def film(source: str, still: bytes, caption: str, playing: bool) -> str:
    """A film from a data URI or a file beside the page, `playing` at once or not; on paper its still."""
    picture = data_uri(still, "image/png")
    start = "autoplay " if playing else ""
    return (
        f'<figure class="film"><video {start}controls loop muted playsinline preload="metadata" poster="{picture}" '
        f'src="{escape(source)}"></video><img class="paper" src="{picture}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def data_uri(data: bytes, kind: str) -> str:
    """Bytes of a media type as a `data:` address."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
