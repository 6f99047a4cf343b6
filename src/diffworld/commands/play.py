"""`diffworld play`."""

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from diffworld.commands.parsing import demo_named, parse_checked
from diffworld.runtime.checked import Count
from diffworld.runtime.errors import UserError, one_line
from diffworld.runtime.files import check_writable


@dataclass(frozen=True)
class PlayOptions:
    """Play in the dream, in the real game, or in both side by side, on a web page; or watch the agent."""

    run: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[RUN]")] = None
    """The run folder to play, or a file of `diffworld export`; or a small model that comes with the package: --demo,
    or --demo NAME with one of boxing, breakout."""
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
    if (run := options.run) is None:
        raise UserError("give a run folder, or --demo to play a model that comes with the package")
    if options.recordings:
        check_writable(options.recordings)
    from diffworld.play.server import listen

    listener, address = listen(options.host, options.port)  # first: it fails fast
    try:
        from diffworld.play.compiling import compile_in_background, compiling_pays
        from diffworld.play.library import Library
        from diffworld.play.server import serve
        from diffworld.play.server_state import ServerState
        from diffworld.runs.loading import is_packed, load
        from diffworld.runtime.device import use_threads

        use_threads(1)  # the thread that draws has them all
        model = load(run, options.device)
        beside = Path("diffworld-recordings") if is_packed(run) else run / "recordings"
        recordings = options.recordings or beside
        library = Library({"recordings": recordings, **model.datasets})
        # Whoever comes with a token need not know this machine's folders.
        command = "diffworld play" if address.token else shlex.join(["diffworld", "play", *arguments])
        state = ServerState(model, library, recordings, options.max_players, command)
        if model.world and (options.compile == "on" or (options.compile == "auto" and compiling_pays(model))):
            compile_in_background(state.dreamer)
        if model.licence:
            print(f"licence: {one_line(model.licence)}")
        print(f"{model.title}: open {address.url} (Ctrl-C stops)", flush=True)
        serve(state, listener, address, open_browser=options.browser and _has_browser())
    finally:
        listener.close()
    print("stopped", file=sys.stderr)
    return 0


def _has_browser() -> bool:
    """Without a display, Python would open a browser made of text in this very terminal."""
    shown = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    return shown or sys.platform in ("darwin", "win32")
