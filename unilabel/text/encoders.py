"""Text encoders: label texts to feature vectors (f_t of Eq. 1).

Letters: C texts, T feature dim, L tokens of a text.

An encoder is named by a spec: ``hashed``, ``hashed:512``, ``minilm``, ``sentence:<folder or hub
id>``, ``llama:<folder or hub id>``. ``TEXT_ENCODERS`` maps the word before the colon to a function
``(argument, options) -> TextEncoder``; a project may add its own.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.text.prompts import check_texts

HASHED_DIM = 384
MIN_HASHED_DIM = 8
NGRAM_SIZES = (3, 4, 5)


class TextEncoder(Protocol):
    """What every encoder has.

    Attributes:
        name: what is written into feature files; the same on every machine.
        model_hash: fingerprint of the weights, empty where there is none to be had.
    """

    name: str
    model_hash: str

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Feature vectors of C texts, (C, T) float32 on the CPU."""
        ...


@dataclass(frozen=True)
class EncoderOptions:
    """How a model runs: device, ``float32 | float16 | bfloat16``, texts per batch."""

    device: str = "cpu"
    dtype: str = "float32"
    batch_size: int = 16


EncoderFactory = Callable[[str, EncoderOptions], TextEncoder]


def build_text_encoder(
    spec: str, device: str = "cpu", dtype: str = "float32", batch_size: int = 16
) -> TextEncoder:
    """Build the text encoder that ``spec`` names.

    Args:
        spec: see the head of this module.
        device: device of the model, ``cpu`` or ``cuda[:index]``.
        dtype: ``float32``, ``float16`` or ``bfloat16``; features are float32 in any case.
        batch_size: texts that go through the model at once.

    Raises:
        UniLabelError: the spec is unknown, or a package or model that it needs is missing.
    """
    kind, _, argument = spec.partition(":")
    if kind not in TEXT_ENCODERS:
        raise UniLabelError(
            f"unknown text encoder {spec!r}; choose hashed, minilm, sentence:<folder or hub id> or "
            "llama:<folder or hub id>."
        )
    if batch_size < 1:
        raise UniLabelError(f"batch size {batch_size} of the text encoder: expected at least 1.")
    return TEXT_ENCODERS[kind](argument, EncoderOptions(device, dtype, batch_size))


def encoder_name(spec: str) -> str:
    """The name that the encoder of ``spec`` writes into feature files, without loading a model."""
    kind, _, argument = spec.partition(":")
    if kind == "hashed":
        return f"hashed:{argument or HASHED_DIM}"
    return f"{kind}:{Path(argument).name}" if argument else kind


class HashedEncoder:
    """Signed hashing of words and character n-grams; needs no model and no download.

    Texts that share words or word parts get a positive cosine; meaning is out of its reach. The
    hash is BLAKE2b, so the vectors are the same in every process (Python's ``hash`` is salted).
    """

    model_hash = ""

    def __init__(self, dim: int = HASHED_DIM) -> None:
        """``dim`` is T."""
        if dim < MIN_HASHED_DIM:
            raise UniLabelError(f"hashed:{dim}: expected at least {MIN_HASHED_DIM} dimensions.")
        self.dim = dim
        self.name = f"hashed:{dim}"

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(C, T) float32 with rows of length 1."""
        check_texts(texts)
        features = torch.zeros(len(texts), self.dim)
        for row, text in zip(features, texts, strict=True):
            for part, weight in _parts(text):
                digest = hashlib.blake2b(part.encode(), digest_size=8).digest()
                value = int.from_bytes(digest, "little")
                row[(value >> 1) % self.dim] += weight if value & 1 else -weight
        return F.normalize(features, dim=1)


def _parts(text: str) -> list[tuple[str, float]]:
    """Words, and n-grams of the word with its borders; a word's n-grams weigh 1 together."""
    parts = []
    for word in re.findall(r"\w+", text.lower()):
        parts.append((f"w:{word}", 1.0))
        bounded = f" {word} "
        grams = [
            bounded[i : i + size] for size in NGRAM_SIZES for i in range(len(bounded) - size + 1)
        ]
        parts += [(f"g:{gram}", 1.0 / math.sqrt(len(grams))) for gram in grams]
    return parts


def _build_hashed(argument: str, options: EncoderOptions) -> TextEncoder:
    if argument and not argument.isdigit():
        raise UniLabelError(f"hashed:{argument}: expected a number of dimensions, e.g. hashed:512.")
    return HashedEncoder(int(argument) if argument else HASHED_DIM)


def _build_minilm(argument: str, options: EncoderOptions) -> TextEncoder:
    from unilabel.text.transformer_encoders import minilm_folder

    if argument:
        raise UniLabelError(f"minilm:{argument}: minilm takes no argument; use sentence:<folder>.")
    return _transformer("minilm", str(minilm_folder()), "sentence", options)


def _build_sentence(argument: str, options: EncoderOptions) -> TextEncoder:
    return _transformer(encoder_name(f"sentence:{argument}"), argument, "sentence", options)


def _build_llama(argument: str, options: EncoderOptions) -> TextEncoder:
    return _transformer(encoder_name(f"llama:{argument}"), argument, "llama", options)


def _transformer(name: str, source: str, pooling: str, options: EncoderOptions) -> TextEncoder:
    from unilabel.text.transformer_encoders import TransformerEncoder

    if not source:
        raise UniLabelError(f"{name}: name the model, e.g. {name}:/models/my-model.")
    return TransformerEncoder(
        name,
        source,
        pooling=pooling,
        device=options.device,
        dtype=options.dtype,
        batch_size=options.batch_size,
    )


TEXT_ENCODERS: dict[str, EncoderFactory] = {
    "hashed": _build_hashed,
    "minilm": _build_minilm,
    "sentence": _build_sentence,
    "llama": _build_llama,
}
