"""What the tests of language models share."""

from toy_policies import backend, fused, letters, problem, reference

__all__ = ["backend", "fused", "letters", "problem", "reference"]
