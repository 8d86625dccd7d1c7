"""Fits on long texts: which objectives still gain where ratios of sequence probabilities give out."""
