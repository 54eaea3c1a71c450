"""Old answers of an extended head are those of before, bit by bit, on random heads and photos."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("detectron2")

from tiny_model import CLASSES, DIM, MAPPING, tiny_model

from unilabel.adding.extend import extended_head, extended_model, extended_space, started_rows
from unilabel.adding.fit import Reading
from unilabel.adding.relations import NewLabel, Relations
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, default_color
from unilabel.core.reading import read_labels
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.modeling.heads import SILENT

pytestmark = pytest.mark.d2
NODES = len(MAPPING)


def random_relations(generator: torch.Generator, classes: int) -> Relations:
    links = torch.zeros(NODES, classes, dtype=torch.bool)
    for row in range(NODES):
        column = int(torch.randint(-1, classes, (), generator=generator))
        if column >= 0:
            links[row, column] = True
    new = [
        NewLabel(c, int(torch.randint(NODES, (), generator=generator)), part, True)
        for c in range(classes)
        for part in [bool(torch.rand((), generator=generator) < 0.5)]
        if not bool(links[:, c].any()) or part
    ]
    share = torch.rand(classes, NODES, generator=generator)
    return Relations(links, tuple(new), share.T, share, share, share.T, torch.ones(classes))


@pytest.mark.parametrize("mode", ["probability_sum", "logit_sum"])
@pytest.mark.parametrize("seed", range(6))
def test_old_answers(mode, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    model = tiny_model(mode, seed).eval()
    spaces = model.label_spaces
    space = UnifiedLabelSpace.from_mapping(LabelMapping.from_stacked(spaces, MAPPING))
    for name, classes in (("mine", 3), ("more", 2)):  # the second is added to what has one added
        count = len(space.names)
        relations = random_relations(generator, classes)
        if count > NODES:
            padding = torch.zeros(count - NODES, classes, dtype=torch.bool)
            more = torch.zeros(classes, count - NODES)
            relations = Relations(
                torch.cat([relations.links, padding]), relations.new,
                torch.cat([relations.score, more.T]), torch.cat([relations.forward, more], 1),
                torch.cat([relations.backward, more], 1), torch.cat([relations.text, more.T]),
                relations.pixels,
            )  # fmt: skip
        colors = tuple(map(default_color, range(classes)))
        new = LabelSpace(name, tuple(f"{name}{c}" for c in range(classes)), colors)
        extended = extended_space(space, new, relations)
        head = model.uni_head
        rows = started_rows(head.label_embedding.detach(), relations.new)
        rows[count:] += torch.randn(len(relations.new), DIM, generator=generator)
        wild = rows + 3 * torch.randn(*rows.shape, generator=generator)
        bias = 3 * torch.randn(len(rows), generator=generator)
        reading = Reading(wild, bias, relations.all_links().any(1))
        head = extended_head(head, rows, extended.mapping.stacked(), reading)
        after = extended_model(model, head, extended.label_spaces)
        images = torch.randint(0, 256, (2, 3, 37, 50), generator=generator)
        embedding, grid = model.embed(images), model.grid((37, 50))
        for dataset in spaces.names:
            one, two = (
                read_labels(*_scores(m, embedding, dataset, grid), confidence=True)
                for m in (model, after)
            )
            assert torch.equal(one.labels, two.labels)
            assert torch.allclose(one.confidence, two.confidence, atol=1e-3)
        answer = read_labels(*_scores(after, embedding, name, grid)).labels
        assert int(answer.max()) < classes
        assert after.uni_head.dataset_bias[: len(spaces), count:].eq(SILENT).all()
        assert torch.equal(after.uni_head.label_embedding[:count], model.uni_head.label_embedding)
        model, space, spaces = after, extended, extended.label_spaces


def _scores(model, embedding, dataset, grid):
    scores, mapping = model.scores(embedding, dataset)
    return scores, grid, (37, 50), mapping


def test_a_person_can_wake_a_silent_label() -> None:
    """Linked to a class of an old dataset in the demo, a new label takes part there."""
    model = tiny_model().eval()
    head = model.uni_head
    bias = head.dataset_bias.detach().clone()
    bias[0, 1] = SILENT
    head.set_label_space(head.label_embedding, MAPPING, bias)
    kept, links = head.reading(0)
    assert not bool(links[1].any())
    assert torch.equal(links[[0, 2, 3]], MAPPING[[0, 2, 3], :2])
    assert torch.equal(kept, bias[0])
    edited = MAPPING[:, :2].clone()
    edited[1] = torch.tensor([False, True])
    woken, links = head.reading(0, edited)
    assert woken[1] == 0
    assert bool(links[1, 1])
    assert list(CLASSES) == model.label_spaces.names
