"""From the shared reference to a model that another library trains, and back to a policy."""

from __future__ import annotations

from typing import Any

from causalopt.backends.contracts import Policy
from causalopt.backends.huggingface import HuggingFacePolicy
from causalopt.errors import ModelError
from causalopt.language_models.load import prepare, trainable_twin
from causalopt.language_models.settings import LORA
from causalopt.language_models.tokenization import TextCodec


def trainable(reference: Policy, seed: int) -> tuple[Any, TextCodec]:
    """Return a model with a fresh adapter like that of this package's methods, and the reference's codec."""
    return trainable_twin(language_model(reference).model, LORA, seed).train(), reference.codec  # type: ignore[attr-defined]


def as_policy(model: Any, reference: Policy) -> HuggingFacePolicy:
    """Return a trained model as a policy that reads and writes texts as the reference does."""
    start = language_model(reference)
    prepare(model)
    return HuggingFacePolicy(model, start.codec, base=start.base, sampling=start.sampling)


def language_model(reference: Policy) -> HuggingFacePolicy:
    """Return the reference when it is a language model; `ModelError` when it is another policy."""
    if not isinstance(reference, HuggingFacePolicy):
        raise ModelError(f"this method trains a language model, and the reference is a {type(reference).__name__}")
    return reference
