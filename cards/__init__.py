"""Templates of cards."""
