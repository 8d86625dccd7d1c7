"""Who is fooled by confounding: methods that tune a language model, graded by a truth that is known exactly."""
