"""The weights under an adapter: their names in the plain model, and their digest."""

from __future__ import annotations

from peft import PeftModel

from causalopt.language_models.prefix_cache import digest_of
from causalopt.language_models.scoring import CausalLM


def plain_name(name: str, prefix: str) -> str | None:
    """Return the name that a weight of an adapted model has in the plain one; None for a weight of the adapter.

    Parameters
    ----------
    name:
        In the model that `PeftModel.get_base_model` returns.
    prefix:
        Of the adapter's own weights.

    Examples
    --------
    >>> from causalopt.language_models.base_weights import plain_name
    >>> plain_name("model.q_proj.base_layer.weight", "lora_"), plain_name("model.q_proj.lora_A.default.weight", "lora_")
    ('model.q_proj.weight', None)
    """
    if prefix in name or "modules_to_save." in name:
        return None
    return name.replace(".base_layer", "").replace(".original_module", "")


def frozen_digest(model: CausalLM) -> str:
    """Return a SHA-256 of the weights that an adapter leaves as they are: the same with the adapter and without it.

    Weights in 4 bits do not count, since their layout depends on the machine; all others of the model do.
    """
    if not isinstance(model, PeftModel):
        named = dict(model.named_parameters())
    else:
        prefix = model.base_model.prefix
        pairs = ((plain_name(name, prefix), weight) for name, weight in model.get_base_model().named_parameters())
        named = {name: weight for name, weight in pairs if name is not None}
    return digest_of({name: named[name] for name in sorted(named) if named[name].is_floating_point()})
