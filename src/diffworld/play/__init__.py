"""Play: one player's session in the dream, the real game or both, without a screen; a page is a face on it."""
