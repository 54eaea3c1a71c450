"""The toy street world: its truth against pairs worked by hand, its images, its folder."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.core.relations import RelationTruth
from unilabel.core.synthetic import (
    ATOMS,
    TOY_DATASETS,
    atom_table,
    hidden_atoms,
    render_scene,
    toy_label_spaces,
    toy_relations,
    write_toy_world,
)
from unilabel.core.synthetic_scene import _cubic_weights

SAMPLE = 60  # scenes per dataset


@pytest.fixture(scope="module")
def scenes() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images (SAMPLE, 96, 128, 3) and atom maps (SAMPLE, 96, 128) of every dataset."""
    result = {}
    for position, dataset in enumerate(TOY_DATASETS):
        pairs = [render_scene(np.random.default_rng([position, i]), dataset) for i in range(SAMPLE)]
        images, atoms = zip(*pairs, strict=True)
        result[dataset] = (np.stack(images), np.stack(atoms))
    return result


def _digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


# --- label spaces and truth ---


def test_label_spaces_have_the_classes_colors_and_descriptions_they_should() -> None:
    spaces = toy_label_spaces()
    assert [space.name for space in spaces] == list(TOY_DATASETS)
    assert [space.num_classes for space in spaces] == [17, 14, 11, 11]
    for space in spaces:
        assert len(set(space.colors)) == space.num_classes
        assert len(space.descriptions) == space.num_classes
        for text in space.descriptions:
            assert text[0].isupper()
            assert text.count(".") == 1
            assert text.endswith(".")
        assert LabelSpace.from_dict(space.to_dict()) == space


def test_every_atom_belongs_to_at_most_one_class_of_a_dataset() -> None:
    assert len(ATOMS) == len(set(ATOMS)) == 19
    for classes in TOY_DATASETS.values():
        counts = Counter(atom for atoms in classes.values() for atom in atoms)
        assert set(counts) <= set(ATOMS)
        assert set(counts.values()) == {1}


def test_atom_table_agrees_with_the_class_lists() -> None:
    for space in toy_label_spaces():
        table = atom_table(space.name)
        assert table.shape == (19,)
        assert table.dtype == np.uint8
        for atom, class_id in zip(ATOMS, table, strict=True):
            owners = [name for name, atoms in TOY_DATASETS[space.name].items() if atom in atoms]
            expected = space.index(owners[0]) if owners else 255
            assert class_id == expected


@pytest.mark.parametrize(
    ("dataset", "void"),
    [("toy_fine", []), ("toy_city", ["barrier"]), ("toy_idd", []), ("toy_coarse", ["pole"])],
)
def test_void_atoms(dataset: str, void: list[str]) -> None:
    table = atom_table(dataset)
    assert [atom for atom, class_id in zip(ATOMS, table, strict=True) if class_id == 255] == void


def test_atoms_can_be_told_apart_only_by_all_datasets_together() -> None:
    signatures = {tuple(int(atom_table(d)[i]) for d in TOY_DATASETS) for i in range(19)}
    assert len(signatures) == 19
    for dataset in TOY_DATASETS:
        assert len(set(atom_table(dataset).tolist())) < 19


def test_hidden_atoms() -> None:
    assert hidden_atoms("toy_fine") == ("grass", "tree", "person", "rider")
    assert hidden_atoms("toy_city") == ("road", "lane", "crosswalk", "sidewalk", "curb", "manhole")
    # void is not hidden, and a class of one atom is not either
    assert "barrier" not in hidden_atoms("toy_city")
    assert "car" in hidden_atoms("toy_coarse")
    assert "car" not in hidden_atoms("toy_idd")


# Worked by hand from the class lists: the same name with the same and with another extent, other
# names, one class against many, classes that cut across each other, classes with nothing in common.
HAND_WORKED = [
    ("toy_fine:sky", "toy_coarse:sky", "equal"),
    ("toy_fine:traffic sign", "toy_city:traffic sign", "equal"),
    ("toy_city:road", "toy_idd:road", "equal"),
    ("toy_city:terrain", "toy_coarse:terrain", "equal"),
    ("toy_fine:bicycle", "toy_coarse:two wheeler", "equal"),
    ("toy_fine:person", "toy_coarse:human", "equal"),
    ("toy_fine:road", "toy_city:road", "subset"),
    ("toy_fine:lane marking", "toy_coarse:flat", "subset"),
    ("toy_fine:curb", "toy_idd:curb", "subset"),
    ("toy_fine:barrier", "toy_coarse:construction", "subset"),
    ("toy_fine:truck", "toy_idd:heavy vehicle", "subset"),
    ("toy_idd:heavy vehicle", "toy_coarse:vehicle", "subset"),
    ("toy_fine:person", "toy_city:person", "superset"),
    ("toy_fine:vegetation", "toy_city:vegetation", "superset"),
    ("toy_city:road", "toy_coarse:flat", "superset"),
    ("toy_idd:pole", "toy_coarse:traffic sign", "superset"),
    ("toy_fine:person", "toy_idd:rider", "overlap"),
    ("toy_city:sidewalk", "toy_idd:curb", "overlap"),
    ("toy_idd:curb", "toy_coarse:construction", "overlap"),
    ("toy_idd:curb", "toy_coarse:sidewalk", "overlap"),
    ("toy_idd:rider", "toy_coarse:human", "overlap"),
    ("toy_fine:crosswalk", "toy_coarse:flat", None),
    ("toy_city:vegetation", "toy_coarse:terrain", None),
    ("toy_fine:bus", "toy_city:car", None),
]


def _relation_types() -> dict[tuple[str, str], str]:
    return {
        (f"{r['a']['dataset']}:{r['a']['label']}", f"{r['b']['dataset']}:{r['b']['label']}"): r[
            "type"
        ]
        for r in toy_relations()["relations"]
    }


@pytest.mark.parametrize(("a", "b", "kind"), HAND_WORKED)
def test_relations_worked_by_hand(a: str, b: str, kind: str | None) -> None:
    assert _relation_types().get((a, b)) == kind


def test_relations_are_complete_and_counted_once() -> None:
    relations = toy_relations()
    types = _relation_types()
    assert len(relations["relations"]) == len(types) == 97
    assert relations["overlaps"] == []
    assert {r["source"] for r in relations["relations"]} == {"definition"}
    # The five pairs that cut across are all listed above; a barrier has no partner in toy_city.
    listed = {(a, b) for a, b, kind in HAND_WORKED if kind == "overlap"}
    assert {pair for pair, kind in types.items() if kind == "overlap"} == listed
    assert not any(a == "toy_fine:barrier" and b.startswith("toy_city") for a, b in types)


def test_relations_file_is_read_as_truth(tmp_path: Path) -> None:
    path = tmp_path / "relations.json"
    path.write_text(json.dumps(toy_relations()), encoding="utf-8")
    spaces = LabelSpaceSet(toy_label_spaces())
    truth = RelationTruth.from_json(path, spaces)
    assert int(truth.related.triu().sum()) == 97
    # the same from the atom tables, over all pairs of datasets
    columns = [np.eye(256, dtype=bool)[atom_table(s.name)][:, : s.num_classes] for s in spaces]
    member = np.concatenate(columns, axis=1)  # (19, C)
    shared = member.T.astype(int) @ member.astype(int) > 0
    scored = truth.scored.numpy()
    assert (truth.related.numpy() == (shared & scored)).all()
    assert truth.score(truth.related)["f1"] == 1


@pytest.mark.parametrize("call", [atom_table, hidden_atoms])
def test_unknown_dataset_is_refused(call) -> None:
    with pytest.raises(UniLabelError, match=r"'toy_town'.*toy_fine, toy_city, toy_idd, toy_coarse"):
        call("toy_town")
    with pytest.raises(UniLabelError, match="'toy_town'"):
        render_scene(np.random.default_rng(0), "toy_town")


# --- images ---


def test_scene_form_and_determinism() -> None:
    image, atoms = render_scene(np.random.default_rng(7), "toy_city")
    assert image.shape == (96, 128, 3)
    assert atoms.shape == (96, 128)
    assert image.dtype == atoms.dtype == np.uint8
    again, atoms_again = render_scene(np.random.default_rng(7), "toy_city")
    assert (image == again).all()
    assert (atoms == atoms_again).all()
    other, _ = render_scene(np.random.default_rng(8), "toy_city")
    assert (image != other).mean() > 0.5


def test_all_atoms_occur_with_sensible_frequency(scenes) -> None:
    share = np.mean(
        [np.bincount(a.ravel(), minlength=19) / a.size for _, a in scenes.values()], axis=0
    )
    by_atom = dict(zip(ATOMS, share, strict=True))
    assert share.sum() == pytest.approx(1)
    assert share.min() > 0.002
    assert share.max() < 0.35
    for large, small in (("sky", "tree"), ("road", "lane"), ("sidewalk", "curb"), ("car", "truck")):
        assert by_atom[large] > by_atom[small]
    for dataset, (_, atoms) in scenes.items():
        present = np.array([[(scene == atom).any() for atom in range(19)] for scene in atoms])
        assert present.mean(0).min() > 0.12, dataset
        assert present.sum(1).min() >= 6, dataset


def test_images_are_neither_flat_nor_saturated(scenes) -> None:
    for dataset, (images, atoms) in scenes.items():
        assert images.std(axis=(1, 2)).min() > 10, dataset
        assert ((images == 0) | (images == 255)).mean() < 0.1, dataset
        assert len({a.tobytes() for a in atoms}) == SAMPLE, dataset


def test_label_edges_lie_on_image_edges() -> None:
    # toy_fine is not blurred: across an atom border the image changes more than within an atom.
    across, within = [], []
    for seed in range(10):
        image, atoms = render_scene(np.random.default_rng(seed), "toy_fine")
        smooth = ndimage.gaussian_filter(image.astype(float), (1, 0, 0))
        change = np.abs(np.diff(smooth, axis=1)).sum(-1)
        border = np.diff(atoms.astype(int), axis=1) != 0
        across.append(change[border].mean())
        within.append(change[~border].mean())
    assert np.mean(across) > 1.5 * np.mean(within)


def test_datasets_differ_in_look_not_in_content(scenes) -> None:
    mean = {dataset: images.mean(axis=(0, 1, 2)) for dataset, (images, _) in scenes.items()}
    assert mean["toy_idd"][0] > mean["toy_idd"][2] + 30  # warm
    assert mean["toy_coarse"][2] > mean["toy_coarse"][0] + 30  # cold
    assert mean["toy_city"][1] > mean["toy_city"][0] + 15  # green
    share = {d: np.bincount(a.ravel(), minlength=19) / a.size for d, (_, a) in scenes.items()}
    for dataset in TOY_DATASETS:
        assert np.abs(share[dataset] - share["toy_fine"]).sum() < 0.3


def test_smooth_noise_is_enlarged_by_cubic_convolution() -> None:
    cv2 = pytest.importorskip("cv2")
    samples = np.random.default_rng(0).standard_normal((13, 17)).astype(np.float32)
    ours = _cubic_weights(96, 13) @ samples @ _cubic_weights(128, 17).T
    assert ours == pytest.approx(
        cv2.resize(samples, (128, 96), interpolation=cv2.INTER_CUBIC), abs=1e-4
    )


# --- the folder ---


def test_world_folder_is_complete_and_consistent(tmp_path: Path) -> None:
    write_toy_world(tmp_path, seed=3, num_train=3, num_val=2)
    assert json.loads((tmp_path / "world.json").read_text()) == {
        "seed": 3,
        "num_train": 3,
        "num_val": 2,
        "format": 1,
    }
    assert json.loads((tmp_path / "relations.json").read_text()) == toy_relations()
    listed = json.loads((tmp_path / "atoms.json").read_text())
    assert tuple(listed["atoms"]) == ATOMS
    assert listed["datasets"]["toy_idd"]["pole"] == ["pole", "sign"]
    for space in toy_label_spaces():
        folder = tmp_path / space.name
        assert LabelSpace.from_json(folder / "classes.json") == space
        for split, count in (("train", 3), ("val", 2)):
            names = sorted(path.name for path in (folder / "images" / split).iterdir())
            assert len(names) == count
            for name in names:
                image = Image.open(folder / "images" / split / name)
                label = Image.open(folder / "labels" / split / name)
                atoms = np.asarray(Image.open(folder / "atoms" / split / name))
                assert (image.mode, label.mode) == ("RGB", "L")
                assert image.size == label.size == (128, 96)
                assert (np.asarray(label) == atom_table(space.name)[atoms]).all()


def test_void_is_void_in_the_label_files(tmp_path: Path) -> None:
    write_toy_world(tmp_path, seed=0, num_train=12, num_val=1)
    void_atoms = {"toy_fine": None, "toy_city": "barrier", "toy_idd": None, "toy_coarse": "pole"}
    for dataset, void in void_atoms.items():
        folder = tmp_path / dataset
        found = set()
        for path in (folder / "labels" / "train").iterdir():
            label = np.asarray(Image.open(path))
            atoms = np.asarray(Image.open(folder / "atoms" / "train" / path.name))
            found |= {ATOMS[atom] for atom in np.unique(atoms[label == 255])}
            assert label[label != 255].max() < len(TOY_DATASETS[dataset])
        assert found == ({void} if void else set())


def test_images_do_not_depend_on_the_number_of_images(tmp_path: Path) -> None:
    write_toy_world(tmp_path / "few", seed=1, num_train=1, num_val=2)
    write_toy_world(tmp_path / "more", seed=1, num_train=3, num_val=3)
    write_toy_world(tmp_path / "other", seed=2, num_train=1, num_val=2)
    few, more, other = (_digests(tmp_path / name) for name in ("few", "more", "other"))
    images = [name for name in few if "/images/" in name]
    assert len(images) == 4 * 3
    assert all(few[name] == more[name] for name in images)
    assert all(few[name] != other[name] for name in images)
    assert len({few[name] for name in images}) == len(images)


def test_complete_world_is_left_alone(tmp_path: Path) -> None:
    write_toy_world(tmp_path, seed=0, num_train=2, num_val=1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    write_toy_world(tmp_path, seed=0, num_train=2, num_val=1)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before


def test_other_parameters_rewrite_the_world_without_remains(tmp_path: Path) -> None:
    write_toy_world(tmp_path / "a", seed=0, num_train=3, num_val=2)
    write_toy_world(tmp_path / "a", seed=5, num_train=2, num_val=1)
    write_toy_world(tmp_path / "b", seed=5, num_train=2, num_val=1)
    assert _digests(tmp_path / "a") == _digests(tmp_path / "b")


@pytest.mark.parametrize(
    "broken", ["world.json", "relations.json", "toy_idd/labels/val/toy_idd_val_0000.png"]
)
def test_incomplete_world_is_written_anew(tmp_path: Path, broken: str) -> None:
    write_toy_world(tmp_path, seed=0, num_train=1, num_val=1)
    whole = _digests(tmp_path)
    (tmp_path / broken).unlink()
    (tmp_path / "toy_city/images/train/toy_city_train_0000.png").write_bytes(b"half an image")
    write_toy_world(tmp_path, seed=0, num_train=1, num_val=1)
    assert _digests(tmp_path) == whole


def test_killed_run_leaves_no_complete_mark(tmp_path: Path, monkeypatch) -> None:
    write_toy_world(tmp_path, seed=0, num_train=1, num_val=1)
    calls = []

    def stop_in_the_third_image(rng: np.random.Generator, dataset: str):
        calls.append(dataset)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return render_scene(rng, dataset)

    monkeypatch.setattr("unilabel.core.synthetic.render_scene", stop_in_the_third_image)
    with pytest.raises(KeyboardInterrupt):
        write_toy_world(tmp_path, seed=1, num_train=1, num_val=1)
    assert not (tmp_path / "world.json").exists()
    monkeypatch.undo()
    write_toy_world(tmp_path, seed=1, num_train=1, num_val=1)
    write_toy_world(tmp_path / "fresh", seed=1, num_train=1, num_val=1)
    redone = {name: d for name, d in _digests(tmp_path).items() if not name.startswith("fresh")}
    assert redone == _digests(tmp_path / "fresh")


def test_folder_of_other_data_is_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "relations.json"
    foreign.write_text('{"relations": []}', encoding="utf-8")
    with pytest.raises(UniLabelError, match=r"relations\.json belongs to other data"):
        write_toy_world(tmp_path, seed=0, num_train=1, num_val=1)
    assert foreign.read_text(encoding="utf-8") == '{"relations": []}'
    assert [path.name for path in tmp_path.iterdir()] == ["relations.json"]


def test_unwritable_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(UniLabelError, match=r"cannot write the toy world to .*file"):
        write_toy_world(tmp_path / "file", seed=0, num_train=1, num_val=1)


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"num_train": 0}, {"num_val": 0}])
def test_numbers_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    key = next(iter(wrong))
    with pytest.raises(UniLabelError, match=f"{key} is {wrong[key]}, expected at least"):
        write_toy_world(tmp_path, **{"seed": 0, "num_train": 1, "num_val": 1, **wrong})
    assert list(tmp_path.iterdir()) == []
