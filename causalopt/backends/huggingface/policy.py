"""A causal language model as a policy."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from peft import PeftModel
from pydantic import BaseModel, Field, ValidationError
from safetensors import safe_open
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME

from causalopt.backends.contracts import Policy
from causalopt.backends.huggingface.card import model_card
from causalopt.backends.huggingface.interpolation import interpolated
from causalopt.backends.saved import name_backend
from causalopt.doors import check_number
from causalopt.durable import PLACE
from causalopt.errors import DataError, ModelError, TruncationWarning
from causalopt.language_models import vllm_sampling
from causalopt.language_models.base_weights import frozen_digest, plain_name
from causalopt.language_models.batching import length_buckets, pack
from causalopt.language_models.integrity import read_json
from causalopt.language_models.kernels.attention import on_any_machine
from causalopt.language_models.kernels.lora import use_fused_lora
from causalopt.language_models.kernels.matmul import fast_products
from causalopt.language_models.load import BASE, BASE_DIGEST, load_model, portable_name
from causalopt.language_models.memory import in_parts_that_fit
from causalopt.language_models.prefix_cache import kept, kept_ids, tokenizer_digest, weights_digest
from causalopt.language_models.quantization import quantization_of
from causalopt.language_models.quiet import quiet_transformers
from causalopt.language_models.sampling import Ids, Keep, generate, own_ends
from causalopt.language_models.scoring import CausalLM, SequenceLogProb
from causalopt.language_models.settings import SamplingSettings
from causalopt.language_models.tokenization import OnLongText, TextCodec, Tokenization, Tokens
from causalopt.output import writing_folder
from causalopt.progress import track
from causalopt.typing import Float64

_NOTE = "causalopt_policy.json"
_MOST_DRAWS = 50


class _Note(BaseModel):
    """What a policy notes beside its weights; all of it is absent in models from elsewhere."""

    base: str | None = None
    max_length: int | None = Field(None, ge=3)
    on_long_text: OnLongText = "error"
    chat_template: bool = False
    system_prompt: str | None = None
    chat_template_kwargs: dict[str, Any] = {}
    tokenization: Tokenization = "apart"
    attn_implementation: str | None = None
    quantization: dict[str, Any] | None = None
    sampling: SamplingSettings = SamplingSettings()


class HuggingFacePolicy:
    """The distribution over texts that a causal language model defines.

    Parameters
    ----------
    model:
        A float32 model with or without a PEFT adapter, used for inference only.
    codec:
        Conversion of texts to tokens.
    base:
        The name from which the base model can be loaded again ("smollm2", a hub id, a folder), or None for one trained
        from scratch, which is then saved beside its adapter.
    sampling:
        Limits and batch size of `sample`.

    Attributes
    ----------
    cache:
        A folder in which log-probabilities and each batch of drawn texts are cached, under a hash of weights,
        tokenizer, texts, dtype and attention kernel. With None, the default, they are computed each time. Only for a
        policy that no longer changes.
    answers:
        Conversion of texts to tokens where there are prompts, if it is another: a model from elsewhere that has a chat
        template answers prompts by it.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.backends.contracts import Progress
    >>> from causalopt.backends.huggingface import HuggingFaceBackend
    >>> texts = ["a calm text", "a kind text"] * 8
    >>> backend = HuggingFaceBackend(model="scratch:tiny", reference={"training": {"max_steps": 2}})
    >>> policy = backend.reference(None, texts, np.ones(16), seed=0, progress=Progress())
    >>> policy.log_prob(None, ["a calm text"]).shape
    (1,)
    """

    def __init__(
        self, model: CausalLM, codec: TextCodec, *, base: str | None, sampling: SamplingSettings | None = None
    ) -> None:
        self.model = model
        self.codec = codec
        self.base = base
        self.sampling = sampling or SamplingSettings()
        self.cache: Path | None = None
        self.answers: TextCodec | None = None
        if model.device.type == "cpu":
            use_fused_lora(model)
        self._scorer = SequenceLogProb(model, *forward_limits(model.device))

    def log_prob(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> Float64:
        """log P(text_i | prompt_i), including the end of the text, shape [n], nats.

        It is computed in float32 whatever the dtype of training, once for each distinct pair, in batches of similar
        length; batch and padding change it by less than 1e-4. It is the probability of the tokenizer's encoding of the
        text.

        Raises
        ------
        DataError
            If a text is empty, or longer than the limit.
        """
        policy = self.for_prompts(prompts)
        if policy is not self:
            return policy.log_prob(prompts, texts)
        pairs: list[tuple[str | None, str]] = [
            *zip(prompts if prompts is not None else [None] * len(texts), texts, strict=False)
        ]
        encoded = self.codec.encode(prompts, texts)
        place = {pair: i for i, pair in enumerate(pairs)}  # the last of equal pairs represents all of them

        def compute() -> Float64:
            scores = dict(zip(place, self._score([encoded[i] for i in place.values()]), strict=True))
            return np.array([scores[pair] for pair in pairs], dtype=np.float64)

        if self.cache is None:
            return compute()
        return kept(self.cache, [*self._identity(), [list(tokens) for tokens in encoded]], compute)

    def sample(self, prompts: Sequence[str] | None, n: int, seed: int) -> list[str]:
        """Draw ``n`` texts from the distribution itself: no temperature, no top-k, no top-p.

        A draw ends at the end of a text (`TextCodec.end`), and at every other end that the model's own generation
        settings name. It is not a valid text if it stops at another end (of a call of a tool, say), is empty, contains
        a special token, or is too long when it is tokenised again; it is then drawn again. So is a draw without an end
        within ``sampling.max_new_tokens``, up to ``sampling.rounds`` draws in total. Texts are therefore drawn from the
        policy conditional on being valid and ending in time. Texts that still have no end are returned cut off, with a
        warning that gives their share. The same seed gives the same texts, also if an earlier call was killed and
        ``cache`` contains its draws. The global random state is not changed.

        Warns
        -----
        TruncationWarning
            If texts were cut off.

        Raises
        ------
        DataError
            If the number of prompts is not ``n``, or a prompt leaves no room for a text.
        ModelError
            If the policy's draws are almost never valid texts.
        """
        return self.draw(prompts, n, seed)

    def draw(self, prompts: Sequence[str] | None, n: int, seed: int, *, temperature: float = 1.0) -> list[str]:
        """Draw as `sample` does, from the policy whose logits are divided by a temperature.

        At any temperature but 1 the texts are of another distribution than the one that `log_prob` knows and a run
        evaluates.

        Raises
        ------
        ConfigError
            If the temperature is not a positive number.
        """
        check_number("temperature", temperature, above=0)
        policy = self.for_prompts(prompts)
        if policy is not self:
            return policy.draw(prompts, n, seed, temperature=temperature)
        heads = self.codec.encode_prompts(prompts, n)
        for i, head in enumerate(heads):
            if len(head) >= self.codec.max_length:
                raise DataError(f"prompt {i} has {len(head)} tokens, which leaves no room in {self.codec.max_length}")
        texts, cut = [""] * n, set(range(n))
        control, other_ends = self.codec.control_ids | set(self._ends), 0
        keep = None if self.cache is None else self._keep(self.cache)
        for draw, generator_seed in enumerate(np.random.SeedSequence(seed).generate_state(_MOST_DRAWS)):
            waiting = [i for i in range(n) if not texts[i] or (i in cut and draw < self.sampling.rounds)]
            if not waiting:
                break
            drawn = self._generate([heads[i] for i in waiting], int(generator_seed), temperature, keep)
            for i, ids in zip(waiting, drawn, strict=True):
                ended = ids[-1] == self.codec.end
                # A text that was cut off still needs room for the end with which it will be scored.
                body = (ids[:-1] if ended else ids)[: self.codec.max_length - len(heads[i]) - 1]
                other_ends += ids[-1] in self._ends and not ended
                text = self.codec.decode(body) if control.isdisjoint(body) else ""
                if text and self.codec.fits(None if prompts is None else prompts[i], text):
                    texts[i] = text
                    if ended:
                        cut.discard(i)
        if not all(texts):
            raise ModelError(
                f"the policy hardly ever gives a valid text: none in {_MOST_DRAWS} draws ({other_ends} of all draws "
                "ended with another token than a text's end)"
            )
        if cut:
            warnings.warn(
                f"{len(cut) / n:.1%} of the drawn texts have no end within {self.sampling.max_new_tokens} tokens and "
                "were cut off: raise max_new_tokens",
                TruncationWarning,
                stacklevel=2,
            )
        return texts

    def with_model(self, model: CausalLM) -> HuggingFacePolicy:
        """Return the policy of another model of the same type, with the same tokenizer and settings."""
        return HuggingFacePolicy(model, self.codec, base=self.base, sampling=self.sampling)

    def with_codec(self, codec: TextCodec) -> HuggingFacePolicy:
        """Return the policy of the same model with another conversion of texts to tokens."""
        return HuggingFacePolicy(self.model, codec, base=self.base, sampling=self.sampling)

    def for_prompts(self, prompts: Sequence[str] | None) -> HuggingFacePolicy:
        """Return the policy that answers prompts (see `answers`), or that writes texts without any for None."""
        if prompts is None or self.answers is None:
            return self
        policy = self.with_codec(self.answers)
        policy.cache = self.cache
        return policy

    def interpolated(self, reference: Policy, factor: float) -> HuggingFacePolicy:
        """Return the policy at ``factor`` of the way from the reference: its adapter scaled, or weights interpolated.

        Raises
        ------
        ModelError
            If the reference is of another kind, or has other weights.
        """
        if not isinstance(reference, HuggingFacePolicy):
            raise ModelError(f"the reference of a HuggingFacePolicy is one too, not a {type(reference).__name__}")
        found = self.with_model(interpolated(reference.model, self.model, factor))
        found.cache = self.cache
        return found

    def with_limits(self, max_new_tokens: int) -> HuggingFacePolicy:
        """Return the same policy with another limit on the length of its draws."""
        sampling = self.sampling.model_copy(update={"max_new_tokens": max_new_tokens})
        policy = HuggingFacePolicy(self.model, self.codec, base=self.base, sampling=sampling)
        policy.answers = self.answers
        return policy

    def save(self, directory: str | Path) -> None:
        """Write a standard PEFT adapter folder, or a full model if there is no adapter, with its tokenizer.

        The base of an adapter is recorded by name, with its quantisation and the digest of its weights, and never by an
        absolute path. A base that no name leads to is saved with it in ``base/``, so that the folder can be moved.
        """
        with writing_folder(Path(directory)):
            self._write(Path(directory))

    def _write(self, directory: Path) -> None:
        is_adapter = isinstance(self.model, PeftModel)
        with quiet_transformers():
            if isinstance(self.model, PeftModel):
                if self.base is None:
                    self._save_base(directory)
                self._save_adapter(directory)
            else:
                self.model.save_pretrained(directory)
            self.codec.tokenizer.save_pretrained(directory)
        note = {
            "base": self.base,
            "max_length": self.codec.max_length,
            "on_long_text": self.codec.on_long_text,
            "chat_template": self.codec.chat_template,
            "system_prompt": self.codec.system_prompt,
            "chat_template_kwargs": dict(self.codec.chat_template_kwargs),
            "tokenization": self.codec.tokenization,
            "attn_implementation": self.model.config._attn_implementation,
            BASE_DIGEST: None if self.base is None or not is_adapter else frozen_digest(self.model),
            "quantization": quantization_of(self.model),
            "sampling": self.sampling.model_dump(),
        }
        (directory / _NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
        card = model_card(self.base, adapter=is_adapter, chat_template=self.codec.chat_template)
        (directory / "README.md").write_text(card, encoding="utf-8")
        name_backend(directory, "huggingface")

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Load a folder written by `save`, any PEFT adapter or full model folder, or a hub id.

        Raises
        ------
        ModelError
            If there is no such model.
        """
        note: dict[str, Any] = {}
        if (Path(directory) / _NOTE).exists():
            note = read_json(Path(directory) / _NOTE)
            if not note:
                raise ModelError(f"{Path(directory) / _NOTE}: notes nothing of the policy; save the policy again")
        try:
            settings = _Note.model_validate(note)
        except ValidationError as error:
            item = error.errors()[0]
            key = ".".join(map(str, item["loc"]))
            raise ModelError(f"{Path(directory) / _NOTE}: {key}: {item['msg']}; save the policy again") from None
        model, tokenizer, base = load_model(directory, on_any_machine(settings.attn_implementation))
        codec = TextCodec(
            tokenizer,
            max_length=settings.max_length or context_length(model),
            on_long_text=settings.on_long_text,
            chat_template=settings.chat_template,
            system_prompt=settings.system_prompt,
            chat_template_kwargs=settings.chat_template_kwargs,
            tokenization=settings.tokenization,
        )
        if note:
            base = settings.base  # None for a model from scratch: an adapter on it is saved together with it
        policy = cls(model, codec, base=base, sampling=settings.sampling)
        if not note and tokenizer.chat_template:
            policy.answers = replace(codec, chat_template=True)
        return policy

    def _generate(self, heads: Ids, generator_seed: int, temperature: float, keep: Keep | None) -> Ids:
        limits: dict[str, Any] = {
            "ends": self._ends,
            "max_new_tokens": self.sampling.max_new_tokens,
            "max_length": self.codec.max_length,
            "generator_seed": generator_seed,
            "temperature": temperature,
        }
        if self.sampling.engine == "transformers":
            return generate(self.model, heads, batch_size=self.sampling.batch_size, keep=keep, **limits)
        with tempfile.TemporaryDirectory() as folder:
            self.save(folder)
            return vllm_sampling.generate(Path(folder), heads, keep=keep, **limits)

    @property
    def _ends(self) -> list[int]:
        """Ids of the tokens at which a draw ends, that of a text first."""
        return list(dict.fromkeys([self.codec.end, *own_ends(self.model)]))

    def _identity(self) -> list[str]:
        """Everything that determines the policy's log-probabilities and draws besides the texts."""
        how = [str(self.model.dtype), self.model.config._attn_implementation, self.model.device.type]
        return [weights_digest(self.model), tokenizer_digest(self.codec.tokenizer), *how]

    def _keep(self, cache: Path) -> Keep:
        who = self._identity()
        return lambda parts, compute: kept_ids(cache, ["drawn", *who, *parts], compute)

    @fast_products()
    @torch.inference_mode()
    def _score(self, sequences: Sequence[Tokens]) -> list[float]:
        scores = [0.0] * len(sequences)
        buckets = length_buckets([len(sequence.ids) for sequence in sequences], self._scorer.max_tokens)

        def compute(part: list[int]) -> list[float]:
            batch = {name: ids.to(self.model.device) for name, ids in pack([sequences[i] for i in part]).items()}
            found: list[float] = self._scorer.log_prob(**batch).tolist()
            return found

        for bucket in track(buckets, "scoring texts"):
            fix = "lower backend.max_length"
            for part, found in in_parts_that_fit(bucket, len(bucket), compute, "scoring texts", fix):
                for i, score in zip(part, found, strict=True):
                    scores[i] = score
        return scores

    def _save_adapter(self, directory: Path) -> None:
        config = self.model.active_peft_config
        noted, config.base_model_name_or_path = config.base_model_name_or_path, None
        try:
            self.model.save_pretrained(directory)  # with a name, peft would ask the hub for the base's vocabulary
        finally:
            config.base_model_name_or_path = noted
        file = directory / "adapter_config.json"
        described = {**read_json(file), PLACE: portable_name(self.base)}
        file.write_text(json.dumps(described, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def _save_base(self, directory: Path) -> None:
        """Write the weights under the adapter, whose modules `PeftModel` has renamed, as a plain model in ``base/``.

        The adapter's folder gets what transformers needs to load both from it, wherever it is: the configuration of the
        base, and an index that leads to its weights.
        """
        base = self.model.get_base_model()
        with self.model.disable_adapter():
            prefix = self.model.base_model.prefix
            named = ((plain_name(name, prefix), tensor) for name, tensor in base.state_dict().items())
            state = {name: tensor for name, tensor in named if name is not None}
            base.save_pretrained(directory / BASE, state_dict=state)
        self.codec.tokenizer.save_pretrained(directory / BASE)
        base.config.save_pretrained(directory)
        base.generation_config.save_pretrained(directory)
        weights = sorted((directory / BASE).glob("*.safetensors"))
        place: dict[str, str] = {}
        for file in weights:
            with safe_open(file, "pt") as stored:
                place |= dict.fromkeys(stored.keys(), file.relative_to(directory).as_posix())
        size = sum(file.stat().st_size for file in weights)
        index = {"metadata": {"total_size": size}, "weight_map": place}
        (directory / SAFE_WEIGHTS_INDEX_NAME).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def context_length(model: CausalLM) -> int:
    """Return the model's context length in tokens, from its configuration."""
    return context_length_of(model.config)


def context_length_of(config: Any) -> int:
    """Return the context length in tokens that a model's configuration gives."""
    for key in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        value = getattr(config, key, None)
        if isinstance(value, int) and value > 0:
            return value
    raise ModelError("the model's configuration has no context length; set backend.max_length")


def forward_limits(device: torch.device) -> tuple[int, int | None]:
    """``max_tokens`` and ``max_padding`` of `SequenceLogProb`: suited to a CPU core's cache, or to keep a GPU busy.

    On a CPU, another pass costs less than several tens of padding tokens; on a GPU, padding is cheaper.
    """
    if device.type == "cpu":
        return 2048, 48
    return 32768, None
