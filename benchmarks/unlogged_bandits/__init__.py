"""Values of policies from the logs of bandits whose propensities were not recorded."""
