"""The tokenizer and the text encoder of the tiny Mochi, and prompts as a person may write them.

Pieces are the words of our prompts, in three spellings, and single characters, so that any text has pieces.
"""

# mypy: disable-error-code="no-untyped-call"
# diffusers and transformers type few of their methods: their models are Any here.

from __future__ import annotations

import string
from typing import Any, TypeAlias

import numpy as np
import torch
import transformers
from torch import Tensor

from training.clips import Clip, prompt_for, vocabulary

__all__ = [
    "Batch",
    "TextEncoder",
    "Tokenizer",
    "drawn_prompt",
    "encoded",
    "new_text_encoder",
    "new_tokenizer",
    "says_nothing_of",
    "spell_alike",
]

Tokenizer: TypeAlias = Any  # a T5Tokenizer
TextEncoder: TypeAlias = Any  # a T5EncoderModel

#: Tokens of a prompt that the model reads: twice the longest of ours, and few, for each costs time.
_LONGEST = 64
_LETTERS = string.ascii_letters + string.digits + string.punctuation
_SIZES: dict[str, Any] = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}
#: Of the prompts: with words that nobody knows, and said more than once.
_STRANGE, _REPEATED = 0.1, 0.03
#: Of the prompts of circles that stand still: none at all, and nothing but words that nobody knows. So what
#: says nothing shows one of these. Were it any clip at all, it would be a mixture of all that there is:
#: guidance has nothing to steer towards there.
_NONE, _NONSENSE = 0.35, 0.35
_FILLING = ("a", "the", "on", "of", "to", "in")  # such words stand in any sentence, and say nothing
_STRANGE_LETTERS = string.ascii_lowercase * 3 + string.digits + string.punctuation + "éßя世界🎬"

Batch = tuple[Tensor, Tensor]  # text embeddings (batch, tokens, 64) and their mask (batch, tokens)


def _pieces() -> list[tuple[str, float]]:
    # T5's order: pad, end, unknown. Whole words score above their letters; a letter stands with and
    # without the word boundary before it.
    words = [spelt for word in vocabulary() for spelt in (word, word.capitalize(), word.upper())]
    letters = [*_LETTERS, *(f"▁{letter}" for letter in _LETTERS)]
    known = dict.fromkeys(f"▁{word}" for word in words)
    return [
        *((special, 0.0) for special in ("<pad>", "</s>", "<unk>")),
        ("▁", -8.0),
        *((piece, -2.0) for piece in known),
        *((piece, -8.0) for piece in letters if piece not in known),
    ]


def new_tokenizer() -> Tokenizer:
    """A tokenizer of our words and all of ASCII's characters."""
    return transformers.T5Tokenizer(vocab=_pieces(), extra_ids=0, model_max_length=_LONGEST)


def new_text_encoder() -> TextEncoder:
    """An untrained text encoder."""
    config = transformers.T5Config(
        vocab_size=len(_pieces()), feed_forward_proj="gated-gelu", dropout_rate=0.0, **_SIZES
    )
    return transformers.T5EncoderModel(config)


def spell_alike(encoder: TextEncoder) -> None:
    """Give every piece with capitals the embedding of its small letters, the only ones trained."""
    places = {piece: place for place, (piece, _) in enumerate(_pieces())}
    weights = encoder.get_input_embeddings().weight
    with torch.no_grad():
        for piece, place in places.items():
            weights[place] = weights[places.get(piece.lower(), place)]


def says_nothing_of(clip: Clip) -> bool:
    """Whether prompts that say nothing are of such clips."""
    return (clip.combination.shape, clip.combination.direction) == ("circle", "still")


def drawn_prompt(clip: Clip, rng: np.random.Generator) -> str:
    """A true prompt, now and then none, one with strange words, one of these alone, or one repeated."""
    words = prompt_for(clip, rng).split()
    chance = rng.random()
    silent = says_nothing_of(clip)
    if silent and (chance := chance - _NONE) < 0:
        return ""
    if silent and (chance := chance - _NONSENSE) < 0:
        words = [
            str(rng.choice(_FILLING)) if rng.random() < 0.2 else _strange_word(rng)
            for _ in range(int(rng.integers(1, 8)))
        ]
    elif (chance := chance - _STRANGE) < 0:
        for _ in range(int(rng.integers(1, 4))):
            words.insert(int(rng.integers(len(words) + 1)), _strange_word(rng))
    elif chance - _REPEATED < 0:
        words *= int(rng.integers(2, 5))
    return " ".join(words) + ("." if rng.random() < 0.2 else "")


def _strange_word(rng: np.random.Generator) -> str:
    return "".join(rng.choice(list(_STRANGE_LETTERS), int(rng.integers(2, 8))))


def encoded(encoder: TextEncoder, tokenizer: Tokenizer, prompts: list[str]) -> Batch:
    """The prompts' embeddings, as many tokens as the longest has, and no more than the tokenizer's most."""
    tokens = tokenizer(prompts, padding="longest", truncation=True, return_tensors="pt")
    mask = tokens.attention_mask.bool()
    return encoder(tokens.input_ids, attention_mask=mask)[0], mask
