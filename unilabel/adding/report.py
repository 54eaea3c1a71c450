"""What an addition believes, as one web page with crops of the photos for every link."""

from __future__ import annotations

import base64
import html
import os

from unilabel.adding.job import Added
from unilabel.adding.words import Belief, beliefs, lines
from unilabel.core.io import atomic_path
from unilabel.harmonize.evidence import Crop, Key, collect
from unilabel.harmonize.labelling import Labeller
from unilabel.harmonize.options import Options
from unilabel.harmonize.photos import Photo
from unilabel.harmonize.setup import parts_of
from unilabel.harmonize.target import Target
from unilabel.visual.page_parts import PAGE, STYLE, bar, class_mark, table

MOST_PHOTOS = 24  # that are looked at for crops
LEAST_SHARE = 0.05  # of the pixels of a class that an answer has to be named
BAR = 120  # pixels of a whole bar
_STYLE = """
.doubt { background: #fff4d6; border-radius: 4px; padding: 1px 6px; }
.crops { display: flex; flex-wrap: wrap; gap: 6px; margin: 4px 0 10px; }
.crops figure { width: 112px; } .crops figcaption { font-size: 11.5px; line-height: 1.25; }
.no figcaption { color: #a33; }
"""


def write_report(added: Added, path: str | os.PathLike[str]) -> None:
    """Look at the photos again, now with the extended model, and write the page."""
    text = make_report(added, crops_of(added))
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def crops_of(added: Added) -> dict[Key, list[Crop]]:
    """Crops where a class was drawn and a unified label is read, in agreement or not."""
    samples = added.photos.samples[:MOST_PHOTOS]
    if not samples:
        return {}
    options = Options()
    target = Target.of(added.space)
    parts = parts_of(added.space, [added.source], target, options)
    labeller = Labeller(added.predictor(), parts, target, options)
    photos = [Photo(0, "train", os.path.basename(s.image), s) for s in samples]
    return collect(labeller, photos, workers=1).crops


def make_report(added: Added, crops: dict[Key, list[Crop]]) -> str:
    """The page."""
    new, before = added.photos.label_space, added.base.space
    found = beliefs(added.learned, added.photos, before)
    told = lines(added.learned, added.photos, before)
    head = [line for line in told[1:] if not line.startswith(" ") and not line.endswith(":")]
    body = [
        f"<p class='quiet'>{html.escape(told[0])}; added to {html.escape(before_names(added))}</p>",
        *(f"<p>{html.escape(line)}</p>" for line in head),
        "<h2>What is believed</h2>",
        table(["class", "", "to look at"], [_row(added, belief) for belief in found]),
    ]
    for belief in found:
        mark = class_mark(new.class_names[belief.of_class], new.colors[belief.of_class])
        body.append(f"<h2>{mark}</h2>{_answers(added, belief.of_class)}")
        body.append(_crops(added, belief.of_class, crops))
    title = html.escape(f"{new.name} added to {added.base.weights.name}")
    return PAGE.format(title=title, style=STYLE + _STYLE, body="\n".join(body), script="")


def before_names(added: Added) -> str:
    """The datasets of the model before."""
    return ", ".join(added.base.space.label_spaces.names)


def _row(added: Added, belief: Belief) -> list[str]:
    new = added.photos.label_space
    mark = class_mark(new.class_names[belief.of_class], new.colors[belief.of_class])
    doubts = "<br>".join(f"<span class='doubt'>{html.escape(d)}</span>" for d in belief.doubts)
    return [mark, html.escape(belief.text), doubts]


def _answers(added: Added, column: int) -> str:
    """What the model before answers on the pixels of a class, and how alike the names are."""
    relations, before = added.learned.relations, added.base.space
    shares = relations.forward[column]
    rows = []
    for row in shares.argsort(descending=True).tolist():
        linked = bool(relations.links[row, column])
        if float(shares[row]) < LEAST_SHARE and not linked:
            continue
        rows.append(
            [
                class_mark(before.names[row], before.colors[row]),
                f"{bar(BAR * float(shares[row]))} {100 * float(shares[row]):.0f} %",
                f"{100 * float(relations.backward[column, row]):.0f} %",
                f"{float(relations.text[row, column]):.2f}",
                f"{float(relations.score[row, column]):.2f}" if linked else "",
            ]
        )
    if not rows:
        return "<p class='quiet'>no pixel, and no name is like it</p>"
    head = ["the model answered", "of this class", "of that answer", "names alike", "linked"]
    return table(head, rows, (2, 3, 4))


def _crops(added: Added, column: int, crops: dict[Key, list[Crop]]) -> str:
    names, parts = added.space.names, []
    labels = added.space.mapping[added.photos.label_space.name][:, column].nonzero().flatten()
    for label in labels.tolist():
        for agree in (True, False):
            figures = [_figure(crop, names) for crop in crops.get(((0, column, label), agree), [])]
            if figures:
                title = f"{names[label]}: " + ("found" if agree else "read as something else")
                kind = "" if agree else " no"
                shown = f"<div class='crops{kind}'>{''.join(figures)}</div>"
                parts.append(f"<h3>{html.escape(title)}</h3>{shown}")
    return "".join(parts)


def _figure(crop: Crop, names: tuple[str, ...]) -> str:
    data = base64.b64encode(crop.jpeg).decode("ascii")
    caption = f"{names[crop.read]}, {100 * crop.confidence:.0f} % sure"
    return (
        f'<figure><img alt="" src="data:image/jpeg;base64,{data}" '
        f'title="{html.escape(crop.photo)}"><figcaption>{html.escape(caption)}</figcaption></figure>'
    )
