"""Unified labels of a trained model are split or merged without training.

Letters: K datasets, C classes of all of them, N unified labels, D embedding dim.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import clean_text
from unilabel.core.review import free_color
from unilabel.core.unified_space import Link, UnifiedLabelSpace
from unilabel.editing.imitate import Sample, changed_share, fit_row
from unilabel.editing.parts import (
    Parts,
    edited,
    float_rows,
    put_rows,
    select_rows,
    with_links,
)
from unilabel.editing.rows import merged_row
from unilabel.modeling.heads import SILENT

LOGIT_SUM = "logit_sum"


def merge_labels(
    parts: Parts,
    labels: Sequence[str],
    name: str | None = None,
    approximate: bool = False,
    sample: Sample | None = None,
) -> Parts:
    """Make one unified label of several.

    What is exact is told by :func:`unilabel.editing.rows.merged_row`. Otherwise the nearest row is
    fitted on pixels of any photos, or guessed.

    Args:
        parts: the model.
        labels: names or ids of at least two; the first one keeps its id, colour and, if no other
            is given, its name.
        name: of the merged label.
        approximate: accept answers that differ, without photos.
        sample: pixels of the network to fit on; where the merging is exact they are only looked at.

    Raises:
        UniLabelError: the labels cannot be one, or the result would not be exact and neither
            ``approximate`` nor ``sample`` is given.
    """
    rows = _distinct_rows(parts, labels)
    space = parts.unified()
    _refuse_two_classes(space, rows)
    row = merged_row(parts, rows)
    if row.inexact and not approximate and sample is None:
        names = " + ".join(space.names[r] for r in rows)
        raise UniLabelError(
            f"merging {names} is not exact: {row.inexact}. Give --photos DIR (any photos like "
            "those of later use, without labels) to fit the nearest row, or --approximate to take "
            "a guess."
        )
    x_u, biases = row.embedding, row.bias
    if sample is not None and row.inexact:
        x_u, biases = fit_row(parts, sample, rows, row)
    embedding, bias, shift = float_rows(parts)
    first = rows[0]
    embedding[first], bias[:, first] = x_u, biases
    if shift is not None:
        shift[:, first] = row.shift
    merged = put_rows(parts, embedding, bias, shift)
    links = space.mapping.stacked()
    links[first] = links[rows].any(0)
    merged = with_links(merged, links, _one_entry(space, rows, name))
    stay = torch.tensor([i for i in range(len(space.names)) if i == first or i not in rows])
    merged = select_rows(merged, stay)
    names = [space.names[i] for i in rows]
    merged = edited(merged, {"merged_labels": names, "exact": not row.inexact})
    kept = merged.space.names[int((stay == first).nonzero())]
    words = "as near as one row comes" if row.inexact else "as before"
    merged = merged.with_note(
        f"{' + '.join(names)} are {kept!r}; the datasets are answered {words}"
    )
    if not torch.equal(stay, torch.arange(len(stay))):
        merged = merged.with_note("ids of unified labels behind them have moved up")
    return merged if sample is None else merged.with_note(changed_share(parts, merged, sample))


def split_label(
    parts: Parts,
    label: str,
    away: Sequence[str],
    both: Sequence[str] = (),
    name: str | None = None,
    approximate: bool = False,
) -> Parts:
    """Make two unified labels of one, which divide its links.

    Both have the same row, so the datasets are answered as before; a training (MODEL.WEIGHTS) can
    then tell them apart. Until then the unified space answers with the first one.

    Args:
        parts: the model.
        label: name or id; keeps its id and name and the links that are not named.
        away: datasets whose link goes to the new label.
        both: datasets whose link both have.
        name: of the new label; it stands at the end.
        approximate: accept other answers where a sum of logits cannot be divided exactly.

    Raises:
        UniLabelError: the label has no such links, one part would have none, or the split is not
            exact and ``approximate`` is False.
    """
    row = parts.row(label)
    space = parts.unified()
    linked = {d: c for r, d, c in space.links if r == row}
    _check_division(space.names[row], linked, away, both)
    if parts.mode == LOGIT_SUM and both and not approximate:
        raise UniLabelError(
            f"this model adds logits up (MODEL.MAPPING_MODE logit_sum): with both parts of "
            f"{space.names[row]!r} in {', '.join(both)}, these datasets would count its row twice. "
            "Give every dataset to one part, or add --approximate to accept other answers there."
        )
    names = space.label_spaces.names
    embedding, bias, shift = float_rows(parts)
    embedding = torch.cat([embedding, embedding[row : row + 1]])
    bias = torch.cat([bias, bias[:, row : row + 1]], dim=1)
    if shift is not None:
        shift = torch.cat([shift, shift[:, row : row + 1]], dim=1)
    links = space.mapping.stacked()
    links = torch.cat([links, links[row : row + 1]])
    blocks = space.label_spaces.split(links)  # views
    for i, dataset in enumerate(names):
        if dataset in away:
            blocks[i][row] = False
        elif dataset not in both:
            blocks[i][-1] = False
        if parts.mode == LOGIT_SUM:
            continue
        if dataset in both:
            bias[i, [row, -1]] -= math.log(2)  # two equal probabilities add up to that of before
        else:  # the other part takes no part in the softmax of the dataset
            bias[i, row if dataset in away else -1] = SILENT
    entries = dict(space.links)
    for dataset in (*away, *both):
        key = (row, dataset, linked[dataset])
        link = entries.pop(key) if dataset in away else entries[key]
        entries[len(space.names), dataset, linked[dataset]] = link
    second = _new_name(space, name or f"{space.names[row]} (2)")
    larger = replace(
        space,
        names=(*space.names, second),
        colors=(*space.colors, free_color(space.colors)),
        links=entries,
        checked=space.checked - {row},
    )
    done = with_links(put_rows(parts, embedding, bias, shift), links, larger)
    done = edited(done, {"split_label": space.names[row], "into": [space.names[row], second]})
    kept = ", ".join(d for d in linked if d not in away)
    done = done.with_note(
        f"{space.names[row]!r} stands for its class in {kept}; {second!r} (id {len(space.names)}) "
        f"in {', '.join((*away, *both))}. Both score alike, and the unified space answers "
        f"{space.names[row]!r}, until a training (MODEL.WEIGHTS) tells them apart"
    )
    if row in space.checked:
        done = done.with_note(f"{space.names[row]!r} counts as not checked: its links are others")
    return done


def _distinct_rows(parts: Parts, labels: Sequence[str]) -> list[int]:
    rows = [parts.row(label) for label in labels]
    if len(set(rows)) < 2 or len(set(rows)) < len(rows):
        raise UniLabelError(
            f"{', '.join(labels)}: expected the names or ids of two or more different unified "
            "labels."
        )
    return rows


def _refuse_two_classes(space: UnifiedLabelSpace, rows: Sequence[int]) -> None:
    """A unified label has at most one class of a dataset."""
    for one in space.label_spaces:
        found = {space.mapping.class_of(one.name).tolist()[r]: space.names[r] for r in rows}
        found.pop(-1, None)
        if len(found) > 1:
            listed = " and ".join(
                f"{label!r} is {one.class_names[c]}" for c, label in found.items()
            )
            raise UniLabelError(
                f"these unified labels cannot be one: {one.name} tells them apart ({listed}). "
                "Merge labels that no dataset tells apart, or remove the dataset first."
            )


def _one_entry(
    space: UnifiedLabelSpace, rows: Sequence[int], name: str | None
) -> UnifiedLabelSpace:
    """Name and links of the merged label, on its first row; a check stays if all were checked."""
    first = rows[0]
    links: dict[tuple[int, str, int], Link] = {}
    for (row, dataset, column), link in space.links.items():
        target = (first if row in rows else row, dataset, column)
        present = links.get(target)
        stronger = present is None or (link.source == "human", link.weight) > (
            present.source == "human",
            present.weight,
        )
        if stronger:
            links[target] = link
    names = list(space.names)
    if name is not None:
        others = {n for i, n in enumerate(names) if i not in rows}
        names[first] = clean_text(name, "--name")
        if names[first] in others:
            raise UniLabelError(f"--name {name!r}: another unified label is called so.")
    checked = space.checked if set(rows) <= space.checked else space.checked - {first}
    return replace(space, names=tuple(names), links=links, checked=checked)


def _check_division(
    label: str, linked: dict[str, int], away: Sequence[str], both: Sequence[str]
) -> None:
    for dataset in (*away, *both):
        if dataset not in linked:
            raise UniLabelError(
                f"{label!r} stands for no class of {dataset!r}; it has links to "
                f"{', '.join(linked)}."
            )
    twice = sorted({d for d in (*away, *both) if (*away, *both).count(d) > 1})
    if twice:
        raise UniLabelError(f"{twice[0]!r} is named twice; a link goes to one part or to both.")
    if not away and not both:
        raise UniLabelError(
            f"name at least one dataset whose link the new part of {label!r} gets: "
            f"{', '.join(linked)}."
        )
    if len(away) == len(linked):
        raise UniLabelError(
            f"{label!r} would keep no link: leave it at least one of {', '.join(linked)}."
        )


def _new_name(space: UnifiedLabelSpace, wanted: str) -> str:
    name = clean_text(wanted, "--name")
    if name in space.names:
        raise UniLabelError(f"{name!r} is the name of a unified label already; give --name.")
    return name
