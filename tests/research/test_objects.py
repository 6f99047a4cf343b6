"""What counts as a whole frame of Breakout."""

import numpy as np

from research.objects import BALL, PADDLE, TRAIL, colours, whole


def test_one_paddle_one_ball_and_no_odd_colour() -> None:
    ground, paddle, ball, over_its_trail = colours([(), (PADDLE,), (BALL,), (BALL, TRAIL)])
    frames = np.broadcast_to(ground.astype(np.uint8), (6, 10, 10, 3)).copy()
    frames[:, 9, 4], frames[:, 5, 5] = paddle, ball
    frames[1, 5, 5] = ground  # no ball
    frames[2, 9, 7] = paddle  # two paddles
    frames[3, 0, 0] = (250, 0, 250)  # a colour of no game
    frames[4, 9, 4] = paddle - 20  # a little off
    frames[5, 5, 5] = over_its_trail  # where it has just turned
    assert whole(frames).tolist() == [True, False, False, False, True, True]
