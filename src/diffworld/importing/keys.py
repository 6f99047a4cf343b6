"""What keys and mouse buttons are called: one name for each, however a log writes it."""

from __future__ import annotations

import re

_NAMES = {
    "lshift": "shift", "left shift": "shift", "shift left": "shift", "shift l": "shift",
    "rshift": "right shift", "shift right": "right shift", "shift r": "right shift",
    "control": "ctrl", "lctrl": "ctrl", "left control": "ctrl", "left ctrl": "ctrl", "control left": "ctrl",
    "ctrl l": "ctrl", "lcontrol": "ctrl", "ctrl left": "ctrl",
    "rctrl": "right ctrl", "right control": "right ctrl", "control right": "right ctrl", "ctrl r": "right ctrl",
    "rcontrol": "right ctrl", "ctrl right": "right ctrl",
    "lalt": "alt", "left alt": "alt", "alt left": "alt", "alt l": "alt", "menu": "alt", "lmenu": "alt",
    "ralt": "right alt", "alt right": "right alt", "alt r": "right alt", "alt gr": "right alt", "rmenu": "right alt",
    "return": "enter", "escape": "esc", "spacebar": "space", " ": "space", "caps lock": "capslock",
    "left arrow": "left", "right arrow": "right", "up arrow": "up", "down arrow": "down",
    "arrow left": "left", "arrow right": "right", "arrow up": "up", "arrow down": "down",
    "left button": "mouse left", "right button": "mouse right", "middle button": "mouse middle",
    "mouse left button": "mouse left", "mouse right button": "mouse right", "mouse middle button": "mouse middle",
    "lbutton": "mouse left", "rbutton": "mouse right", "mbutton": "mouse middle",
    "lmb": "mouse left", "rmb": "mouse right", "mmb": "mouse middle",
    "del": "delete", "ins": "insert", "pgup": "page up", "pgdn": "page down", "bksp": "backspace", "back": "backspace",
}  # fmt: skip

_CODES = {
    "esc": "Escape", "alt": "AltLeft", "right alt": "AltRight", "right shift": "ShiftRight", "capslock": "CapsLock",
    "right ctrl": "ControlRight", "backspace": "Backspace", "delete": "Delete", "insert": "Insert", "home": "Home",
    "end": "End", "page up": "PageUp", "page down": "PageDown", ",": "Comma", ".": "Period", "/": "Slash",
    ";": "Semicolon", "'": "Quote", "[": "BracketLeft", "]": "BracketRight", "\\": "Backslash", "-": "Minus",
    "=": "Equal", "`": "Backquote",
}  # fmt: skip
_USUAL = {
    "space": "Space", "shift": "ShiftLeft", "ctrl": "ControlLeft", "enter": "Enter", "tab": "Tab",
    "up": "ArrowUp", "down": "ArrowDown", "left": "ArrowLeft", "right": "ArrowRight",
}  # fmt: skip
_SPARE = "KeyF KeyG KeyH KeyJ KeyK KeyL KeyU KeyI KeyO KeyP KeyR KeyT KeyY KeyV KeyB KeyN KeyM".split()

# Windows' virtual key codes, which screen recorders write.
VIRTUAL_KEYS = {
    1: "mouse left", 2: "mouse right", 4: "mouse middle", 5: "mouse x1", 6: "mouse x2", 8: "backspace", 9: "tab",
    13: "enter", 16: "shift", 17: "ctrl", 18: "alt", 19: "pause", 20: "capslock", 27: "esc", 32: "space",
    33: "page up", 34: "page down", 35: "end", 36: "home", 37: "left", 38: "up", 39: "right", 40: "down",
    44: "print screen", 45: "insert", 46: "delete", 91: "left windows", 92: "right windows",
    106: "num *", 107: "num +", 109: "num -", 110: "num .", 111: "num /", 144: "num lock", 145: "scroll lock",
    160: "shift", 161: "right shift", 162: "ctrl", 163: "right ctrl", 164: "alt", 165: "right alt",
    186: ";", 187: "=", 188: ",", 189: "-", 190: ".", 191: "/", 192: "`", 219: "[", 220: "\\", 221: "]", 222: "'",
    **{code: chr(code).lower() for code in (*range(48, 58), *range(65, 91))},
    **{96 + digit: f"num {digit}" for digit in range(10)},
    **{111 + number: f"f{number}" for number in range(1, 25)},
}  # fmt: skip


def plain(name: str) -> str:
    """The one name of a key, such as "w", "space", "left" or "mouse left"."""
    if name == " ":
        return "space"
    text = re.sub(r"^(?:key\.keyboard\.|key\.|keyboard\.|vk_|<)", "", name.strip(), flags=re.IGNORECASE).rstrip(">")
    text = re.sub(r"^(?:Key(?=[A-Z]$)|Digit(?=\d$))", "", text)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)  # ArrowLeft
    text = re.sub(r"[._\s]+", " ", text).strip().lower() or name.strip()
    return _NAMES.get(text, text)


def codes(names: list[str]) -> dict[str, str]:
    """A key of the keyboard (`KeyboardEvent.code`) for each name that the page does not know by itself.

    Mouse buttons, which it cannot press, get letters that are free.
    """
    taken = {_usual(name) for name in names} | {_CODES.get(name, "") for name in names}
    found = {name: _CODES[name] for name in names if name in _CODES}
    for name in names:
        if re.fullmatch(r"f\d{1,2}", name):
            found[name] = name.upper()
        elif re.fullmatch(r"num \d", name):
            found[name] = f"Numpad{name[-1]}"
        elif name not in found and _usual(name) is None:
            spare = next((code for code in _SPARE if code not in taken), None)
            if spare is not None:
                found[name] = spare
                taken.add(spare)
    return found


def _usual(name: str) -> str | None:
    if re.fullmatch(r"[a-z]", name):
        return f"Key{name.upper()}"
    return f"Digit{name}" if re.fullmatch(r"\d", name) else _USUAL.get(name)
