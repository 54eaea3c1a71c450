"""The heads: shapes, the mapping in use, what is learned, what a checkpoint brings back."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("detectron2")

from unilabel.core.projection import dataset_logits
from unilabel.modeling.heads import MultiSegHead, UniSegHead

pytestmark = pytest.mark.d2

SIZES, DIM = [3, 2], 5
MAPPING = torch.tensor(
    [[1, 0, 0, 1, 0], [0, 1, 0, 0, 1], [0, 0, 1, 0, 0], [1, 0, 0, 0, 0]], dtype=torch.bool
)


def uni_head(mode: str = "probability_sum", bias: bool = True) -> UniSegHead:
    torch.manual_seed(0)
    head = UniSegHead(SIZES, 4, DIM, mode, bias)
    head.set_label_space(torch.randn(4, DIM), MAPPING, torch.randn(2, 4))
    return head


def pixels() -> torch.Tensor:
    return torch.randn(2, DIM, 3, 4, generator=torch.Generator().manual_seed(1))


def test_multi_head_is_one_linear_classifier_per_dataset() -> None:
    head = MultiSegHead(SIZES, DIM)
    assert [w.shape for w in head.weights] == [(3, DIM), (2, DIM)]
    answer = head(pixels(), 1)
    expected = torch.nn.functional.conv2d(pixels(), head.weights[1][:, :, None, None])
    assert torch.allclose(answer, expected, atol=1e-6)
    answer.sum().backward()
    assert head.weights[0].grad is None


def test_unified_logits_with_and_without_the_bias_of_a_dataset() -> None:
    head = uni_head()
    plain = head.unified_logits(pixels())
    assert plain.shape == (2, 4, 3, 4)
    assert float(plain[1, 2, 0, 3]) == pytest.approx(
        float(pixels()[1, :, 0, 3] @ head.label_embedding[2]), abs=1e-5
    )
    biased = head.unified_logits(pixels(), 1)
    assert torch.allclose(biased - plain, head.dataset_bias[1][:, None, None].expand_as(plain))


@pytest.mark.parametrize("dataset_id", [0, 1])
def test_summed_logits_go_through_the_mapping_of_the_dataset(dataset_id: int) -> None:
    head = uni_head("logit_sum")
    block = MAPPING.split(SIZES, dim=1)[dataset_id]
    assert torch.equal(head.dataset_mapping(dataset_id), block)
    unified = head.unified_logits(pixels(), dataset_id)
    expected = dataset_logits(unified, block, "logit_sum")
    found = head.summed_logits(pixels(), dataset_id)
    assert torch.allclose(found, expected, atol=1e-5)  # folded: another order of sums
    assert found.shape == (2, SIZES[dataset_id], 3, 4)
    other = block.roll(1, 0)
    again = head.summed_logits(pixels(), dataset_id, other)
    assert torch.allclose(again, dataset_logits(unified, other, "logit_sum"), atol=1e-5)


def test_bias_is_learned_only_if_used() -> None:
    assert uni_head(bias=True).dataset_bias.requires_grad
    assert not uni_head(bias=False).dataset_bias.requires_grad
    head = UniSegHead(SIZES, 4, DIM, "logit_sum", True)
    head.set_label_space(torch.ones(6, DIM), torch.zeros(6, 5).bool())
    assert head.num_unified == 6
    assert head.dataset_bias.shape == (2, 6)
    assert not head.dataset_bias.any()


def test_label_space_is_copied() -> None:
    embedding, mapping = torch.ones(4, DIM, requires_grad=True), MAPPING.clone()
    head = uni_head()
    head.set_label_space(embedding, mapping)
    mapping[0, 0] = False
    assert head.mapping[0, 0]
    assert head.label_embedding.is_leaf
    head.label_embedding.data.zero_()
    assert embedding.sum() == 4 * DIM


def test_link_table_follows_the_mapping() -> None:
    head = uni_head()
    table = head.link_table()
    assert head.link_table() is table  # made once
    assert table.node_class.tolist() == [[0, 1, 2, 0], [0, 1, -1, -1]]
    other = MAPPING.clone()
    other[3, 0] = False
    head.set_mapping(other)
    assert head.link_table().node_class.tolist()[0] == [0, 1, 2, -1]
    head.load_state_dict(uni_head().state_dict())
    assert head.link_table().node_class.tolist()[0] == [0, 1, 2, 0]


def test_state_comes_back_with_the_mapping() -> None:
    head, fresh = uni_head(), UniSegHead(SIZES, 4, DIM, "probability_sum", True)
    fresh.load_state_dict(head.state_dict())
    assert torch.equal(fresh.mapping, MAPPING)
    assert torch.equal(fresh.unified_logits(pixels(), 0), head.unified_logits(pixels(), 0))
    assert set(head.state_dict()) == {"label_embedding", "dataset_bias", "mapping"}
    with pytest.raises(RuntimeError, match="size mismatch"):
        UniSegHead(SIZES, 3, DIM, "probability_sum", True).load_state_dict(head.state_dict())


@pytest.mark.parametrize("mode", ["probability_sum", "logit_sum"])
def test_a_shift_is_part_of_the_classifiers_of_its_dataset_alone(mode: str) -> None:
    head, moved = uni_head(mode), uni_head(mode)
    shift = torch.zeros(2, 4, DIM)
    shift[1] = torch.randn(4, DIM)
    moved.set_shift(shift)
    assert torch.equal(moved.unified_logits(pixels()), head.unified_logits(pixels()))
    assert torch.equal(moved.unified_logits(pixels(), 0), head.unified_logits(pixels(), 0))
    own = moved.unified_logits(pixels(), 1) - head.unified_logits(pixels(), 1)
    assert torch.allclose(own, torch.einsum("bdhw,nd->bnhw", pixels(), shift[1]), atol=1e-5)
    block = MAPPING.split(SIZES, dim=1)[1]
    expected = dataset_logits(moved.unified_logits(pixels(), 1), block, "logit_sum")
    assert torch.allclose(moved.summed_logits(pixels(), 1), expected, atol=1e-5)


def test_another_label_space_has_no_shift_unless_it_brings_one() -> None:
    head = uni_head()
    head.set_shift(torch.ones(2, 4, DIM))
    assert "dataset_shift" in head.state_dict()
    head.set_label_space(torch.ones(4, DIM), MAPPING)
    assert head.dataset_shift is None
    assert "dataset_shift" not in head.state_dict()
