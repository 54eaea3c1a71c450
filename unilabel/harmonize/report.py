"""The conflict report: one web page that needs no other file.

Every pair of classes that share pixels or a name, those with most pixels concerned first, with
crops of training photos for every label that joins them. Crops are put into the page once and drawn
when a pair is opened.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from unilabel import __version__
from unilabel.core.io import atomic_path
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.harmonize.conflicts import Pair, find_pairs, split_classes
from unilabel.harmonize.evidence import Crop, Evidence, Key, Link, PhotoChooser, collect
from unilabel.harmonize.job import HarmonizeJob
from unilabel.harmonize.report_page import Page
from unilabel.harmonize.summary import Totals
from unilabel.visual.page_parts import PAGE, STYLE, table
from unilabel.visual.related import related_beside

REPORT = "report.html"
_NO_PHOTOS = (
    "<p><b>There are no crops on this page</b>: they are taken from training photos alone, so that "
    "those of val stay unseen, and none was harmonised (--splits).</p>"
)
_STYLE = """
details.pair { border: 1px solid #e3e3e8; border-radius: 8px; margin: 8px 0; padding: 6px 12px; }
details.pair summary { display: flex; flex-wrap: wrap; gap: 2px 12px; align-items: baseline; }
details.pair summary .stake { margin-left: auto; font-variant-numeric: tabular-nums; }
.doubt { background: #fff4d6; border-radius: 4px; padding: 1px 6px; }
.mark { color: #a15c00; font-weight: 600; }
.links { display: grid; gap: 10px 28px; margin: 8px 0 4px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); }
.group { display: flex; flex-wrap: wrap; gap: 6px; align-content: flex-start; }
.group h4 { flex: 1 0 100%; margin: 4px 0 0; font-size: 13px; font-weight: 600; }
.group.no h4 { color: #a33; }
.group figure { width: min(112px, calc((100% - 12px) / 3)); }
.group figcaption { font-size: 11.5px; line-height: 1.25; }
.group img { width: 100%; aspect-ratio: 1; background: #eee; }
h3.label { margin: 14px 0 0; font-size: 15px; }
"""
_SCRIPT = """
const crops = %s;
function draw(part) {
  part.querySelectorAll("img[data-crop]").forEach(image => {
    image.src = "data:image/jpeg;base64," + crops[image.dataset.crop];
    delete image.dataset.crop;
  });
}
document.querySelectorAll("details.pair").forEach(part => {
  if (part.open) draw(part);
  part.addEventListener("toggle", () => { if (part.open) draw(part); });
});
"""


@dataclass(frozen=True)
class Report:
    """The page and what it left out.

    Attributes:
        page: its text.
        pairs: pairs on it.
        doubts: doubts on it.
        crops: crops on it.
        dropped: crops that were left out to keep it small.
        bare: links without any crop.
    """

    page: str
    pairs: int
    doubts: int
    crops: int
    dropped: int
    bare: int


def write_report(job: HarmonizeJob, totals: Totals, workers: int) -> Report:
    """Look for evidence on training photos and write ``report.html``.

    Datasets that the model was not trained on are not in its label space and so not in the report.
    """
    chooser = PhotoChooser()
    unified = job.labeller.target.columns is None
    for number, (photo, record) in enumerate(job.records()):
        chooser.add(number, photo, record, unified)
    photos = [job.photos[i] for i in chooser.chosen()]
    evidence = collect(job.labeller, photos, workers)
    space = job.labeller.predictor.label_space
    assert space is not None
    report = make_report(job, space, totals, evidence)
    with atomic_path(job.output / REPORT) as temporary:
        temporary.write_text(report.page, encoding="utf-8")
    return report


def make_report(
    job: HarmonizeJob, space: UnifiedLabelSpace, totals: Totals, evidence: Evidence
) -> Report:
    """The page of pairs."""
    parts = job.labeller.parts
    known = [i for i, p in enumerate(parts) if p.source.name in space.label_spaces.names]
    names = [parts[i].source.name for i in known]
    pixels = [totals.pixels[i][:-1].sum(1) for i in known]
    if job.labeller.target.columns is None:
        written = [totals.pixels[i][:-1, :-1] for i in known]
    else:  # what the photos looked at say, for all pixels of a class
        written = [_scaled(evidence.written[i], totals.pixels[i][:-1].sum(1)) for i in known]
    free = [evidence.free[i] for i in known]
    pairs = find_pairs(space, names, pixels, written, free)
    crops = {
        ((known.index(d), c, u), k): v for ((d, c, u), k), v in evidence.crops.items() if d in known
    }
    page = Page([parts[i].source.label_space for i in known], space, crops)
    sections = [page.pair(number, pair) for number, pair in enumerate(pairs)]  # their crops first
    bare = bare_links(space, names, crops)
    body = [
        _head(job, names, totals, evidence),
        _overview(pairs, page),
        _splits(space, names),
        _bare(bare, page) if evidence.photos else "",
        _alone(space, names, page),
        _beside(space, names),
        "<h2>Pairs, most pixels first</h2>",
        *sections,
    ]
    text = PAGE.format(
        title=html.escape(f"Where the datasets of {job.output.resolve().name} disagree"),
        style=STYLE + _STYLE,
        body="\n".join(part for part in body if part),
        script=_SCRIPT % json.dumps(page.pictures),
    )
    doubts = sum(len(pair.doubts) for pair in pairs)
    return Report(text, len(pairs), doubts, len(page.pictures), page.dropped, len(bare))


def _scaled(counts: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    total = np.maximum(counts.sum(1, keepdims=True), 1)
    return np.asarray(np.rint(counts / total * pixels[:, None]), np.int64)


def _head(job: HarmonizeJob, names: Sequence[str], totals: Totals, evidence: Evidence) -> str:
    written = sum(int(p[:, :-1].sum()) for p in totals.pixels)
    facts = [
        ("datasets", ", ".join(names)),
        ("photos", str(len(job.photos))),
        ("written in", f"{job.labeller.target.name}, {len(job.labeller.target.names)} labels"),
        ("pixels with a label", f"{written:,}"),
        ("photos looked at for this page", f"{evidence.photos} training photos"),
        ("made by", f"unilabel {__version__}, {job.settings['weights']['file']}"),
    ]
    rows = [(f"<b>{html.escape(k)}</b>", html.escape(v)) for k, v in facts]
    return (
        table(("", ""), rows)
        + "<p>Every labelled pixel keeps its class. Which of the labels of that class it got is "
        "the model's opinion; this page shows where that matters. <b>Agree</b>: people drew the "
        "class, and the model reads it without being told. <b>Disagree</b>: it would have read "
        "another class there, so the label is the best of those that the drawn class allows.</p>"
        + ("" if evidence.photos else _NO_PHOTOS)
    )


def _overview(pairs: Sequence[Pair], page: Page) -> str:
    rows = []
    for number, pair in enumerate(pairs):
        for text in pair.doubts:
            ends = f"{page.name(pair.one)} and {page.name(pair.two)}"
            rows.append(
                (f'<a href="#pair{number}">{ends}</a>', html.escape(text), f"{pair.stake:,}")
            )
    if not rows:
        return "<h2>Look here first</h2><p>Nothing stands out.</p>"
    listing = table(("pair", "what stands out", "pixels concerned"), rows, (2,))
    return f"<h2>Look here first</h2>{listing}"


def _splits(space: UnifiedLabelSpace, names: Sequence[str]) -> str:
    texts = split_classes(space, names)
    if not texts:
        return ""
    items = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
    return f"<h2>Classes of many labels</h2><ul>{items}</ul>"


def bare_links(
    space: UnifiedLabelSpace, names: Sequence[str], crops: Mapping[Key, Sequence[Crop]]
) -> list[Link]:
    """Links of the datasets (in order of ``names``) of which there is no crop at all.

    Those by texts are left out: they never claimed that the photos show them.
    """
    links = [
        (index, int(column), label)
        for index, name in enumerate(names)
        for label, column in enumerate(space.mapping.class_of(name).tolist())
        if column >= 0 and space.links[label, name, int(column)].source != "text"
    ]
    return [link for link in links if not (crops.get((link, True)) or crops.get((link, False)))]


def _bare(links: Sequence[Link], page: Page) -> str:
    if not links:
        return ""
    texts = [
        f"{page.datasets[index].class_names[row]} ({page.datasets[index].name}) and the label "
        f"{page.space.names[label]}"
        for index, row, label in links
    ]
    return (
        "<h2>Links without a picture</h2><p>On the photos looked at they carry no region of some "
        f"size: they may be wrong.</p><p>{html.escape('; '.join(texts))}</p>"
    )


def _beside(space: UnifiedLabelSpace, names: Sequence[str]) -> str:
    """Related classes that no label joins: harmonising keeps them apart."""
    listing = related_beside(space, {name: name for name in names})
    if not listing:
        return ""
    return (
        "<h2>Related, but kept apart</h2><p>Names, dictionary or descriptions say so. Where one "
        "label should hold both, link them in the demo's Review tab.</p>" + listing
    )


def _alone(space: UnifiedLabelSpace, names: Sequence[str], page: Page) -> str:
    """Labels of one dataset alone, which are in no pair."""
    items, pictures = [], []
    for index, name in enumerate(names):
        own = space.mapping.class_of(name)
        others = [space.mapping.class_of(n) >= 0 for n in names if n != name]
        alone = (own >= 0) & ~torch.stack([*others, torch.zeros_like(own, dtype=torch.bool)]).any(0)
        labels = alone.nonzero().flatten().tolist()
        if labels:
            classes = space.label_spaces.get(name).class_names
            texts = [f"{space.names[i]} ({classes[int(own[i])]})" for i in labels]
            items.append(f"<li>{html.escape(name)}: {html.escape(', '.join(texts))}</li>")
            pictures += [page.link((index, int(own[i]), i)) for i in labels]
    if not items:
        return ""
    return (
        "<h2>Labels of one dataset alone</h2><p>No other dataset that was harmonised is linked to "
        "them, so they are in no pair below. Where another one shows the same thing, a link is "
        f"missing.</p><ul>{''.join(items)}</ul><details class='pair'><summary>Their pictures"
        f"</summary><div class='links'>{''.join(pictures)}</div></details>"
    )
