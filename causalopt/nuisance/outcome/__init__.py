"""Outcome models m(x, w)."""
