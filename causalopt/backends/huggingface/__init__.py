"""The language-model backend, on transformers and peft."""

from causalopt.backends.huggingface.backend import HuggingFaceBackend
from causalopt.backends.huggingface.policy import HuggingFacePolicy
from causalopt.backends.huggingface.trainer import ObjectiveTrainer

__all__ = ["HuggingFaceBackend", "HuggingFacePolicy", "ObjectiveTrainer"]
