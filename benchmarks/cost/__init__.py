"""Seconds and memory of cross-fitting, beside EconML and DoubleML with the same learners on the same folds."""
