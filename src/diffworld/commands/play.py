"""`diffworld play`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from diffworld.commands.parsing import demo_named, parse_checked
from diffworld.runtime.checked import Count
from diffworld.runtime.errors import UserError, one_line
from diffworld.runtime.files import check_writable

if TYPE_CHECKING:
    from diffworld.play.server_state import ServerState


@dataclass(frozen=True)
class PlayOptions:
    """Play in the dream, in the real game, or in both side by side, on a web page; or watch the agent."""

    run: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[RUN]")] = None
    """The run folder to play, or a file of `diffworld export`; or the small models that come with the package: --demo,
    or --demo NAME to begin with one of boxing, breakout, vizdoom."""
    env: str = ""
    """Play this game itself, with nothing trained, and record it to learn from: atari/<Game>, minatar/<game>,
    gym/<registered id>, or gym/<module>:<Id> of a module that registers it."""
    height: Count = 64
    """Height of the frames of --env."""
    width: Count = 64
    """Width of the frames of --env."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets a phone in the same network in, with the token of the printed address."""
    port: int = 8765
    """Port of the page; 0 takes any free one."""
    browser: bool = True
    """Open the page in a browser."""
    max_players: Count = 8
    """Players at once, each with a game of their own; the next one waits for a place."""
    recordings: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder for recorded episodes; RUN/recordings, or diffworld-recordings with a file or --demo, if none is given."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the denoiser while you already play, and swap it in when ready; auto does so for large networks where
    bfloat16 is native."""


def main(arguments: list[str]) -> int:
    """Load the model, print the address, serve until Ctrl-C."""
    options = parse_checked(PlayOptions, "diffworld play", demo_named(arguments))
    if (options.run is None) != bool(options.env):
        raise UserError(
            "give a run folder, or --demo to play a model that comes with the package, or --env to play a game itself"
        )
    if options.recordings:
        check_writable(options.recordings)
    from diffworld.play.server import listen

    listener, address = listen(options.host, options.port)  # first: it fails fast
    try:
        from diffworld.play.server import serve
        from diffworld.play.server_state import Offer
        from diffworld.runtime.device import use_threads

        use_threads(1)  # the threads that draw have them all
        # Whoever comes with a token need not know this machine's folders.
        command = "diffworld play" if address.token else shlex.join(["diffworld", "play", *arguments])
        offer = Offer(_models(options, command))
        _, first = offer.of()
        print(f"{first.model.title}: open {address.url} (Ctrl-C stops)")
        if first.model.licence:
            print(f"licence: {one_line(first.model.licence)}")
        if options.env:
            print(f"record yourself, then: diffworld train --data {first.recordings}/NAME")
        sys.stdout.flush()
        serve(offer, listener, address, open_browser=options.browser and _has_browser())
    finally:
        listener.close()
    print("stopped", file=sys.stderr)
    return 0


def _models(options: PlayOptions, command: str) -> dict[str, Callable[[], ServerState]]:
    """What can be played, the first first, and how it is opened: beside one of the package's models all others."""
    from diffworld.envs import EnvironmentConfig
    from diffworld.play.compiling import compile_in_background, compiling_pays
    from diffworld.play.library import Library
    from diffworld.play.queue import PlayerQueue
    from diffworld.play.server_state import ServerState
    from diffworld.runs.loading import Model, demo_name, demo_names, is_packed, load, untrained

    queue = PlayerQueue(options.max_players)

    def opened(model: Model, beside: Path, command: str) -> ServerState:
        recordings = options.recordings or beside
        library = Library({"recordings": recordings, **model.datasets})
        state = ServerState(model, library, recordings, queue, command)
        if model.world and (options.compile == "on" or (options.compile == "auto" and compiling_pays(model))):
            compile_in_background(state.dreamer)
        return state

    run, beside = options.run, Path("diffworld-recordings")
    if run is None:
        frames = EnvironmentConfig(height=options.height, width=options.width)
        return {options.env: lambda: opened(untrained(options.env, frames), beside, command)}
    if not (chosen := demo_name(run)):
        folder = beside if is_packed(run) else run / "recordings"
        return {run.name: lambda: opened(load(run, options.device), folder, command)}

    def demo(name: str) -> ServerState:
        again = command if name == chosen else f"diffworld play --demo {name}"
        return opened(load(f"demo/{name}", options.device), beside, again)

    return {name: partial(demo, name) for name in sorted(demo_names(), key=lambda name: name != chosen)}


def _has_browser() -> bool:
    """Without a display, Python would open a browser made of text in this very terminal."""
    shown = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    return shown or sys.platform in ("darwin", "win32")
