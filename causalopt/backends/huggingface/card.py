"""The model card of a saved policy."""

from __future__ import annotations

from importlib.metadata import version


def model_card(base: str | None, adapter: bool) -> str:
    """Return Markdown with the metadata that a model hub reads."""
    library = "peft" if adapter else "transformers"
    front = ["---", f"library_name: {library}", "pipeline_tag: text-generation", "tags: [causalopt]"]
    if base is not None and "/" in base and not base.startswith((".", "/")):
        front.append(f"base_model: {base}")
    load = (
        'from peft import PeftModel\n\nmodel = PeftModel.from_pretrained(base_model, "this folder")'
        if adapter
        else "from transformers import AutoModelForCausalLM\n\n"
        'model = AutoModelForCausalLM.from_pretrained("this folder")'
    )
    kind = "An adapter" if adapter else "A language model"
    return "\n".join(
        [
            *front,
            "---",
            "",
            "# A policy optimised on direct outcome data",
            "",
            f"{kind} made by causalopt {version('causalopt')} on the base model `{base or 'in base/'}`.",
            "Texts are scored and drawn between the tokenizer's start token (its end token if none) and its end token.",
            "The policy's estimated value and its interval are in the run's report, not here.",
            "",
            "```python",
            load,
            "```",
            "",
            "```python",
            "from causalopt.backends.huggingface import HuggingFacePolicy",
            "",
            'policy = HuggingFacePolicy.load("this folder")',
            "texts = policy.sample(None, 10, seed=0)",
            "```",
            "",
        ]
    )
