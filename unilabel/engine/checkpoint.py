"""Checkpoints: atomic, checksummed, without pickle, the last few kept."""

from __future__ import annotations

import logging
import os
import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from detectron2.config import CfgNode

from unilabel.core.errors import UniLabelError
from unilabel.core.io import (
    atomic_path,
    file_digest,
    read_json,
    remove_unfinished,
    write_json,
)
from unilabel.core.unified_space import MAX_UNIFIED, UnifiedLabelSpace

if TYPE_CHECKING:
    from unilabel.modeling.meta_arch import UniLabelSegmentor

logger = logging.getLogger(__name__)

FORMAT = "unilabel/checkpoint"
VERSION = 1
LAST = "last_checkpoint.json"


def save_file(path: str | os.PathLike[str], content: dict[str, Any]) -> str:
    """Write a checkpoint atomically and return its SHA-256.

    ``content`` holds tensors, numbers, strings, lists and dicts only, so that it loads with
    ``weights_only=True``.
    """
    with atomic_path(path) as temporary:
        try:
            torch.save({"format": FORMAT, "version": VERSION, **content}, temporary)
        except RuntimeError as error:  # how its C++ writer reports a full disk
            raise OSError(str(error).splitlines()[0]) from error
        digest = file_digest(temporary)
    return digest


def finished_model(
    cfg: CfgNode, model: UniLabelSegmentor, space: UnifiedLabelSpace | None
) -> dict[str, Any]:
    """Content of a model file that answers by itself (``unilabel.engine.loading.load_model``)."""
    return {
        "model": model.state_dict(),
        "num_unified": None if space is None else space.mapping.num_unified,
        "label_spaces": model.label_spaces.to_list(),
        "label_space": None if space is None else space.to_dict(),
        "config": cfg.dump(),
    }


def load_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint of ours.

    Raises:
        UniLabelError: missing, damaged, of another program, or holding code (pickled objects).
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UniLabelError(f"no such checkpoint: {path}.") from None
    except pickle.UnpicklingError as error:
        raise UniLabelError(
            f"{path} is damaged or holds objects other than tensors and plain values; it is not "
            "loaded, since such a file can run code. Save it again with unilabel, or convert a "
            "foreign one with tools/convert_checkpoint.py."
        ) from error
    except Exception as error:  # a damaged stream may end in any error of the reader
        raise UniLabelError(
            f"{path} cannot be read as a checkpoint ({error}); it is damaged or truncated."
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UniLabelError(
            f"{path} is no unilabel checkpoint. For weights of a backbone use "
            f"MODEL.TIMM.PRETRAINED;"
            " for published models tools/convert_checkpoint.py."
        )
    version = content.get("version")
    if version != VERSION:
        raise UniLabelError(
            f"{path} has the checkpoint version {version}, this program reads {VERSION}."
        )
    unified = content.get("num_unified")
    if unified is not None and not (type(unified) is int and 1 <= unified <= MAX_UNIFIED):
        raise UniLabelError(
            f"{path} has {unified!r} unified labels, expected 1 to {MAX_UNIFIED}; it was edited."
        )
    return content


def _is_entry(value: Any) -> bool:
    """Whether this is an entry of the list; files elsewhere are never read, nor removed."""
    if not isinstance(value, dict) or not all(
        isinstance(value.get(key), kind)
        for key, kind in (("file", str), ("iteration", int), ("sha256", str))
    ):
        return False
    return re.fullmatch(r"model_[0-9]{7,18}\.pth", value["file"]) is not None


def _sync_folder(folder: Path) -> None:
    """Make renames in a folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class CheckpointKeeper:
    """The last ``keep`` checkpoints of a run, with checksums."""

    def __init__(self, folder: str | os.PathLike[str], keep: int) -> None:
        """Checkpoints lie in ``folder`` as ``model_<iteration>.pth``."""
        self.folder = Path(folder)
        self.keep = keep
        self._clean = False

    def _entries(self) -> list[dict[str, Any]]:
        index = self.folder / LAST
        if not index.is_file():
            return []
        data = read_json(index)
        entries = data.get("checkpoints") if isinstance(data, dict) else None
        if not isinstance(entries, list) or not all(map(_is_entry, entries)):
            raise UniLabelError(
                f'{index} holds no list "checkpoints" of entries "file" (model_<iteration>.pth), '
                '"iteration" and "sha256"; it is damaged: remove it.'
            )
        return entries

    def save(self, iteration: int, content: dict[str, Any]) -> None:
        """Write a checkpoint; older ones go only after the new one is complete.

        Raises:
            UniLabelError: the folder cannot be written or the disk is full; the older ones stay.
        """
        self._remove_leftovers()
        name = f"model_{iteration:07d}.pth"
        digest = save_file(self.folder / name, content)
        entries = [e for e in self._entries() if e["file"] != name]
        entries.append({"file": name, "iteration": iteration, "sha256": digest})
        old, entries = entries[: -self.keep], entries[-self.keep :]
        write_json(self.folder / LAST, {"checkpoints": entries})
        if old:
            _sync_folder(self.folder)  # a power cut must not undo the renaming, but not the removal
        for entry in old:
            (self.folder / entry["file"]).unlink(missing_ok=True)

    def _remove_leftovers(self) -> None:
        """Half-written files of killed processes, once: months of kills must not fill the disk."""
        if self._clean:
            return
        for pattern in ("model_*.pth", LAST):
            remove_unfinished(self.folder, pattern)
        self._clean = True

    def load_newest(self) -> dict[str, Any] | None:
        """The newest whole checkpoint, or None if there is none at all.

        A damaged one is reported and the one before is taken.

        Raises:
            UniLabelError: there are checkpoints, but none is whole.
        """
        entries = self._entries()
        for entry in reversed(entries):
            path = self.folder / entry["file"]
            if path.is_file() and file_digest(path) == entry["sha256"]:
                logger.info("resuming from %s", path)
                return load_file(path)
            logger.warning("%s is missing or damaged; trying the checkpoint before it", path)
        if entries:
            raise UniLabelError(
                f"none of the {len(entries)} checkpoints in {self.folder} is whole; start again "
                "without --resume (in another OUTPUT_DIR to keep these files)."
            )
        return None
