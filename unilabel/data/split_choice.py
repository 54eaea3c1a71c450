"""The key "split" of ``classes.json``: train and val by lists, or by a share of the files.

A share is drawn by a hash of the names, so it is the same on every machine and in every run.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.core.io import decode_text

_FORMS = '{"val": 0.2}, {"val": 0.2, "by": "folder"}, or {"train": "train.txt", "val": "val.txt"}'


@dataclass(frozen=True)
class SplitChoice:
    """How files are divided.

    Attributes:
        share: part of the files that becomes val; 0: lists tell.
        by_folder: all files of the first subfolder (a drive, a scene) stay together.
        lists: split -> list file below the dataset's folder.
        source: the ``classes.json``, for messages.
    """

    share: float
    by_folder: bool
    lists: tuple[tuple[str, str], ...]
    source: str

    def select(self, root: Path, split: str, keys: Iterable[str]) -> set[str]:
        """Keys of a split; entries of a list that name no file are kept, so they are reported.

        Raises:
            UniLabelError: a list is missing, or the files cannot be divided.
        """
        known = set(keys)
        if self.lists:
            file = dict(self.lists).get(split)
            return set() if file is None else self._listed(root / file, known)
        val = self._drawn(known)
        return val if split == "val" else known - val

    def _drawn(self, keys: set[str]) -> set[str]:
        groups: dict[str, list[str]] = defaultdict(list)
        for key in keys:
            groups[key.split("/")[0] if self.by_folder and "/" in key else key].append(key)
        if len(groups) < 2 and keys:
            raise UniLabelError(
                f'{self.source}: "split" wants a part of the files as val, but there is only one '
                f"{'folder' if self.by_folder else 'file'} below images"
                + ('; use "by": "file".' if self.by_folder else ".")
            )
        order = sorted(groups, key=lambda g: hashlib.sha256(g.encode()).digest())
        val: set[str] = set()
        wanted = max(1, round(self.share * len(keys)))
        for group in order[:-1]:  # train keeps at least one
            if len(val) >= wanted:
                break
            val |= set(groups[group])
        return val

    def _listed(self, path: Path, keys: set[str]) -> set[str]:
        try:
            text = decode_text(path.read_bytes(), "replace")
        except OSError as error:
            raise UniLabelError(
                f'{self.source}: "split" names {path}, which cannot be read '
                f"({error.strerror or error})."
            ) from error
        lines = (line.strip() for line in text.splitlines())
        names = Counter(key.rpartition("/")[2] for key in keys)
        known = {key: key for key in keys}
        for key in keys:  # the name alone will do where no other folder has it
            name = key.rpartition("/")[2]
            if names[name] == 1:
                known.setdefault(name, key)
        return {_key_of(line, known) for line in lines if line and not line.startswith("#")}


def _key_of(line: str, known: Mapping[str, str]) -> str:
    """The key that a line means: a name or path, with or without suffix, perhaps more words."""
    line = line.strip("\"'") or line
    for words in (line, re.split(r"[,;]", line)[0].strip("\"' "), line.split()[0]):
        parts = words.replace("\\", "/").split("/")
        for start in range(len(parts)):
            path = "/".join(parts[start:])
            for candidate in (path, path.rpartition(".")[0]):
                if candidate in known:
                    return known[candidate]
    return line.split()[0]


def read_split(value: Any, source: str) -> SplitChoice:
    """Check the key "split".

    Raises:
        UniLabelError: it has none of the known forms.
    """
    wrong = UniLabelError(f'{source}: "split" is {value!r}, expected {_FORMS}.')
    if not isinstance(value, Mapping) or "val" not in value or set(value) - {"train", "val", "by"}:
        raise wrong
    val, by = value["val"], value.get("by", "file")
    if isinstance(val, str) and isinstance(value.get("train"), str) and "by" not in value:
        return SplitChoice(0.0, False, (("train", value["train"]), ("val", val)), source)
    number = isinstance(val, int | float) and not isinstance(val, bool)
    if "train" in value or by not in ("file", "folder") or not number or not 0 < val < 1:
        raise wrong
    return SplitChoice(float(val), by == "folder", (), source)
