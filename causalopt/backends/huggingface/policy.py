"""A causal language model as a policy."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from peft import PeftModel
from pydantic import BaseModel, Field, ValidationError

from causalopt.backends.contracts import Policy
from causalopt.backends.huggingface.card import model_card
from causalopt.backends.huggingface.interpolation import interpolated
from causalopt.backends.saved import name_backend
from causalopt.errors import DataError, ModelError, TruncationWarning
from causalopt.language_models import vllm_sampling
from causalopt.language_models.batching import length_buckets, pack
from causalopt.language_models.integrity import read_json
from causalopt.language_models.kernels.lora import use_fused_lora
from causalopt.language_models.kernels.matmul import fast_products
from causalopt.language_models.load import load_model
from causalopt.language_models.prefix_cache import kept, kept_ids, tokenizer_digest, weights_digest
from causalopt.language_models.quantization import quantization_of
from causalopt.language_models.quiet import quiet_transformers
from causalopt.language_models.sampling import Ids, Keep, generate
from causalopt.language_models.scoring import CausalLM, SequenceLogProb
from causalopt.language_models.settings import SamplingSettings
from causalopt.language_models.tokenization import OnLongText, TextCodec, Tokens
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

        A draw is not a valid text if it is empty, contains a special token, or is too long when it is tokenised again;
        it is then drawn again. So is a draw without an end within ``sampling.max_new_tokens``, up to
        ``sampling.rounds`` draws in total. Texts are therefore drawn from the policy conditional on being valid and
        ending in time. Texts that still have no end are returned cut off, with a warning that gives their share. The
        same seed gives the same texts, also if an earlier call was killed and ``cache`` contains its draws. The global
        random state is not changed.

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
        heads = self.codec.encode_prompts(prompts, n)
        for i, head in enumerate(heads):
            if len(head) >= self.codec.max_length:
                raise DataError(f"prompt {i} has {len(head)} tokens, which leaves no room in {self.codec.max_length}")
        texts, cut = [""] * n, set(range(n))
        special = set(self.codec.tokenizer.all_special_ids)
        keep = None if self.cache is None else self._keep(self.cache)
        for draw, generator_seed in enumerate(np.random.SeedSequence(seed).generate_state(_MOST_DRAWS)):
            waiting = [i for i in range(n) if not texts[i] or (i in cut and draw < self.sampling.rounds)]
            if not waiting:
                break
            drawn = self._generate([heads[i] for i in waiting], int(generator_seed), keep)
            for i, ids in zip(waiting, drawn, strict=True):
                ended = ids[-1] == self.codec.end
                # A text that was cut off still needs room for the end with which it will be scored.
                body = (ids[:-1] if ended else ids)[: self.codec.max_length - len(heads[i]) - 1]
                text = self.codec.decode(body) if special.isdisjoint(body) else ""
                if text and self.codec.fits(heads[i], text):
                    texts[i] = text
                    if ended:
                        cut.discard(i)
        if not all(texts):
            raise ModelError(f"the policy hardly ever gives a valid text: none in {_MOST_DRAWS} draws")
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
        return HuggingFacePolicy(self.model, self.codec, base=self.base, sampling=sampling)

    def save(self, directory: str | Path) -> None:
        """Write a standard PEFT adapter folder, or a full model if there is no adapter, with its tokenizer.

        The base of an adapter is recorded by name, with its quantisation. A base trained from scratch is saved with it
        in ``base/``, so that the folder can be moved.
        """
        with writing_folder(Path(directory)):
            self._write(Path(directory))

    def _write(self, directory: Path) -> None:
        with quiet_transformers():
            if isinstance(self.model, PeftModel):
                if self.base is None:
                    self._save_base(directory / "base")
                config = self.model.active_peft_config
                noted = config.base_model_name_or_path
                config.base_model_name_or_path = self._base_path(directory)
                try:
                    self.model.save_pretrained(directory)
                finally:
                    config.base_model_name_or_path = noted
            else:
                self.model.save_pretrained(directory)
            self.codec.tokenizer.save_pretrained(directory)
        note = {
            "base": self.base,
            "max_length": self.codec.max_length,
            "on_long_text": self.codec.on_long_text,
            "chat_template": self.codec.chat_template,
            "attn_implementation": self.model.config._attn_implementation,
            "quantization": quantization_of(self.model),
            "sampling": self.sampling.model_dump(),
        }
        (directory / _NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
        (directory / "README.md").write_text(model_card(self.base, isinstance(self.model, PeftModel)), encoding="utf-8")
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
        model, tokenizer, base = load_model(directory, settings.attn_implementation)
        codec = TextCodec(
            tokenizer,
            max_length=settings.max_length or context_length(model),
            on_long_text=settings.on_long_text,
            chat_template=settings.chat_template,
        )
        if note:
            base = settings.base  # None for a model from scratch: an adapter on it is saved together with it
        return cls(model, codec, base=base, sampling=settings.sampling)

    def _generate(self, heads: Ids, generator_seed: int, keep: Keep | None) -> Ids:
        limits: dict[str, int] = {
            "end": self.codec.end,
            "max_new_tokens": self.sampling.max_new_tokens,
            "max_length": self.codec.max_length,
            "generator_seed": generator_seed,
        }
        if self.sampling.engine == "transformers":
            return generate(self.model, heads, batch_size=self.sampling.batch_size, keep=keep, **limits)
        with tempfile.TemporaryDirectory() as folder:
            self.save(folder)
            return vllm_sampling.generate(Path(folder), heads, keep=keep, **limits)

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
        for bucket in track(buckets, "scoring texts"):
            batch = {name: part.to(self.model.device) for name, part in pack([sequences[i] for i in bucket]).items()}
            for i, score in zip(bucket, self._scorer.log_prob(**batch).tolist(), strict=True):
                scores[i] = score
        return scores

    def _save_base(self, directory: Path) -> None:
        """Write the weights under the adapter, whose modules `PeftModel` has renamed, as a plain model."""
        with self.model.disable_adapter():
            base = self.model.get_base_model()
            state = {
                name.replace(".base_layer", "").replace(".original_module", ""): tensor
                for name, tensor in base.state_dict().items()
                if self.model.base_model.prefix not in name and ".modules_to_save." not in name
            }
            base.save_pretrained(directory, state_dict=state)
        self.codec.tokenizer.save_pretrained(directory)

    def _base_path(self, directory: Path) -> str:
        if self.base is None:
            return str((directory / "base").resolve())
        return str(self.model.get_base_model().config._name_or_path or self.base)


def context_length(model: CausalLM) -> int:
    """Return the model's context length in tokens, from its configuration."""
    config = model.config
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
