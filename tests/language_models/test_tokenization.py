from __future__ import annotations

import pytest
from toy_policies import TEXTS

from causalopt.backends.huggingface import HuggingFacePolicy
from causalopt.errors import ConfigError, DataError, ModelError, TruncationWarning
from causalopt.language_models.scratch import END, make_model, train_tokenizer
from causalopt.language_models.tokenization import TextCodec

STRANGE = [
    "  two  spaces ",
    "naïve café — 你好",
    "line\nbreak\ttab",
    "don't , stop .",
    END,
    "<|pad|> <|start|>",
    " ",
    "🙂",
]


@pytest.fixture(scope="module")
def codec() -> TextCodec:
    return TextCodec(train_tokenizer(TEXTS), max_length=40)


@pytest.mark.parametrize("text", [*TEXTS[::7], *STRANGE])
def test_round_trip_is_exact(codec: TextCodec, text: str) -> None:
    tokens = codec.encode(None, [text])[0]
    assert codec.decode(tokens.ids[tokens.start :]) == text


def test_frequent_words_are_one_token(codec: TextCodec) -> None:
    for text in TEXTS:
        tokens = codec.encode(None, [text])[0]
        assert tokens.scored == len(text.split()) + 2  # the full stop and the end


def test_layout(codec: TextCodec) -> None:
    tokenizer = codec.tokenizer
    tokens = codec.encode(["We ask"], [" you"])[0]
    assert tokens.ids[0] == tokenizer.bos_token_id
    assert tokens.ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(tokens.ids[1 : tokens.start]) == "We ask"
    assert tokenizer.decode(tokens.ids[tokens.start : -1]) == " you"
    assert codec.encode(None, ["We ask"])[0].start == 1


def test_a_special_token_inside_a_text_is_only_characters(codec: TextCodec) -> None:
    ids = codec.encode([END], [f"We {END} ask"])[0].ids
    assert ids.count(codec.end) == 1


def test_no_start_token_uses_the_end(codec: TextCodec) -> None:
    tokenizer = train_tokenizer(TEXTS)
    tokenizer.bos_token = None
    assert TextCodec(tokenizer, 40).encode(None, ["We ask"])[0].ids[0] == tokenizer.eos_token_id
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no end-of-sequence token"):
        TextCodec(tokenizer, 40)


def test_bad_texts(codec: TextCodec) -> None:
    with pytest.raises(DataError, match="text 1 is empty"):
        codec.encode(None, ["a", ""])
    with pytest.raises(DataError, match="text 0 is empty or not a string"):
        codec.encode(None, [float("nan")])  # type: ignore[list-item]
    with pytest.raises(DataError, match="1 prompts for 2 texts"):
        codec.encode(["a"], ["a", "b"])
    with pytest.raises(DataError, match=r"text 0 has 102 tokens.* limit is 40"):
        codec.encode(None, ["€" * 33 + "x"])


def test_truncation_is_counted(codec: TextCodec) -> None:
    cutting = TextCodec(codec.tokenizer, max_length=40, on_long_text="truncate")
    with pytest.warns(TruncationWarning, match="1 of 2 texts are longer than 40 tokens"):
        encoded = cutting.encode(None, ["We ask you", "€" * 33])
    assert len(encoded[1].ids) == 40
    assert encoded[1].ids[-1] != codec.end
    with pytest.raises(DataError, match="text 0"):  # a prompt that leaves no room for any text
        TextCodec(codec.tokenizer, max_length=40).encode(["€" * 33], ["x"])


def test_prompts_without_room_are_cut_on_the_left(codec: TextCodec) -> None:
    """To half of the limit: the start and the last tokens; what leaves room for a token and its end is not cut."""
    cutting = TextCodec(codec.tokenizer, max_length=40, on_long_text="truncate")
    whole = TextCodec(codec.tokenizer, max_length=1000)
    long = "".join(map(chr, range(0x4E00, 0x4E00 + 20)))
    kept = [prompt for k in range(9) if len(whole.encode_prompts([prompt := "€" * 11 + "x" * k], 1)[0]) <= 38]
    prompts = [long, "We ask", kept[-1], long]
    with pytest.warns(TruncationWarning, match="2 of 4 prompts leave no room for a text within 40 tokens .* to 20 tok"):
        cut = cutting.encode_prompts(prompts, 4)
    full = whole.encode_prompts(prompts, 4)
    assert len(full[2]) == 38
    assert cut == [[full[0][0], *full[0][-19:]], full[1], full[2], [full[0][0], *full[0][-19:]]]
    with pytest.warns(TruncationWarning, match="1 of 1 prompts"):
        assert cutting.encode([long], ["you"])[0].ids[:20] == cut[0]


def test_chat_template(codec: TextCodec) -> None:
    tokenizer = train_tokenizer(TEXTS)
    with pytest.raises(ConfigError, match="no chat template"):
        TextCodec(tokenizer, 40, chat_template=True)
    tokenizer.chat_template = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}->"
    chat = TextCodec(tokenizer, 80, chat_template=True)
    tokens = chat.encode(["We ask"], ["you"])[0]
    assert tokenizer.decode(tokens.ids[: tokens.start]) == "[user]We ask->"
    with pytest.raises(ConfigError, match="the data have no prompt"):
        chat.encode(None, ["you"])


def test_tiny_model_is_tiny_and_seeded(letters: HuggingFacePolicy) -> None:
    tokenizer = train_tokenizer(TEXTS)
    one, two, other = (make_model(tokenizer, 64, seed) for seed in (0, 0, 1))
    assert 100_000 < sum(p.numel() for p in one.parameters()) < 300_000
    assert all((a == b).all() for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not all((a == b).all() for a, b in zip(one.parameters(), other.parameters(), strict=True))
