"""benchmarks/pair_score.py: simulated graphs, messages and the table, on cases worked by hand."""

from __future__ import annotations

import importlib
import json
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2")

from detectron2.config import CfgNode, get_cfg

from unilabel.config import add_unilabel_config
from unilabel.core.errors import UniLabelError
from unilabel.engine.pixel_cache import PixelCache

pytestmark = pytest.mark.d2
ROOT = Path(__file__).parents[2]
PARTS = ("kept_pixels", "simulated_graphs", "pair_network", "pair_cases", "pair_score")


@pytest.fixture(scope="module")
def parts() -> Iterator[Namespace]:
    """The modules of the benchmark, which import each other by their bare names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield Namespace(**{name: importlib.import_module(name) for name in PARTS})


@pytest.fixture(scope="module")
def sim(parts: Namespace) -> ModuleType:
    return parts.simulated_graphs


@pytest.fixture(scope="module")
def net(parts: Namespace) -> ModuleType:
    return parts.pair_network


@pytest.fixture(scope="module")
def score(parts: Namespace) -> ModuleType:
    return parts.pair_score


@pytest.fixture(scope="module")
def cfg() -> CfgNode:
    cfg = get_cfg()
    add_unilabel_config(cfg)
    return cfg


def groups(*sets: set[int]) -> list[frozenset[int]]:
    return [frozenset(s) for s in sets]


def test_types_after_merges_and_drops(sim: ModuleType) -> None:
    fine = groups({0}, {1}, {2}, {3})
    coarse = groups({0, 1}, {2})  # merged 0 and 1, left 3 out
    crossing = groups({1, 2, 4})
    names = [
        ["-" if t == sim.SAME_SET else sim.TYPES[t] for t in row]
        for row in sim.relation_types([fine, coarse, crossing]).tolist()
    ]
    assert [row[4:] for row in names[:4]] == [
        ["part", "none", "none"],
        ["part", "none", "part"],
        ["none", "equal", "part"],
        ["none", "none", "none"],
    ]
    assert names[4] == ["wider", "wider", "none", "none", "-", "-", "overlap"]
    assert names[6] == ["none", "wider", "wider", "none", "overlap", "wider", "-"]


def test_atoms_that_look_alike_are_merged_first(sim: ModuleType) -> None:
    means = torch.tensor([[0.0], [10.0], [1.0], [11.0], [99.0]])
    rng = np.random.default_rng(0)
    merged = sim.merge_atoms([0, 1, 2, 3], means, 2, 0.0, rng)
    assert merged == groups({0, 2}, {1, 3})
    assert sim.merge_atoms([3, 1], means, 5, 0.0, rng) == groups({3}, {1})
    assert sim.merge_atoms([0, 1, 4], means, 1, 0.0, rng) == groups({0, 1, 4})


def test_made_up_classes_do_not_share_atoms(sim: ModuleType) -> None:
    means = torch.arange(9.0)[:, None]
    seen = set()
    for seed in range(60):
        drawn = sim.draw_groups([0, 2, 3, 5, 7, 8], means, np.random.default_rng(seed))
        held = [atom for group in drawn for atom in group]
        assert len(held) == len(set(held))
        assert set(held) <= {0, 2, 3, 5, 7, 8}
        assert len(drawn) >= 2
        assert all(drawn)
        seen |= {("dropped", len(held) < 6), ("merged", len(drawn) < len(held))}
    assert len(seen) == 4  # each happens, and each does not


def test_pixels_of_dropped_atoms_have_no_label(sim: ModuleType) -> None:
    labels = torch.tensor([0, 1, 2, 3, 1])
    assert sim.relabel(labels, groups({1, 3}, {0}), 4).tolist() == [1, 0, -1, 0, 0]


def test_looks(sim: ModuleType) -> None:
    pixels, labels = torch.randn(40, 3), torch.arange(40) % 4
    means = torch.randn(4, 3)
    same = sim.other_look(pixels, labels, means, np.random.default_rng(0), 0.0)
    torch.testing.assert_close(same, pixels)
    other = sim.other_look(pixels, labels, means, np.random.default_rng(0), 0.8)
    assert (other - pixels).abs().mean() > 0.05


def test_evidence_of_both_directions(sim: ModuleType) -> None:
    cross = torch.tensor([[0.9, 0.1, 0.3, 0.7], [0.2, 0.8, 0.6, 0.4]] * 2)
    found = sim.pair_features(cross, torch.eye(4), [2, 2])
    swapped = found.transpose(0, 1)
    torch.testing.assert_close(found[..., :4], swapped[..., 4:8])
    torch.testing.assert_close(found[..., 8:], swapped[..., 8:])
    assert found[0, 2, 0] == pytest.approx(np.log(0.31))
    assert found[0, 2, 1] == pytest.approx(np.log(0.3 / 0.3 + 0.01))  # of label 2 on its own
    assert found[0, :, 2].tolist() == [1, 0.5, 0.5, 1]  # ranks within each dataset


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_texts_are_drawn_from_their_side(sim: ModuleType, shared: float) -> None:
    draws = sim.TextDraws(torch.tensor([0.7, 0.9, 0.8]), torch.tensor([0.3, 0.1]), shared)
    types = sim.relation_types([groups({0}, {1}), groups({0, 1})])
    types = torch.where(types == sim.SAME_SET, sim.TYPES.index("none"), types).repeat(9, 9)
    types = torch.minimum(types, types.T)
    drawn = draws.draw(types, np.random.default_rng(1))
    none = types == sim.TYPES.index("none")
    torch.testing.assert_close(drawn, drawn.T)
    assert set(drawn[none].tolist()) == set(draws.unrelated.tolist())
    assert set(drawn[~none].tolist()) == set(draws.related.tolist())


def clustered(classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4800) % classes
    centres = 4 * torch.randn(classes, 8, generator=generator)
    return centres[labels] + torch.randn(4800, 8, generator=generator), labels


def test_a_graph_of_clear_classes(parts: Namespace, cfg: CfgNode) -> None:
    sim = parts.simulated_graphs
    pixels, labels = clustered(8)
    texts = sim.TextDraws(torch.tensor([0.9]), torch.tensor([0.1]))
    graphs = [
        sim.simulate(cfg, pixels, labels, texts, np.random.default_rng(5), look=0.0)
        for _ in range(2)
    ]
    one = graphs[0]
    assert torch.equal(one.features, graphs[1].features)
    assert one.features.shape == (sum(one.sizes), sum(one.sizes), 10)
    assert torch.equal(one.types == sim.SAME_SET, ~one.apart)
    equal = one.types == sim.TYPES.index("equal")
    none = one.types == sim.TYPES.index("none")
    assert equal.any()
    assert none.any()
    assert one.visual[equal].mean() > one.visual[none].mean() + 0.5
    assert one.text[none].unique().tolist() == [pytest.approx(0.1)]


def test_messages_go_through_labels_of_third_datasets(net: ModuleType) -> None:
    dataset = torch.tensor([0, 1, 2, 2])  # a, b, c, d
    apart = dataset[:, None] != dataset[None]
    left, right = torch.zeros(4, 4, 1), torch.zeros(4, 4, 1)
    left[0, 2], right[2, 1] = 0.5, 0.8  # a - c - b
    left[0, 3], right[3, 1] = 0.1, 0.3  # a - d - b
    left[2, 3], right[3, 2], left[0, 0] = 9.0, 9.0, 9.0  # of one dataset: not a way
    message = net.through_third_labels(left, right, apart)
    assert message[0, 1, 0] == pytest.approx(0.5 * 0.8 + 0.1 * 0.3)
    assert message[1, 0, 0] == 0
    assert message[0, 2, 0] == 0  # only by way of d, which is of the dataset of c


def chain_graph(sim: ModuleType, rng: np.random.Generator) -> object:
    """Three datasets of three labels; nothing is seen between the first and the second."""
    sets = [[frozenset([int(atom)]) for atom in rng.permutation(3)] for _ in range(3)]
    types = sim.relation_types(sets)
    seen = (types == sim.TYPES.index("equal")).float()
    seen[:3, 3:6] = seen[3:6, :3] = 0.5
    return sim.PairGraph(seen[..., None], seen, seen, [3, 3, 3], types)


def test_messages_find_what_a_pair_does_not_show(sim: ModuleType, net: ModuleType) -> None:
    rng = np.random.default_rng(0)
    graphs = [chain_graph(sim, rng) for _ in range(12)]
    other = chain_graph(sim, rng)
    hidden = other.types[:3, 3:6] == sim.TYPES.index("equal")
    for rounds, found in ((0, False), (1, True)):
        network = net.train(graphs, text=False, rounds=rounds, epochs=25, seed=0)
        learned = net.learned_score(network, other, text=False)
        torch.testing.assert_close(learned, learned.T)
        block = learned[:3, 3:6]
        assert bool(((block > 0.5) == hidden).all()) == found
        assert bool(((learned > 0.5) == (other.types == 0))[6:, :6].all())


@pytest.mark.parametrize("rounds", [0, 2])
def test_the_order_of_labels_does_not_matter(net: ModuleType, rounds: int) -> None:
    torch.manual_seed(0)
    network = net.PairNetwork(3, rounds)
    features = torch.randn(6, 6, 3)
    dataset = torch.tensor([0, 0, 1, 1, 2, 2])
    order = torch.tensor([4, 5, 0, 1, 3, 2])
    apart = dataset[:, None] != dataset[None]
    plain = network(features, apart, 3)
    moved = network(features[order][:, order], apart[order][:, order], 3)
    torch.testing.assert_close(moved, plain[order][:, order])


def test_pairs_that_share_a_unified_label_are_counted(parts: Namespace) -> None:
    sim = parts.simulated_graphs
    types = sim.relation_types([groups({0}, {1, 2}), groups({0, 1}, {2}), groups({3})])
    graph = sim.PairGraph(torch.zeros(5, 5, 1), types.float(), types.float(), [2, 2, 1], types)
    case = parts.pair_cases.Case.simulated(graph)
    assert int(case.related.sum()) == 4
    assert not case.scored[1, 2]  # overlap: neither right nor wrong
    chances = torch.zeros(5, 5)
    for a, b, value in ((0, 2, 0.9), (1, 2, 0.8), (1, 4, 0.6)):
        chances[a, b] = chances[b, a] = value
    hits = parts.pair_score.hits
    assert hits(case, chances, 0.7) == parts.pair_score.Hits(1, 1, 2)
    assert hits(case, chances, 0.5) == parts.pair_score.Hits(1, 2, 2)
    judged = parts.pair_score.judge([case], [chances], 0.5)
    assert judged["f1"] == pytest.approx(0.5)
    assert judged["best"] == pytest.approx(2 / 3)
    assert 0.6 < judged["best_threshold"] <= 0.9


def test_each_dataset_is_held_out_with_one_seed(parts: Namespace) -> None:
    names = [*"abcdefghij", "c"]
    held = [parts.pair_cases.held_out_names(names, seed) for seed in (0, 1, 2)]
    assert sorted(name for some in held for name in some) == sorted(set(names))
    assert parts.pair_cases.held_out_names(names, 3) == held[0]


def test_networks_are_needed_for_every_seed(score: ModuleType) -> None:
    found = score.read_networks(["a=x/stem_0", "b=y/stem_0/", "a=x/stem_12", "b=y/stem_12"])
    assert found[12] == {"a": Path("x/stem_12"), "b": Path("y/stem_12")}
    assert found[0]["b"] == Path("y/stem_0")
    with pytest.raises(UniLabelError, match="seed 1 has no b"):
        score.read_networks(["a=x/stem_0", "b=y/stem_0", "a=x/stem_1"])
    with pytest.raises(UniLabelError, match="NAME=FOLDER_SEED"):
        score.read_networks(["x/stem_0"])


def write_cell(folder: Path, method: str, seed: int, value: float) -> None:
    settings = {"graphs": 7, "held_out": 3, "epochs": 2, "lists": ["x"]}
    scores = {c: {"f1": value, "best": value + 0.1, "best_threshold": 0.4} for c in ("sim", "four")}
    cell = {"method": method, "seed": seed, "settings": settings, "cpu_seconds": {"scores": 30.0}}
    cell["text"] = {"no": scores, "yes": {"four": {"f1": 0.5, "best": 0.5}, "sim": scores["sim"]}}
    (folder / f"{method}_{seed}.json").write_text(json.dumps(cell))


def test_table_of_finished_cells(
    score: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for seed in (0, 1):
        write_cell(tmp_path, "fused", seed, 0.4)
        write_cell(tmp_path, "messages_1", seed, 0.5 + 0.2 * seed)
    for seed in (0, 1):
        seconds = {"pixels of four": 50.0, "texts": 20.0 - seed}  # the texts are made once
        prepared = json.dumps({"seed": seed, "cpu_seconds": seconds})
        (tmp_path / f"prepared_{seed}.json").write_text(prepared)
    assert score.main(["--table-only", "--cells", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| score | text | seeds | sim: F1 | sim: best | four: F1 | four: best |"
    assert lines[2].startswith("| fused score | no | 0, 1 | 0.400 ± 0.000 | 0.500")
    assert lines[4].startswith("| learned, messages of one round | no | 0, 1 | 0.600 ± 0.141 | 0.7")
    assert lines[5].endswith("| 0.500 ± 0.000 | 0.500 ± 0.000 |")
    assert len([line for line in lines if line.startswith("|")]) == 6
    assert lines[-1].startswith("7 graphs to learn from and 3 held out for each seed. 4 minutes of")


def test_cells_of_other_settings_are_not_mixed(
    score: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_cell(tmp_path, "fused", 0, 0.4)
    call = ["--networks", "a=x/stem_0", "--list-relations", "r", "--cache", str(tmp_path)]
    assert score.main([*call, "--cells", str(tmp_path)]) == 2
    assert "fused_0.json was made with" in capsys.readouterr().err


def test_no_result(score: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert score.main(["--table-only", "--cells", str(tmp_path)]) == 2
    assert "no finished result" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        score.main(["--networks", "a=x/stem_0"])


def test_pixels_are_made_once(parts: Namespace, tmp_path: Path) -> None:
    tools = parts.kept_pixels
    cache = PixelCache([torch.rand(5, 3).half().float()], [torch.arange(5)])
    file, calls = tmp_path / "below" / "pixels.pt", []

    def make() -> dict:
        calls.append(1)
        return tools.plain(cache)

    first, second = (tools.cached(tools.kept(file, make)) for _ in range(2))
    assert calls == [1]
    assert torch.load(file, weights_only=True)["seconds"] >= 0
    assert [p.name for p in file.parent.iterdir()] == ["pixels.pt"]
    for found in (first, second):
        assert torch.equal(found.embeddings[0], cache.embeddings[0])
        assert torch.equal(found.labels[0], cache.labels[0])


def test_the_newest_weights_of_a_run(parts: Namespace, tmp_path: Path) -> None:
    weights_of = parts.kept_pixels.weights_of
    with pytest.raises(UniLabelError, match=r"holds no model_final\.pth and no checkpoint"):
        weights_of(tmp_path)
    entries = [{"file": "model_0000100.pth"}, {"file": "model_0000200.pth"}]
    (tmp_path / "last_checkpoint.json").write_text(json.dumps({"checkpoints": entries}))
    assert weights_of(tmp_path) == tmp_path / "model_0000200.pth"
    (tmp_path / "model_final.pth").touch()
    assert weights_of(tmp_path) == tmp_path / "model_final.pth"
