"""Feature files: encoded label texts with what made them, in safetensors form.

Letters: C classes of the run, T feature dim. A file may hold more labels than a run needs; every
label's text is kept as a hash, so that a changed description is noticed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import unilabel
from unilabel.core.errors import UniLabelError
from unilabel.core.io import atomic_path
from unilabel.core.label_space import LabelSpaceSet
from unilabel.text.encoders import build_text_encoder, encoder_name
from unilabel.text.prompts import label_texts
from unilabel.text.transformer_encoders import folder_fingerprint

logger = logging.getLogger(__name__)

FORMAT = "unilabel-text-features"
VERSION = 1
CURE = "Delete the file, name another one, or make it anew with tools/encode_labels.py."


@dataclass(frozen=True)
class TextFeatures:
    """Content of a feature file.

    Attributes:
        features: (C, T) float32.
        label_names: C names ``dataset:class``.
        text_hashes: C SHA-256 (hex) of the encoded texts.
        encoder: name of the encoder.
        model_hash: fingerprint of its weights, or empty.
        mode: text mode, see :data:`unilabel.text.prompts.MODES`.
    """

    features: Tensor
    label_names: tuple[str, ...]
    text_hashes: tuple[str, ...]
    encoder: str
    model_hash: str
    mode: str


def encode_labels(
    label_spaces: LabelSpaceSet,
    spec: str,
    *,
    mode: str = "prompt+description",
    device: str = "cpu",
    dtype: str = "float32",
    batch_size: int = 16,
) -> TextFeatures:
    """Encode the texts of all classes.

    Args:
        label_spaces: K label spaces, C classes.
        spec: text encoder, see :mod:`unilabel.text.encoders`.
        mode: text mode, see :func:`unilabel.text.prompts.label_texts`.
        device: device of the model.
        dtype: ``float32``, ``float16`` or ``bfloat16``.
        batch_size: texts at once.
    """
    texts = label_texts(label_spaces, mode)
    encoder = build_text_encoder(spec, device, dtype, batch_size)
    return TextFeatures(
        features=encoder.encode(texts),
        label_names=tuple(label_spaces.label_names()),
        text_hashes=tuple(text_hash(text) for text in texts),
        encoder=encoder.name,
        model_hash=encoder.model_hash,
        mode=mode,
    )


def text_hash(text: str) -> str:
    """SHA-256 of a label text."""
    return hashlib.sha256(text.encode()).hexdigest()


def save_features(path: str | os.PathLike[str], content: TextFeatures) -> None:
    """Write a feature file, atomically."""
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "unilabel": unilabel.__version__,
        "encoder": content.encoder,
        "model_hash": content.model_hash,
        "mode": content.mode,
        "label_names": json.dumps(content.label_names),
        "text_hashes": json.dumps(content.text_hashes),
    }
    with atomic_path(path) as temporary:
        save_file({"features": content.features.contiguous()}, temporary, metadata=metadata)


def load_features(path: str | os.PathLike[str]) -> TextFeatures:
    """Read a feature file.

    Raises:
        UniLabelError: it is no feature file of this version, or its parts do not fit together.
    """
    source = os.fspath(path)
    try:
        with safe_open(source, framework="pt") as file:
            metadata = file.metadata() or {}
            found = f"{metadata.get('format')} {metadata.get('version')}"
            if found != f"{FORMAT} {VERSION}":
                raise UniLabelError(
                    f"{source} is a file {found!r}, expected '{FORMAT} {VERSION}'. {CURE}"
                )
            features = file.get_tensor("features")
        content = TextFeatures(
            features=features,
            label_names=tuple(json.loads(metadata["label_names"])),
            text_hashes=tuple(json.loads(metadata["text_hashes"])),
            encoder=metadata["encoder"],
            model_hash=metadata["model_hash"],
            mode=metadata["mode"],
        )
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError, RecursionError) as error:
        raise UniLabelError(f"cannot read the feature file {source}: {error}. {CURE}") from error
    rows = {len(content.label_names), len(content.text_hashes), len(features)}
    if features.ndim != 2 or len(rows) != 1 or not bool(torch.isfinite(features).all()):
        raise UniLabelError(
            f"{source}: features of shape {tuple(features.shape)} for {len(content.label_names)} "
            f"labels, expected one finite row for each. {CURE}"
        )
    return content


def select_features(
    content: TextFeatures, label_spaces: LabelSpaceSet, spec: str, mode: str, source: str
) -> Tensor:
    """The rows of a feature file that belong to the classes of a run, (C, T) float32.

    Raises:
        UniLabelError: the file was made by another encoder, in another mode, without one of the
            labels, or from other texts.
    """
    expected = {"encoder": encoder_name(spec), "mode": mode}
    for key, value in expected.items():
        found = getattr(content, key)
        if found != value:
            raise UniLabelError(f"{source} was made with {key} {found!r}, not {value!r}. {CURE}")
    # The model may be absent where only its features are needed; where it is there, it must fit.
    current = folder_fingerprint(spec.partition(":")[2])
    if current and content.model_hash and current != content.model_hash:
        raise UniLabelError(
            f"{source} was made with other weights of {content.encoder} "
            f"({content.model_hash[:12]}, now {current[:12]}). {CURE}"
        )
    row_of = {name: row for row, name in enumerate(content.label_names)}
    rows = []
    texts = label_texts(label_spaces, mode)
    for name, text in zip(label_spaces.label_names(), texts, strict=True):
        if name not in row_of:
            raise UniLabelError(f"{source} has no features of {name!r}. {CURE}")
        if content.text_hashes[row_of[name]] != text_hash(text):
            raise UniLabelError(
                f"{source} is out of date: the text of {name!r} has changed since. {CURE}"
            )
        rows.append(row_of[name])
    return content.features[rows].float()


def load_or_encode(
    path: str | os.PathLike[str] | None,
    label_spaces: LabelSpaceSet,
    spec: str,
    *,
    mode: str = "prompt+description",
    device: str = "cpu",
    dtype: str = "float32",
    batch_size: int = 16,
) -> Tensor:
    """Text features of all classes, from a feature file if it is there.

    Args:
        path: feature file; it is read and checked if it exists, else written. ``None``: no file.
        label_spaces: K label spaces, C classes.
        spec: text encoder, see :mod:`unilabel.text.encoders`.
        mode: text mode.
        device: device of the model.
        dtype: ``float32``, ``float16`` or ``bfloat16``.
        batch_size: texts at once.

    Returns:
        (C, T) float32.

    Raises:
        UniLabelError: the file does not belong to these labels, texts, mode or encoder.
    """
    if path is not None and Path(path).exists():
        content = load_features(path)
        logger.info("text features of %s from %s", content.encoder, path)
        return select_features(content, label_spaces, spec, mode, os.fspath(path))
    content = encode_labels(
        label_spaces, spec, mode=mode, device=device, dtype=dtype, batch_size=batch_size
    )
    if path is not None:
        save_features(path, content)
        logger.info("text features of %s written to %s", content.encoder, path)
    return content.features
