"""A cell that asks: what it sets for its turn, and the ways in which a turn is taken."""
