"""Models of who responds: the probability that an outcome was observed, given text and reader."""
