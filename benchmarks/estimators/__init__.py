"""Bias, error and coverage of every value estimator where the truth is known, models right and wrong."""
