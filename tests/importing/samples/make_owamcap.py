"""python make_owamcap.py OUT, with mcap-owa-support 0.6.6 and owa-msgs 0.6.6 installed."""

import sys
from pathlib import Path

import av
import numpy as np
from mcap_owa.highlevel import OWAMcapWriter
from mediaref import MediaRef
from owa.msgs.desktop.keyboard import KeyboardEvent, KeyboardState
from owa.msgs.desktop.mouse import MouseEvent, MouseState, RawMouseEvent
from owa.msgs.desktop.screen import ScreenCaptured

from tests.importing.square import frames_of, play, write_video

STEPS, START = 40, 1_700_000_000_000_000_000
VIRTUAL = {"w": 0x57, "a": 0x41, "s": 0x53, "d": 0x44, "e": 0x45}


def stamp(seconds: float) -> int:
    return START + round(seconds * 1e9)


out = Path(sys.argv[1])
out.mkdir(parents=True)
places, pressed = play(STEPS, seed=3)
rng = np.random.default_rng(0)
shown = np.arange(STEPS + 1) / 15 + np.concatenate([[0], rng.uniform(-0.006, 0.006, STEPS)])  # never quite regular
write_video(out / "square.mkv", frames_of(places), options={"crf": "10"}, times=[round(float(s), 3) for s in shown])
with av.open(str(out / "square.mkv")) as container:
    in_video = sorted(int(p.pts * p.time_base * 10**9) for p in container.demux(video=0) if p.size)

said: list[tuple[int, str, object]] = []
for seconds, place in zip(shown, in_video, strict=True):
    reference = MediaRef(uri="square.mkv", pts_ns=place)
    screen = ScreenCaptured(utc_ns=stamp(seconds), source_shape=(64, 48), shape=(64, 48), media_ref=reference)
    said.append((stamp(seconds), "screen", screen))
said.append((stamp(0.0001), "keyboard/state", KeyboardState(buttons={VIRTUAL["e"]})))  # held since before
said.append((stamp(shown[5] - 0.01), "keyboard", KeyboardEvent(event_type="release", vk=VIRTUAL["e"])))
down: set[int] = set()
for t in range(STEPS):
    now, wanted = shown[t] + 0.002, {VIRTUAL[key] for key in pressed[t]}
    for key in sorted(down - wanted):
        said.append((stamp(shown[t] + 0.0004), "keyboard", KeyboardEvent(event_type="release", vk=key)))
    for key in sorted(wanted):  # again and again while it is held, as a keyboard repeats
        said.append((stamp(now), "keyboard", KeyboardEvent(event_type="press", vk=key)))
    down = wanted
    said.append((stamp(now + 0.001), "mouse", MouseEvent(event_type="move", x=100 + 3 * t, y=200)))
    said.append((stamp(now + 0.001), "mouse/raw", RawMouseEvent(last_x=5 if t % 2 else -5, last_y=0)))
    if t in (10, 12):
        said.append((stamp(now), "mouse", MouseEvent(event_type="click", x=0, y=0, button="left", pressed=t == 10)))
said.append((stamp(1.0), "mouse/state", MouseState(x=1, y=1, buttons={"left"} if shown[10] < 1 < shown[12] else set())))
with OWAMcapWriter(out / "square.mcap") as writer:
    for time, topic, message in sorted(said, key=lambda entry: entry[0]):
        writer.write_message(message, topic=topic, timestamp=time)
