"""Diagnostics of the data: overlap, balance, placebo tests, sensitivity. Arrays in, tables out."""
