"""What a class of any dataset is called in WildDash 2, by its name or by known relations."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import torch

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.submission import wilddash
from unilabel.text.encoders import build_text_encoder
from unilabel.text.label_tables import load_label_space
from unilabel.text.names import canonical_name, is_kind_of, name_parts
from unilabel.text.taxonomy import merge_by_text


@dataclass(frozen=True)
class ClassMeaning:
    """What is known about one class of a dataset.

    Attributes:
        known: its meaning is known; otherwise it is a thing that WildDash 2 has no word for.
        scored: the scored class, None: void.
        evidence: where this comes from.
    """

    known: bool
    scored: str | None
    evidence: str


def meanings_by_name(label_spaces: LabelSpaceSet) -> list[ClassMeaning | None]:
    """C meanings from class names alone; None: too wide a name to say anything."""
    return [_by_name(space.name, name) for space in label_spaces for name in space.class_names]


def _by_name(dataset: str, class_name: str) -> ClassMeaning | None:
    special = _tables()["by_dataset"].get(dataset, {})
    if class_name in special:
        label = special[class_name]
        return None if label is None else _policy(label, f"table for {dataset}")
    parts = name_parts(class_name)
    labels = [_label_of(part) for part in parts]
    found = [label for label in labels if label is not None]
    if not found:
        wide = any(part.replace(" ", "") in _tables()["no_vote"] for part in parts)
        return None if wide else ClassMeaning(False, None, "no such word")
    # "bridge or tunnel": the parts vote; "person or animal": a scored class wins a draw
    votes = Counter(wilddash.policy_names()[label] for label in found)
    scored = max(votes, key=lambda name: (votes[name], name is not None))
    label = next(label for label in found if wilddash.policy_names()[label] == scored)
    return _policy(label, "name")


def _policy(label: str, evidence: str) -> ClassMeaning:
    scored = wilddash.policy_names()[label]
    return ClassMeaning(True, scored, evidence if label == scored else f"{evidence}: {label}")


def _label_of(part: str) -> str | None:
    """Label of the policy that a name part stands for, itself or as its head noun."""
    names: dict[str, str] = _tables()["names"]
    whole = names.get(part.replace(" ", ""))
    if whole is not None:
        return whole
    heads = [word for word in _tables()["words"] if is_kind_of(part, word)]
    return names[max(heads, key=len).replace(" ", "")] if heads else None


@lru_cache(maxsize=1)
def _tables() -> dict[str, Any]:
    data = read_json(str(files("unilabel") / "submission" / "wilddash_names.json"))
    names: dict[str, str] = {}
    words: list[str] = []
    for label in wilddash.policy_names():
        for other in (label, *data["names"].get(label, [])):
            word = canonical_name(other)
            names.setdefault(word.replace(" ", ""), label)
            words.append(word)
    wide = {canonical_name(word).replace(" ", "") for word in data["no_vote"]}
    return {"names": names, "words": words, "no_vote": wide, "by_dataset": data["by_dataset"]}


def add_relations(
    meanings: list[ClassMeaning | None],
    label_spaces: LabelSpaceSet,
    path: str | os.PathLike[str],
) -> list[ClassMeaning | None]:
    """Let a ``relations.json`` decide.

    A class that equals, or is a subset of, a label of the dataset ``wilddash2`` gets its meaning.
    A class that equals, or is a subset of, another class inherits that class's meaning if it has
    none of its own.

    Raises:
        UniLabelError: the file is malformed, or names an unknown class.
    """
    source = os.fspath(path)
    data = read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get("relations"), list):
        raise UniLabelError(f'{source}: expected an object with a list "relations".')
    position = {name: i for i, name in enumerate(label_spaces.label_names())}
    result = list(meanings)
    inherits: list[tuple[int, int]] = []
    for number, entry in enumerate(data["relations"]):
        where = f"{source}: relations[{number}]"
        for part, whole in _contained(entry, where):
            if whole[0] == wilddash.DATASET and part[0] != wilddash.DATASET:
                if whole[1] not in wilddash.policy_names():
                    raise UniLabelError(f"{where}: WildDash 2 has no label {whole[1]!r}.")
                if (child := position.get(":".join(part))) is not None:
                    result[child] = _policy(whole[1], "relation")
            elif ":".join(part) in position and ":".join(whole) in position:
                inherits.append((position[":".join(part)], position[":".join(whole)]))
    for child, parent in inherits:
        own, other = result[child], result[parent]
        if other is not None and other.known and not (own is not None and own.known):
            name = label_spaces.label_names()[parent]
            result[child] = ClassMeaning(True, other.scored, f"relation to {name}")
    return result


def _contained(entry: Any, where: str) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """(part, whole) pairs of (dataset, label) that a relation states."""
    try:
        a, b = ((str(entry[s]["dataset"]), str(entry[s]["label"])) for s in ("a", "b"))
        kind = entry.get("type", "equal")
    except (TypeError, KeyError, AttributeError):
        raise UniLabelError(
            f'{where} is {entry!r}, expected "a" and "b" with "dataset" and "label".'
        ) from None
    return {"equal": [(a, b), (b, a)], "subset": [(a, b)], "superset": [(b, a)]}.get(kind, [])


def add_text(
    meanings: list[ClassMeaning | None], label_spaces: LabelSpaceSet, encoder: str
) -> list[ClassMeaning | None]:
    """Ask the text merge about classes that no table knows; names without a vote keep none.

    Args:
        meanings: C meanings.
        label_spaces: K label spaces with descriptions.
        encoder: text encoder, see :mod:`unilabel.text.encoders`.

    Raises:
        UniLabelError: a dataset has no descriptions, or the encoder is not available.
    """
    own = [space for space in label_spaces if space.name != wilddash.DATASET]
    target: LabelSpace = load_label_space(wilddash.DATASET)
    joint = LabelSpaceSet([*own, target])
    merged = merge_by_text(joint, build_text_encoder(encoder).encode)
    columns = joint.split(merged.links, dim=1)
    weights = joint.split(merged.weights, dim=1)
    result = list(meanings)
    for i, space in enumerate(own):
        offset = label_spaces.class_offsets[label_spaces.dataset_index(space.name)]
        for class_id in range(space.num_classes):
            meaning = meanings[offset + class_id]
            rows = columns[i][:, class_id]
            score = torch.where(columns[-1][rows], weights[-1][rows], 0.0)
            unknown = meaning is not None and not meaning.known
            if unknown and score.numel() and float(score.max()) > 0:
                best = int(score.max(0).values.argmax())
                result[offset + class_id] = ClassMeaning(
                    True, target.class_names[best], f"text {float(score.max()):.2f}"
                )
    return result
