"""The conflict report: pairs by hand, and the page of a whole folder."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("detectron2")

from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet, default_color
from unilabel.core.synthetic import write_toy_world
from unilabel.core.typed_relations import TypedRelation
from unilabel.core.unified_space import Link, UnifiedLabelSpace
from unilabel.data.folders import folder_source
from unilabel.data.sources import Sample
from unilabel.harmonize import report_page as page_module
from unilabel.harmonize.conflicts import find_pairs, split_classes
from unilabel.harmonize.evidence import CROPS, PhotoChooser, collect
from unilabel.harmonize.photos import Photo
from unilabel.harmonize.report import make_report, write_report
from unilabel.harmonize.setup import prepare
from unilabel.harmonize.summary import total_of
from unilabel.predictor import build_predictor

pytestmark = pytest.mark.d2


def two_datasets() -> UnifiedLabelSpace:
    """Labels 0 road, 1 marking, 2 bag of one, 3 bag of two; road of "one" holds 0 and 1."""
    names = {"one": ("road", "bag"), "two": ("street", "marking", "Bag")}
    spaces = LabelSpaceSet(
        LabelSpace(n, c, tuple(map(default_color, range(len(c))))) for n, c in names.items()
    )
    one = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 0]])
    two = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]])
    return UnifiedLabelSpace.from_mapping(LabelMapping(spaces, {"one": one, "two": two}))


def test_pairs_by_hand() -> None:
    written = [np.array([[9000, 10, 0, 0], [0, 0, 700, 0]]), np.array([[800, 0, 0, 0]] * 3)]
    written[1] = np.array([[800, 0, 0, 0], [0, 600, 0, 0], [0, 0, 0, 50]])
    free = [np.array([[4000, 900, 100, 0], [0, 0, 600, 0]]), np.array([[700, 50, 0, 50]] * 3)]
    pixels = [w.sum(1) for w in written]
    pairs = find_pairs(two_datasets(), ["one", "two"], pixels, written, free)
    told = [(p.one.name, p.relation, p.two.name, p.labels, p.stake) for p in pairs]
    assert told == [
        ("road", "superset", "street", (0,), 9800),
        ("bag", "none", "Bag", (), 750),
        ("road", "superset", "marking", (1,), 610),
    ]
    assert pairs[0].one.read == pytest.approx(0.8)
    assert pairs[0].doubts == []
    assert pairs[1].doubts == ["the same name, but no label in common"]
    assert pairs[2].doubts == [
        "the link of road in one to the label 'marking' carries 10 of 9010 pixels"
    ]
    space = two_datasets()
    by_text = replace(space, links={**space.links, (1, "one", 0): Link("text", 0.8)})
    assert find_pairs(by_text, ["one", "two"], pixels, written, free)[2].doubts == []
    free[1][1] = [100, 100, 0, 600]
    again = find_pairs(two_datasets(), ["one", "two"], pixels, written, free)[2]
    assert again.doubts[0] == "the model reads only 25 % of marking in two as the other class"


def test_a_class_of_many_labels() -> None:
    space = LabelSpaceSet([LabelSpace("a", ("all", "x"), ((1, 2, 3), (4, 5, 6)))])
    matrix = torch.tensor([[1, 0]] * 6 + [[0, 1]])
    unified = UnifiedLabelSpace.from_mapping(LabelMapping(space, {"a": matrix}))
    assert split_classes(unified, ["a"]) == ["all in a is split over 6 labels"]


def test_photos_are_chosen_for_every_class_and_label() -> None:
    chooser = PhotoChooser()
    for number in range(40):
        pairs = [[0, number % 5, 100 + number, 0], [1, 3, 5, 0]]
        photo = Photo(0, "train" if number < 30 else "val", f"p{number}", Sample("", ""))
        chooser.add(number, photo, {"pairs": pairs}, unified=True)
    chosen = chooser.chosen()
    assert max(chosen) == 29
    for label in range(5):
        assert 25 + label in chosen


@pytest.fixture(scope="module")
def job(toy_weights, tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    write_toy_world(root, 3, 3, 1)
    predictor = build_predictor(toy_weights)
    names = predictor.label_space.label_spaces.names
    sources = [folder_source(str(root / name)) for name in names]
    job = prepare(predictor, toy_weights, sources, root / "merged")
    job.start(resume=False)
    job.run(1)
    return job


@pytest.fixture(scope="module")
def totals(job):
    return total_of(job.records(), job.labeller.parts, job.labeller.target)


def crops_of(page: str) -> dict[str, str]:
    return json.loads(re.search(r"const crops = (\{.*?\});", page).group(1))


def test_labels_of_one_dataset_alone_are_listed(job, totals) -> None:
    """They are in no pair, so the page would not show them at all."""
    space = job.labeller.predictor.label_space
    evidence = collect(job.labeller, [], workers=1)
    page = make_report(job, space, totals, evidence).page
    assert "There are no crops on this page" in page
    names = [part.source.name for part in job.labeller.parts]
    linked = torch.stack([space.mapping.class_of(n) >= 0 for n in names]).sum(0)
    alone = [space.names[i] for i in (linked == 1).nonzero().flatten().tolist()]
    part = page.partition("<h2>Labels of one dataset alone</h2>")[2].partition("</ul>")[0]
    assert bool(alone) == bool(part)
    listed = set(re.findall(r"([^:,>]+) \([^)]*\)", part))
    assert {name.strip() for name in listed} == set(alone)


def test_related_classes_without_a_shared_label_are_listed(job, totals) -> None:
    plain = job.labeller.predictor.label_space
    evidence = collect(job.labeller, [], workers=1)
    title = "<h2>Related, but kept apart</h2>"
    assert title not in make_report(job, plain, totals, evidence).page
    first, second = plain.label_spaces.names[:2]
    linked = plain.mapping[first].float().T @ plain.mapping[second].float()
    one, two = (linked == 0).nonzero()[0].tolist()
    ends = [
        (space.name, space.class_names[row])
        for space, row in zip(plain.label_spaces, (one, two), strict=False)
    ]
    space = replace(plain, relations=(TypedRelation(*ends, "overlap", source="human"),))
    part = make_report(job, space, totals, evidence).page.partition(title)[2]
    assert "1 pairs of classes are related" in part
    row = part.partition("<tbody>")[2].partition("</tbody>")[0]
    assert f"<td>{ends[0][1]} " in row
    assert "<td>overlaps with</td>" in row
    assert f"<td>{ends[1][1]} " in row


def test_the_page(job, totals, monkeypatch) -> None:
    report = write_report(job, totals, workers=1)
    page = (job.output / "report.html").read_text(encoding="utf-8")
    assert page == report.page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    crops = crops_of(page)
    assert len(crops) == report.crops > 100
    used = set(re.findall(r'data-crop="([^"]+)"', page))
    assert used == set(crops)
    for data in list(crops.values())[:5]:
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert (image.format, image.size) == ("JPEG", (112, 112))
    assert report.dropped == 0
    monkeypatch.setattr(page_module, "MOST_BYTES", 40_000)
    small = write_report(job, totals, workers=1)
    assert small.dropped > 0
    assert sum(map(len, crops_of(small.page).values())) <= 40_000
    # the pairs that concern most pixels keep theirs
    assert set(list(crops)[: len(crops_of(small.page))]) == set(crops_of(small.page))


def test_evidence_is_what_it_says(job) -> None:
    """Each crop against the label file and the label space, read here."""
    photos = [p for p in job.photos if p.split == "train"]
    evidence = collect(job.labeller, photos, workers=1)
    space = job.labeller.predictor.label_space
    by_name = {p.name: p for p in photos}
    both = {True: 0, False: 0}
    for ((dataset, row, label), agree), crops in evidence.crops.items():
        part = job.labeller.parts[dataset]
        class_of = space.mapping.class_of(part.source.name)
        assert class_of[label] == row
        assert len(crops) <= CROPS
        assert [c.score for c in crops] == sorted((c.score for c in crops), reverse=True)
        for crop in crops:
            both[agree] += 1
            assert crop.drawn == row
            assert (class_of[crop.read] == row) == agree
            assert (crop.read == label) or not agree
            drawn = part.source.decode_label(by_name[crop.photo].sample.label)
            assert (drawn == row).any()
    assert both[True] > 5  # the weights are random
    assert both[False] > 20
    for counts, written in zip(evidence.free, evidence.written, strict=True):
        assert (counts.sum(1) == written.sum(1)).all()


def test_every_link_has_its_crops(job, totals) -> None:
    """On the page, in a pair or among the labels alone; those without any are named."""
    space = job.labeller.predictor.label_space
    evidence = collect(job.labeller, job.photos, workers=1)
    first = next(key for key in evidence.crops if key[1])[0]
    for agree in (True, False):
        evidence.crops.pop((first, agree), None)
    report = make_report(job, space, totals, evidence)
    names = [part.source.name for part in job.labeller.parts]
    links = {
        (i, int(column), label)
        for i, name in enumerate(names)
        for label, column in enumerate(space.mapping.class_of(name).tolist())
        if column >= 0
    }
    shown = {tuple(map(int, key.split(".")[:3])) for key in crops_of(report.page)}
    assert shown <= links
    assert report.bare == len(links - shown) < len(links) / 2
    assert first in links - shown
    part = report.page.partition("<h2>Links without a picture</h2>")[2].partition("<h2>")[0]
    assert part.count("and the label") == report.bare
    index, row, _ = first
    classes = job.labeller.parts[index].source.label_space.class_names
    assert f"{classes[row]} ({names[index]}) and the label" in part


def test_links_by_texts_need_no_picture(job, totals) -> None:
    space = job.labeller.predictor.label_space
    evidence = collect(job.labeller, job.photos, workers=1)
    evidence.crops.clear()
    assert make_report(job, space, totals, evidence).bare == len(space.links)
    links = {key: Link("text", link.weight) for key, link in space.links.items()}
    assert make_report(job, replace(space, links=links), totals, evidence).bare == 0


def test_another_target_has_the_same_report_form(job, totals) -> None:
    evidence = collect(job.labeller, job.photos[:3], workers=1)
    space = job.labeller.predictor.label_space
    report = make_report(job, space, totals, evidence)
    assert report.pairs > 50
    assert "is part of" in report.page
