"""A model that a user holds in memory: it is taken over as it is, and left as it was."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from toy_policies import TEXTS
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

from causalopt.backends import load_policy
from causalopt.backends.contracts import PolicyProblem, Progress
from causalopt.backends.huggingface import HuggingFaceBackend, HuggingFacePolicy, ObjectiveTrainer
from causalopt.errors import ConfigError, DataError, ModelError
from causalopt.objectives.paper import DRCPO

SETTINGS: dict[str, Any] = {
    "reference": {"tune": False},
    "training": {"max_steps": 2, "per_device_train_batch_size": 16},
}


def users(reference: HuggingFacePolicy, kind: str) -> PreTrainedModel | PeftModel:
    """A model as a user leaves it: in training mode, all weights with a gradient."""
    model = copy.deepcopy(reference.model)
    if kind == "bfloat16":
        model = model.to(torch.bfloat16)
    if kind == "adapter":
        torch.manual_seed(0)
        model = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    return model.train().requires_grad_(True)


def state(model: nn.Module) -> list[Any]:
    weights = [(name, weight.dtype, weight.requires_grad) for name, weight in model.named_parameters()]
    modes = [(name, module.training, type(module)) for name, module in model.named_modules()]
    return [weights, modes, str(model.config), str(model.generation_config)]


def naive_log_prob(model: nn.Module, tokenizer: PreTrainedTokenizerBase, text: str) -> float:
    """Of a text behind the start, with its end, by the model's own logits."""
    ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    with torch.no_grad():
        rows = model.eval()(input_ids=torch.tensor([ids[:-1]])).logits[0].double().log_softmax(-1)
    return float(rows[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].sum())


@pytest.mark.parametrize("kind", ["plain", "bfloat16", "adapter"])
def test_its_distribution_is_taken_over_and_it_is_not_changed(
    reference: HuggingFacePolicy, problem: PolicyProblem, kind: str, tmp_path: Any
) -> None:
    model, tokenizer = users(reference, kind), reference.codec.tokenizer
    before, weights = state(model), {name: weight.clone() for name, weight in model.state_dict().items()}
    backend = HuggingFaceBackend(model=model, tokenizer=tokenizer, **SETTINGS)
    backend.check([DRCPO()], per_row=2)
    start = backend.reference(None, TEXTS, np.ones(len(TEXTS)), seed=0, progress=Progress())
    end = backend.fit(problem_from(start, problem), DRCPO(), reference=start, seed=0, progress=Progress())
    assert state(model) == before
    assert all(torch.equal(weights[name], weight) for name, weight in model.state_dict().items())
    shared = {weight.data_ptr() for weight in model.parameters()}
    same = [weight.data_ptr() in shared for weight in start.model.parameters()]
    assert all(same) if kind != "bfloat16" else not any(same)
    expected = [naive_log_prob(copy.deepcopy(model).float(), tokenizer, text) for text in TEXTS[:8]]
    np.testing.assert_allclose(start.log_prob(None, TEXTS[:8]), expected, atol=1e-4)
    assert np.abs(end.log_prob(None, TEXTS) - start.log_prob(None, TEXTS)).max() > 1e-4
    end.save(tmp_path)
    np.testing.assert_allclose(load_policy(tmp_path).log_prob(None, TEXTS), end.log_prob(None, TEXTS), atol=1e-5)


def problem_from(start: HuggingFacePolicy, problem: PolicyProblem) -> PolicyProblem:
    return replace(problem, behavior_log_prob=start.log_prob(None, problem.texts))


def test_what_cannot_be_taken_over_is_refused(reference: HuggingFacePolicy) -> None:
    model, tokenizer = copy.deepcopy(reference.model), reference.codec.tokenizer
    with pytest.raises(ConfigError, match="give both"):
        HuggingFaceBackend(model=model)
    with pytest.raises(ConfigError, match="a model's name alone"):
        HuggingFaceBackend(tokenizer=tokenizer)
    with pytest.raises(DataError, match="a name or a model of transformers"):
        HuggingFaceBackend(model=nn.Linear(2, 2), tokenizer=tokenizer)
    with pytest.raises(ConfigError, match="attn_implementation"):
        HuggingFaceBackend(model=model, tokenizer=tokenizer, attn_implementation="eager")
    model.config.attention_dropout = 0.1
    backend = HuggingFaceBackend(model=model, tokenizer=tokenizer, **SETTINGS)
    with pytest.raises(ModelError, match="has dropout"):
        backend.check()


class Counting(Trainer):
    """A Trainer of a user's own."""

    counts: ClassVar[dict[str, int]] = {"create_optimizer": 0, "compute_loss": 0}

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        self.counts["create_optimizer"] += 1
        return super().create_optimizer(*args, **kwargs)

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        self.counts["compute_loss"] += 1
        return super().compute_loss(*args, **kwargs)


class Mixed(ObjectiveTrainer, Counting):
    pass


def test_a_trainer_of_a_users_own(reference: HuggingFacePolicy, problem: PolicyProblem) -> None:
    """It decides all but the loss, and gives the same policy if it changes nothing."""
    found = [
        HuggingFaceBackend(training=SETTINGS["training"], trainer_class=kind)
        .fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress())
        .log_prob(None, TEXTS)
        for kind in (None, Mixed)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    assert Counting.counts == {"create_optimizer": 1, "compute_loss": 0}
    for wrong in (Counting, "Mixed", Mixed.__new__):
        with pytest.raises(ConfigError, match=r"class Mine\(ObjectiveTrainer, YourTrainer\)"):
            HuggingFaceBackend(trainer_class=wrong)
