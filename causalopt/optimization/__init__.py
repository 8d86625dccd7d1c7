"""From pseudo-outcomes to a policy."""
