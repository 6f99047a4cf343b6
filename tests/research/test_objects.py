"""What counts as a whole frame of Breakout."""

import numpy as np

from research.objects import BALL, COLOURS, PADDLE, whole


def test_one_paddle_one_ball_and_no_odd_colour() -> None:
    frames = np.broadcast_to(COLOURS[0].astype(np.uint8), (5, 10, 10, 3)).copy()
    frames[:, 9, 4], frames[:, 5, 5] = PADDLE, BALL
    frames[1, 5, 5] = COLOURS[0]  # no ball
    frames[2, 9, 7] = PADDLE  # two paddles
    frames[3, 0, 0] = (250, 0, 250)  # a colour of no game
    frames[4, 9, 4] = np.array(PADDLE) - 20  # a little off
    assert whole(frames).tolist() == [True, False, False, False, True]
