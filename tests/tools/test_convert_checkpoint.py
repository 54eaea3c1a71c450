from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from scripts import load_script
from torch import Tensor

pytest.importorskip("detectron2")

import timm

sys.path.append(str(Path(__file__).parents[1] / "d2"))  # the writers of miniature datasets

from miniature_datasets import PAPER_DATASETS, write_miniature

from unilabel.config import load_config
from unilabel.core.errors import UniLabelError
from unilabel.engine.checkpoint import load_file
from unilabel.engine.loading import load_model
from unilabel.engine.published import convert_release, read_state, split_release
from unilabel.engine.run import evaluate
from unilabel.modeling.meta_arch import UNIFIED
from unilabel.modeling.published_forward import published_logits
from unilabel.predictor import build_predictor

pytestmark = pytest.mark.d2
ROOT = Path(__file__).parents[2]
CLASSES = [19, 64, 37, 19, 26, 150, 133]
UNIFIED_LABELS = 231
SMALL, LARGE = "hrnet_w18_small", "hrnet_w48"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_script("tools/convert_checkpoint.py")


def filled(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Random weights whose activations neither vanish nor grow."""
    random = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in shapes.items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(100)
        elif key.endswith("running_var"):
            state[key] = 0.5 + torch.rand(shape, generator=random)
        elif len(shape) < 2:
            start = 1.0 if key.endswith("weight") else 0.0
            state[key] = start + 0.1 * torch.randn(shape, generator=random)
        else:
            fan_in = float(np.prod(shape[1:]))
            state[key] = torch.randn(shape, generator=random) * (1.0 / fan_in) ** 0.5
    return state


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    kinds = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{k}": (width,) for k in kinds}, f"{name}.num_batches_tracked": ()}


def linear(out: int, into: int) -> dict[str, tuple[int, ...]]:
    return {"weight": (out, into), "bias": (out,)}


def official_hrnet() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the authors' HRNet-W48, written from their description."""
    width = [48, 96, 192, 384]

    def conv(name: str, out: int, into: int, size: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.0.weight", (out, into, size, size)
        yield from norm(f"{name}.1", out).items()

    for i, into in ((1, 3), (2, 64)):
        yield f"conv{i}.weight", (64, into, 3, 3)
        yield from norm(f"bn{i}", 64).items()
    for block in range(4):
        sizes = [(64, 256 if block else 64, 1, 1), (64, 64, 3, 3), (256, 64, 1, 1)]
        for i, shape in enumerate(sizes, 1):
            yield f"layer1.{block}.conv{i}.weight", shape
            yield from norm(f"layer1.{block}.bn{i}", shape[0]).items()
    yield from conv("layer1.0.downsample", 256, 64, 1)
    yield from conv("transition1.0", 48, 256, 3)
    yield from conv("transition1.1.0", 96, 256, 3)
    yield from conv("transition2.2.0", 192, 96, 3)
    yield from conv("transition3.3.0", 384, 192, 3)
    for stage, modules in ((2, 1), (3, 4), (4, 3)):
        for name in (f"stage{stage}.{m}" for m in range(modules)):
            for i in range(stage):
                for block in (f"{name}.branches.{i}.{b}" for b in range(4)):
                    for k in (1, 2):
                        yield f"{block}.conv{k}.weight", (width[i], width[i], 3, 3)
                        yield from norm(f"{block}.bn{k}", width[i]).items()
                for j in range(stage):
                    layer = f"{name}.fuse_layers.{i}.{j}"
                    if j > i:
                        yield from conv(layer, width[i], width[j], 1)
                    for k in range(i - j):
                        out = width[i] if k == i - j - 1 else width[j]
                        yield from conv(f"{layer}.{k}", out, width[j], 3)


def small_hrnet() -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        net = timm.create_model(SMALL, features_only=True, feature_location="")
    return {k: tuple(v.shape) for k, v in net.state_dict().items()}


def graphs(seed: int = 3) -> list[Tensor]:
    """Links (C_i, N) as the authors store them: every class some labels, 14 labels unused."""
    random = torch.Generator().manual_seed(seed)
    found = []
    for classes in CLASSES:
        nodes = torch.randperm(UNIFIED_LABELS - 14, generator=random)
        classes_of = torch.cat(
            [torch.arange(classes), torch.randint(classes, (40,), generator=random)]
        )
        graph = torch.zeros(classes, UNIFIED_LABELS)
        graph[classes_of, nodes[: classes + 40]] = 1
        found.append(graph)
    return found


def release(backbone: dict[str, tuple[int, ...]], width: int, hidden: int) -> dict[str, Tensor]:
    """A state dict with exactly the names and shapes of the authors' file."""
    decoder = {
        "proj.0.weight": (hidden, hidden, 1, 1),
        "proj.0.bias": (hidden,),
        **norm("proj.1.0", hidden),
        "proj.2.weight": (width, hidden, 1, 1),
        "proj.2.bias": (width,),
    }
    text, middle = (4096, 2048) if width == 512 else (16, 8)
    gnn = {
        **{f"linear_before.{k}": v for k, v in linear(middle, text).items()},
        **{f"linear_adj.{k}": v for k, v in linear(middle // 8, middle).items()},
        **{f"linear1.{k}": v for k, v in linear(width, middle).items()},
        **{f"linear2.{k}": v for k, v in linear(width, width).items()},
        **{f"GCN_layer{i}.gc1.weight": (2 * middle, middle) for i in (1, 2, 3)},
        **{f"GCN_layer{i}.gc1.bias": (middle,) for i in (1, 2, 3)},
        "adj_matrix": (448, UNIFIED_LABELS),
        "unify_node_features": (UNIFIED_LABELS, text),
    }
    state = filled(
        {
            **{f"backbone.{k}": v for k, v in backbone.items()},
            **{f"proj_head.proj_head.{k}": v for k, v in decoder.items()},
            **{f"gnn_model.{k}": v for k, v in gnn.items()},
        },
        seed=0,
    )
    random = torch.Generator().manual_seed(1)
    prototype = torch.randn(UNIFIED_LABELS, width, generator=random)
    state["proj_head.unify_prototype"] = prototype.half()  # as automatic mixed precision leaves it
    for i, graph in enumerate(graphs()):
        state[f"proj_head.bipartite_graphs.{i}"] = graph
    state["finetune_stage"] = state["proto_init"] = torch.ones(1)
    return state


def save_release(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save({"model": state, "iteration": 99999, "scheduler": {"last_epoch": 1}}, path)
    return path


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("release") / "model_final.pth"
    return save_release(path, release(small_hrnet(), width=32, hidden=240))


def test_description_of_hrnet_is_complete() -> None:
    shapes = dict(official_hrnet())
    with torch.device("meta"):
        net = timm.create_model(LARGE, features_only=True, feature_location="")
    assert len(shapes) == 1830
    assert shapes == {k: tuple(v.shape) for k, v in net.state_dict().items()}


def test_converted_file_answers_alone_and_like_the_published_network(
    tool: ModuleType, small_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "converted.pth"
    arguments = ["--input", str(small_file), "--output", str(output), "--backbone", SMALL]
    assert tool.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "unified labels: 231 x 32" in printed
    assert "not used: finetune_stage 1, gnn_model 16, proto_init 1" in printed
    assert "classes reordered: sunrgbd37, ade20k150" in printed

    model, space = load_model(output)
    assert model.label_spaces.total == 448
    assert len(space.names) == UNIFIED_LABELS
    state = split_release(read_state(small_file)).state
    image = torch.randint(0, 256, (1, 3, 60, 84), generator=torch.Generator().manual_seed(5))
    expected = published_logits(state, image.float())
    embedding = model.embed(image)
    order = [torch.arange(c) for c in CLASSES]
    order[2], order[5] = torch.arange(1, 38) % 37, torch.arange(1, 151) % 150
    for i, name in enumerate(model.label_spaces.names):
        ours = model.scores(embedding, name)[0]
        torch.testing.assert_close(ours, expected[str(i)][:, order[i]], atol=1e-5, rtol=0)
    ours = model.scores(embedding, UNIFIED)[0]
    torch.testing.assert_close(ours, expected[UNIFIED], atol=1e-5, rtol=0)

    prediction = build_predictor(output).predict(np.zeros((40, 50, 3), np.uint8), "ade20k150")
    assert prediction.labels.shape == (40, 50)
    assert len(prediction.names) == 150


def test_class_order_is_that_of_our_tables(small_file: Path) -> None:
    state = split_release(read_state(small_file))
    datasets = ["cityscapes", "mapillary@paper_64", "sunrgbd37", "bdd100k", "idd26"]
    datasets += ["ade20k150", "coco_panoptic133"]
    model, content = convert_release(state, datasets, SMALL, "release.pth")
    links = graphs()
    # Class 0 of the release: "bag" (raw 37) and "flag" (raw 150); class 1 is raw id 1, "wall".
    for index, dataset, last in ((2, "sunrgbd37", "bag"), (5, "ade20k150", "flag")):
        space = model.label_spaces.get(dataset)
        mapping = model.uni_head.dataset_mapping(index).T.float()
        assert space.class_names[-1] == last
        assert torch.equal(mapping[space.index(last)], links[index][0])
        assert torch.equal(mapping[space.index("wall")], links[index][1])
    names = model.label_spaces.get("mapillary").class_names
    assert "Mailbox" not in names
    assert content["num_unified"] == UNIFIED_LABELS


def test_multi_head_release(small_file: Path) -> None:
    state = read_state(small_file)
    state = {k: v for k, v in state.items() if "unify_prototype" not in k}
    random = torch.Generator().manual_seed(2)
    for i, classes in enumerate(CLASSES):
        head = torch.randn(classes, 32, generator=random)
        state[f"proj_head.unify_prototype.{i}"] = head
    parts = split_release(state)
    model, content = convert_release(parts, tool_datasets(), SMALL, "release.pth")
    assert content["num_unified"] is None
    image = torch.full((1, 3, 64, 64), 90.0)
    image[:, :, 20:] = 200.0
    expected = published_logits(parts.state, image)
    ours = model.scores(model.embed(image), "ade20k150")[0]
    torch.testing.assert_close(
        ours, expected["5"][:, torch.arange(1, 151) % 150], atol=1e-5, rtol=0
    )


def tool_datasets() -> list[str]:
    from unilabel.text.label_tables import PAPER_DATASETS

    return list(PAPER_DATASETS)


def test_damaged_weights_are_not_written(
    tool: ModuleType,
    small_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    verify = tool.verify_release

    def with_fault(model: torch.nn.Module, parts: object) -> dict[str, float]:
        model.pixel_decoder.project.bias[0] += 0.01
        return verify(model, parts)

    monkeypatch.setattr(tool, "verify_release", with_fault)
    output = tmp_path / "converted.pth"
    arguments = ["--input", str(small_file), "--output", str(output), "--backbone", SMALL]
    assert tool.main(arguments) == 2
    assert "nothing was written" in capsys.readouterr().err
    assert not output.exists()


class Payload:
    """Runs when a file is opened with pickle."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("/tmp/never"),))


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_pickle_with_objects_is_refused(
    tool: ModuleType, tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evil.pth"
    if how == "torch":
        torch.save({"model": Payload()}, path)
    else:
        path.write_bytes(pickle.dumps({"model": Payload()}))
    assert tool.main(["--input", str(path), "--output", str(tmp_path / "out.pth")]) == 2
    assert "refused" in capsys.readouterr().err


def changed(state: dict[str, Tensor], key: str, value: Tensor | None) -> dict[str, Tensor]:
    result = {k: v for k, v in state.items() if k != key}
    return result if value is None else {**result, key: value}


def test_wrong_files_are_named(small_file: Path, tmp_path: Path) -> None:
    state = read_state(small_file)
    with pytest.raises(UniLabelError, match=r"lacks proj.0.weight"):
        split_release(changed(state, "proj_head.proj_head.proj.0.weight", None))
    graph = state["proj_head.bipartite_graphs.4"].clone()
    graph[:, 0] = 1
    parts = split_release(changed(state, "proj_head.bipartite_graphs.4", graph))
    with pytest.raises(UniLabelError, match=r"unified label 0 maps to 26 classes of 'idd26'"):
        convert_release(parts, tool_datasets(), SMALL, "file.pth")
    parts = split_release(changed(state, "proj_head.bipartite_graphs.4", graph * 0.5))
    with pytest.raises(UniLabelError, match="not solved yet"):
        convert_release(parts, tool_datasets(), SMALL, "file.pth")
    parts = split_release(state)
    with pytest.raises(UniLabelError, match=r"--datasets names cityscapes, idd26 with \[19, 26\]"):
        convert_release(parts, ["cityscapes", "idd26"], SMALL, "file.pth")
    with pytest.raises(UniLabelError, match="Is --backbone the one"):
        convert_release(parts, tool_datasets(), "hrnet_w18_small_v2", "file.pth")
    with pytest.raises(UniLabelError, match="no such file"):
        read_state(tmp_path / "none.pth")


def test_imagenet_backbone(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from unilabel.modeling.backbone import TimmBackbone

    state = filled(small_hrnet(), seed=4)
    more = {"incre_modules.0.0.conv1.weight": torch.ones(2), "classifier.bias": torch.ones(1000)}
    path, output = tmp_path / "hrnet.pth", tmp_path / "hrnet.safetensors"
    torch.save({"state_dict": {f"module.{k}": v for k, v in {**state, **more}.items()}}, path)
    arguments = ["--kind", "backbone", "--backbone", SMALL, "--input", str(path)]
    assert tool.main([*arguments, "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "not used: classifier 1, incre_modules 1" in printed
    loaded = TimmBackbone(SMALL, pretrained_file=str(output))
    name = "stage4.0.fuse_layers.3.0.2.0.weight"
    assert torch.equal(loaded.net.state_dict()[name], state[name])
    assert tool.main([*arguments, "--output", "hrnet.pth"]) == 2


@pytest.mark.slow
def test_evaluation_of_a_converted_file(
    tool: ModuleType, small_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "converted.pth"
    arguments = ["--input", str(small_file), "--output", str(output), "--backbone", SMALL]
    assert tool.main(arguments) == 0
    for name in PAPER_DATASETS:
        write_miniature(name, tmp_path / "datasets", train=1, val=1, size=(64, 96), block=16)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    overrides = ["MODEL.WEIGHTS", str(output), "OUTPUT_DIR", str(tmp_path / "run")]
    overrides += ["MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", "0"]
    cfg = load_config(ROOT / "configs/7ds.yaml", overrides)
    results = evaluate(cfg, "configs/7ds.yaml")
    assert list(results["datasets"]) == list(PAPER_DATASETS)
    assert (results["num_unified"], results["num_active"]) == (UNIFIED_LABELS, 217)
    assert all(0 <= e["unified_miou"] <= 100 for e in results["datasets"].values())


@pytest.mark.slow
def test_full_size_release(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = release(dict(official_hrnet()), width=512, hidden=720)
    path = save_release(tmp_path / "model_final.pth", state)
    output = tmp_path / "converted.pth"
    assert tool.main(["--input", str(path), "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    with capsys.disabled():
        print(printed)
    assert "backbone (hrnet_w48): 1830" in printed
    assert "unified labels: 231 x 512" in printed
    assert sum(v.numel() for k, v in state.items() if k.startswith("backbone.")) > 65e6
    content = load_file(output)
    assert content["model"]["uni_head.label_embedding"].shape == (231, 512)
