"""What the tests of the Hugging Face backend share."""

from toy_policies import backend, fused, letters, problem, reference

__all__ = ["backend", "fused", "letters", "problem", "reference"]
