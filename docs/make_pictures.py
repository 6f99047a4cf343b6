"""The README's pictures, from a finished run: python docs/make_pictures.py runs/demo"""

import shutil
import sys
from pathlib import Path

import av
import numpy as np

from diffworld.runtime.video import write_gif

IMAGES = Path(__file__).parent / "images"
FRAMES = 45


def main(run: Path) -> None:
    with av.open(str(run / "dream.mp4")) as film:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])
    write_gif(IMAGES / "dream.gif", np.ascontiguousarray(frames[:FRAMES, ::2, ::2]), fps=4, scale=1)
    shutil.copy(run / "curves.png", IMAGES / "curves.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
