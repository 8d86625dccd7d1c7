"""Values of policies by balancing weights, on texts and readers unlike the worlds of the package."""
