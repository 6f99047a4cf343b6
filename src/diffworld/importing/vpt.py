"""The log of the VPT contractors (Minecraft): one JSON object a tick, 20 a second, tick i on frame i.

What their recorder got wrong is put right here: an attack button stuck from the beginning, and a hotbar that was
turned by the wheel, which it did not log.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from diffworld.importing.controls import Floats, Outcomes, Ticks
from diffworld.importing.keys import plain
from diffworld.importing.log import StateLog, records
from diffworld.importing.recording import BadRecording

BUTTONS = {0: "mouse left", 1: "mouse right", 2: "mouse middle"}
ATTACK = 0
MISSING_TICKS = 10
"""More ticks than these missing between two lines: the game has gone on, and another episode begins."""


def is_vpt(path: Path) -> bool:
    """Whether a log's first line looks like one of theirs."""
    try:
        fields = next((fields for _, fields in records(path)), {})
    except BadRecording:
        return False
    mouse, keyboard = fields.get("mouse"), fields.get("keyboard")
    return isinstance(mouse, dict) and isinstance(keyboard, dict) and "newButtons" in mouse and "keys" in keyboard


class VptLog(StateLog):
    """The lines of one recording, put right."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks = array("q")
        self.stuck, self.freed, self.in_menus, self.turned = False, 0, 0, 0
        self._hotbar: int | None = None

    def add(self, number: int, fields: Mapping[str, Any]) -> None:
        """Take one line; BadRecording if it is not of this format."""
        try:
            mouse, hotbar = fields["mouse"], fields.get("hotbar")
            keys = {plain(str(key)[:100]) for key in fields["keyboard"]["keys"]}
            if hotbar is not None and self._hotbar not in (None, hotbar):
                self.turned += str(hotbar + 1) not in keys
                keys.add(str(hotbar + 1))
            buttons = self._unstuck(list(mouse["buttons"]), list(mouse["newButtons"]))
            held = [*sorted(keys), *(BUTTONS.get(button, f"mouse {button}") for button in buttons)]
            moved = {f"mouse_{side}": float(mouse[side]) for side in ("dx", "dy")}
            self._hotbar = hotbar
            self.ticks.append(int(fields.get("tick", number)))
            self.in_menus += bool(fields.get("isGuiOpen"))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise BadRecording(f"line {number} of its log is not as VPT's are ({error})") from error
        super().add(number, {"keys": held, **moved})

    def _unstuck(self, buttons: list[Any], new: list[Any]) -> list[Any]:
        """The buttons without an attack that is down since the first line, until it is pressed anew."""
        if not self.ticks:
            self.stuck = new == [ATTACK]
        elif ATTACK in new:
            self.stuck = False
        if self.stuck and ATTACK in buttons:
            buttons.remove(ATTACK)
            self.freed += 1
        return buttons

    def controls(self, frames: Floats, clock: bool = True) -> tuple[Ticks, list[str]]:
        """As `StateLog.controls`; and what was put right."""
        ticks, notes = super().controls(frames, clock)
        gaps = np.append(np.diff(np.asarray(self.ticks)) - 1 > MISSING_TICKS, False)
        said = {
            "lines with the attack button stuck, put right": self.freed,
            "turns of the hotbar by wheel, put in as keys": self.turned,
            "gaps in its ticks, after which an episode begins": int(gaps.sum()),
            "lines in menus, whose pointer is not in the video": self.in_menus,
        }
        notes += [f"{what}: {count:,}" for what, count in said.items() if count]
        return replace(ticks, told=Outcomes(truncated=gaps)), notes
