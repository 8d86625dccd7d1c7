"""Assignment models s(x, w)."""
