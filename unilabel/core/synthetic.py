"""The toy street world: four small datasets that label the same streets in four ways.

A stand-in for real multi-dataset training that needs no download and whose truth is known. The
world consists of 19 *atoms*, the finest kinds of thing that are drawn. Each dataset groups them
into its own classes: coarser in one place, finer in another, sometimes the same name with another
extent; an atom that no class of a dataset holds is void there (255). Two classes of different
datasets are related if they share an atom.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json, write_json
from unilabel.core.label_space import IGNORE, LabelSpace
from unilabel.core.synthetic_scene import ATOMS, SceneStyle, draw_scene

__all__ = [
    "ATOMS",
    "TOY_DATASETS",
    "atom_table",
    "hidden_atoms",
    "render_scene",
    "toy_label_spaces",
    "toy_relations",
    "write_toy_world",
]

logger = logging.getLogger(__name__)

_WORLD_FORMAT = 1  # of the folder that write_toy_world makes; raise it when the images change
_SPLITS = ("train", "val")
_KINDS = ("images", "labels", "atoms")

# Display colours: a class is shown in the colour of its first atom.
_COLORS = {
    "sky": (70, 130, 180),
    "building": (70, 70, 70),
    "road": (128, 64, 128),
    "lane": (255, 255, 255),
    "crosswalk": (200, 128, 128),
    "sidewalk": (244, 35, 232),
    "curb": (196, 196, 196),
    "barrier": (190, 153, 153),
    "grass": (152, 251, 152),
    "tree": (107, 142, 35),
    "car": (0, 0, 142),
    "truck": (0, 60, 100),
    "bus": (0, 120, 170),
    "person": (220, 20, 60),
    "rider": (255, 110, 0),
    "bicycle": (119, 11, 32),
    "pole": (130, 160, 160),
    "sign": (220, 220, 0),
    "manhole": (30, 30, 90),
}

# dataset -> (display name, {class: (atoms, description)}); classes in the order of their ids.
_TABLE: dict[str, tuple[str, dict[str, tuple[str, str]]]] = {
    "toy_fine": (
        "Toy streets, fine classes",
        {
            "sky": ("sky", "The open sky above the street."),
            "building": ("building", "Houses with their walls and windows."),
            "road": ("road", "The bare surface of the carriageway, without its markings."),
            "lane marking": ("lane", "Painted lines along the road, solid or dashed."),
            "crosswalk": ("crosswalk", "Zebra stripes across the road where people may cross."),
            "sidewalk": ("sidewalk", "The paved way beside the road for people on foot."),
            "curb": ("curb", "The raised stone edge between road and sidewalk."),
            "barrier": ("barrier", "Striped red and white road barriers."),
            "vegetation": ("tree grass", "Everything that grows: trees as well as grass."),
            "car": ("car", "Passenger cars."),
            "truck": ("truck", "Trucks that carry goods."),
            "bus": ("bus", "Buses that carry many passengers."),
            "person": ("person rider", "All people, those on foot and those who ride a bicycle."),
            "bicycle": ("bicycle", "Bicycles, ridden or parked, without the people on them."),
            "pole": ("pole", "Upright posts at the roadside, without the signs on them."),
            "traffic sign": ("sign", "The plates of traffic signs."),
            "manhole": ("manhole", "Round metal covers in the road."),
        },
    ),
    "toy_city": (
        "Toy streets, city classes",
        {
            "sky": ("sky", "The sky over the city."),
            "building": ("building", "Houses and other buildings."),
            "road": (
                "road lane crosswalk manhole",
                "The carriageway, with its lane markings, crosswalks and manhole covers.",
            ),
            "sidewalk": ("sidewalk curb", "The footway beside the road, including its curb."),
            "vegetation": ("tree", "Trees; grass is terrain."),
            "terrain": ("grass", "Ground covered with grass."),
            "car": ("car", "Cars for a few passengers."),
            "truck": ("truck", "Trucks for goods."),
            "bus": ("bus", "Buses for many passengers."),
            "person": ("person", "People who walk or stand, not those who ride."),
            "rider": ("rider", "People who ride a bicycle, without the bicycle."),
            "bicycle": ("bicycle", "Bicycles without their riders."),
            "pole": ("pole", "Thin upright posts, without the signs on them."),
            "traffic sign": ("sign", "Traffic signs without their posts."),
        },
    ),
    "toy_idd": (
        "Toy streets, mixed classes",
        {
            "sky": ("sky", "The sky."),
            "building": ("building", "Buildings of all kinds."),
            "road": (
                "road lane crosswalk manhole",
                "The drivable road with everything painted on it or let into it.",
            ),
            "sidewalk": ("sidewalk", "The paved footway, without the curb."),
            "curb": ("curb barrier", "Curb stones and the barriers that close off the roadside."),
            "vegetation": ("tree grass", "Trees and grass."),
            "car": ("car", "Cars."),
            "heavy vehicle": ("truck bus", "Large vehicles: trucks and buses."),
            "person": ("person", "People on foot."),
            "rider": ("rider bicycle", "Riders together with bicycles, also parked bicycles."),
            "pole": ("pole sign", "Posts and the traffic signs on them."),
        },
    ),
    "toy_coarse": (
        "Toy streets, coarse classes",
        {
            "sky": ("sky", "The sky."),
            "construction": ("building barrier", "Things that were built: houses and barriers."),
            "flat": ("road lane manhole", "The road with its lane markings and manhole covers."),
            "crosswalk": ("crosswalk", "Striped places to cross the road."),
            "sidewalk": ("sidewalk curb", "The footway and its curb."),
            "terrain": ("grass", "Grass beside the road."),
            "vegetation": ("tree", "Trees."),
            "vehicle": ("car truck bus", "Motor vehicles: cars, trucks and buses."),
            "human": ("person rider", "People, on foot or on a bicycle."),
            "two wheeler": ("bicycle", "Bicycles without the people on them."),
            "traffic sign": ("sign", "The plates of traffic signs, without their posts."),
        },
    ),
}

TOY_DATASETS: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        dataset: MappingProxyType({name: tuple(row[0].split()) for name, row in classes.items()})
        for dataset, (_, classes) in _TABLE.items()
    }
)

_STYLES: dict[str, SceneStyle] = {
    "toy_fine": SceneStyle((1, 1, 1), (0, 0, 0), 1, 0, 6, barrier=0.6, truck=0.35, bus=0.35),
    "toy_city": SceneStyle(
        (0.85, 1, 0.9), (-8, 4, 0), 1.15, 0.6, 5, barrier=0.35, truck=0.3, bus=0.3
    ),
    "toy_idd": SceneStyle(
        (1.1, 0.98, 0.8), (18, 10, -6), 0.85, 0.5, 9, barrier=0.6, truck=0.5, bus=0.4
    ),
    "toy_coarse": SceneStyle(
        (0.8, 0.85, 1.1), (4, 4, 14), 1, 0.8, 7, barrier=0.5, truck=0.4, bus=0.4
    ),
}


def _classes(dataset: str) -> Mapping[str, tuple[str, ...]]:
    if dataset not in TOY_DATASETS:
        raise UniLabelError(
            f"unknown toy dataset {dataset!r}; the toy world has: {', '.join(TOY_DATASETS)}."
        )
    return TOY_DATASETS[dataset]


def toy_label_spaces() -> tuple[LabelSpace, ...]:
    """The label spaces of the toy datasets, with colours and descriptions."""
    return tuple(
        LabelSpace(
            name=dataset,
            class_names=tuple(classes),
            colors=tuple(_COLORS[atoms.split()[0]] for atoms, _ in classes.values()),
            ignore_label=IGNORE,
            display_name=display_name,
            descriptions=tuple(description for _, description in classes.values()),
        )
        for dataset, (display_name, classes) in _TABLE.items()
    )


def toy_relations() -> dict[str, list[dict[str, Any]]]:
    """All related pairs of classes of different datasets, in the form of ``relations.json``.

    Returns:
        ``{"relations": [{"a", "b", "type", "source"}], "overlaps": []}``. The type is read from a
        to b and follows from the atoms: 'equal', 'subset', 'superset' or, where each class has an
        atom that the other one lacks, 'overlap'. The list is complete: other pairs are disjoint.
    """
    relations = [
        {
            "a": {"dataset": dataset_a, "label": name_a},
            "b": {"dataset": dataset_b, "label": name_b},
            "type": _relation_type(set(atoms_a), set(atoms_b)),
            "source": "definition",
        }
        for dataset_a, dataset_b in combinations(TOY_DATASETS, 2)
        for name_a, atoms_a in TOY_DATASETS[dataset_a].items()
        for name_b, atoms_b in TOY_DATASETS[dataset_b].items()
        if set(atoms_a) & set(atoms_b)
    ]
    return {"relations": relations, "overlaps": []}


def _relation_type(atoms_a: set[str], atoms_b: set[str]) -> str:
    if atoms_a == atoms_b:
        return "equal"
    if atoms_a < atoms_b:
        return "subset"
    return "superset" if atoms_a > atoms_b else "overlap"


def atom_table(dataset: str) -> NDArray[np.uint8]:
    """(19,) class id of every atom in a dataset, 255 where it is void.

    Indexing the table with an atom map gives the dataset's label map.

    Raises:
        UniLabelError: there is no toy dataset of this name.
    """
    table = np.full(len(ATOMS), IGNORE, np.uint8)
    for class_id, atoms in enumerate(_classes(dataset).values()):
        table[[ATOMS.index(atom) for atom in atoms]] = class_id
    return table


def hidden_atoms(dataset: str) -> tuple[str, ...]:
    """Atoms that a dataset labels, but only as a part of a wider class.

    A model can have learned to tell them apart from other datasets alone.

    Raises:
        UniLabelError: there is no toy dataset of this name.
    """
    shared = {atom for atoms in _classes(dataset).values() if len(atoms) > 1 for atom in atoms}
    return tuple(atom for atom in ATOMS if atom in shared)


def render_scene(
    rng: np.random.Generator, dataset: str
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one street scene as a toy dataset would photograph it.

    Args:
        rng: source of all chance; the same state gives the same scene.
        dataset: name of a toy dataset; it decides camera and traffic.

    Returns:
        (96, 128, 3) RGB image and (96, 128) atom map with indices into ``ATOMS``.

    Raises:
        UniLabelError: there is no toy dataset of this name.
    """
    _classes(dataset)
    return draw_scene(rng, _STYLES[dataset])


def write_toy_world(
    root: str | os.PathLike[str], seed: int, num_train: int = 48, num_val: int = 32
) -> None:
    """Write the four toy datasets as dataset folders, with the truth about them.

    ::

        root/<dataset>/images/{train,val}/NAME.png   RGB
        root/<dataset>/labels/{train,val}/NAME.png   class ids, 255 void
        root/<dataset>/atoms/{train,val}/NAME.png    atom ids, indices into ATOMS
        root/<dataset>/classes.json
        root/relations.json, root/atoms.json         related classes; atoms of every class
        root/world.json                              the parameters; written last

    Every image has a random stream of its own (seed, dataset, split, index), so it does not depend
    on the number of images. A complete world of the same parameters is left alone; anything else,
    also what a killed run has left, is written anew. Call it from one process only.

    Args:
        root: folder of the world, made if needed.
        seed: non-negative seed of the world.
        num_train: training images per dataset.
        num_val: validation images per dataset.

    Raises:
        UniLabelError: a number is out of range, ``root`` holds the relations of other data, or it
            cannot be written.
    """
    limits = (("seed", seed, 0), ("num_train", num_train, 1), ("num_val", num_val, 1))
    for key, value, least in limits:
        if value < least:
            raise UniLabelError(f"toy world: {key} is {value}, expected at least {least}.")
    root = Path(root)
    counts = dict(zip(_SPLITS, (num_train, num_val), strict=True))
    world = {"seed": seed, "num_train": num_train, "num_val": num_val, "format": _WORLD_FORMAT}
    if _is_complete(root, world, counts):
        logger.info("Toy world %s is complete (seed %d).", root, seed)
        return
    try:
        (root / "world.json").unlink(missing_ok=True)
        for label_space in toy_label_spaces():
            _write_dataset(root / label_space.name, label_space, seed, counts)
            logger.info("Wrote %s: %s images.", root / label_space.name, counts)
    except OSError as error:
        raise UniLabelError(
            f"cannot write the toy world to {root}: {error.strerror or error}. Free some disk "
            "space or choose another folder, then run again."
        ) from error
    write_json(root / "relations.json", toy_relations())
    write_json(root / "atoms.json", {"atoms": ATOMS, "datasets": _as_dicts()})
    write_json(root / "world.json", world)


def _as_dicts() -> dict[str, dict[str, tuple[str, ...]]]:
    return {dataset: dict(classes) for dataset, classes in TOY_DATASETS.items()}


def _image_files(dataset_root: Path, counts: Mapping[str, int]) -> Iterator[tuple[str, int, str]]:
    """Split, index and file name of all images of a dataset."""
    for split, count in counts.items():
        for index in range(count):
            yield split, index, f"{dataset_root.name}_{split}_{index:04d}.png"


def _is_complete(root: Path, world: Mapping[str, int], counts: Mapping[str, int]) -> bool:
    """Whether ``root`` holds exactly this world; refuse a folder of other data."""
    relations = root / "relations.json"
    if not (root / "world.json").exists():
        if relations.exists() and read_json(relations) != toy_relations():
            raise UniLabelError(
                f"{relations} belongs to other data, and the toy world would overwrite it; choose "
                "another folder, or delete the file if it is not needed."
            )
        return False
    files = [relations, root / "atoms.json"]
    for dataset in TOY_DATASETS:
        folder = root / dataset
        files.append(folder / "classes.json")
        for split, _, name in _image_files(folder, counts):
            files += (folder / kind / split / name for kind in _KINDS)
    return read_json(root / "world.json") == world and all(file.exists() for file in files)


def _write_dataset(
    folder: Path, label_space: LabelSpace, seed: int, counts: Mapping[str, int]
) -> None:
    dataset = label_space.name
    for kind in _KINDS:
        for split in _SPLITS:
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
            for old in (folder / kind / split).glob(f"{dataset}_{split}_*.png"):
                old.unlink()
    table = atom_table(dataset)
    for split, index, name in _image_files(folder, counts):
        key = (list(TOY_DATASETS).index(dataset), _SPLITS.index(split), index)
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
        image, atoms = render_scene(rng, dataset)
        for kind, array in zip(_KINDS, (image, table[atoms], atoms), strict=True):
            _write_png(folder / kind / split / name, array)
    write_json(folder / "classes.json", label_space.to_dict())


def _write_png(path: Path, array: NDArray[np.uint8]) -> None:
    from PIL import Image  # here, so that the label spaces need no image library

    Image.fromarray(array).save(path)
