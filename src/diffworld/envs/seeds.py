"""Which games a run plays: seeds of training and test games never meet, nor do those of two run seeds."""

_GAMES_A_RUN = 2_000_000
_TEST_FROM = 1_000_000


def training_seed(run_seed: int, game: int) -> int:
    """Seed of a run's `game`-th training game (runs whose seeds agree modulo 1000 share them)."""
    return (run_seed % 1000) * _GAMES_A_RUN + game


def test_seed(run_seed: int, game: int) -> int:
    """Seed of a run's `game`-th test game."""
    return training_seed(run_seed, _TEST_FROM + game)
