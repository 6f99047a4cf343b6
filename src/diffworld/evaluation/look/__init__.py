"""A data set before anybody trains on it: what is in it, what is odd, and whether actions belong to their frames."""

from diffworld.evaluation.look.alignment import Alignment, check_alignment
from diffworld.evaluation.look.page import page
from diffworld.evaluation.look.summary import Look, look
