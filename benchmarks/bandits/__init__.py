"""Values of policies from the logs of bandits, which chose texts by earlier outcomes."""
