"""Pixels of a network that has learned everything: atoms on axes, and datasets that group them.

city joins road and marking and does not know the sky; idd tells them apart; ade joins all ground.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode

from unilabel.config import load_config
from unilabel.core.label_space import LabelSpace, LabelSpaceSet, default_color
from unilabel.engine.pixel_cache import PixelCache

ATOMS = ("road", "marking", "sidewalk", "car", "sky")
DATASETS = {
    "city": {"road": ("road", "marking"), "sidewalk": ("sidewalk",), "car": ("car",)},
    "idd": {"road": ("road",), "marking": ("marking",), "sidewalk": ("sidewalk",), "car": ("car",),
            "sky": ("sky",)},
    "ade": {"ground": ("road", "marking", "sidewalk"), "car": ("car",), "sky": ("sky",)},
}  # fmt: skip
DIM = 8
TOY = Path(__file__).parents[2] / "configs/toy.yaml"


def config(**values) -> CfgNode:
    """configs/toy.yaml with ``UNIFY__NODES="ilp"`` and the like; not validated."""
    cfg = load_config(TOY)
    cfg.MODEL.EMBED_DIM = DIM
    cfg.INPUT.TEST_SHORT_SIDE = 0
    for path, value in values.items():
        *parents, key = path.split("__")
        node = cfg
        for parent in parents:
            node = node[parent]
        assert key in node
        node[key] = value
    return cfg


def spaces() -> LabelSpaceSet:
    return LabelSpaceSet(
        LabelSpace(name, tuple(classes), tuple(map(default_color, range(len(classes)))))
        for name, classes in DATASETS.items()
    )


def pixels(count: int = 300, noise: float = 0.3) -> PixelCache:
    """Noisy one-hot embeddings of the atoms that a dataset labels."""
    generator = torch.Generator().manual_seed(0)
    embeddings, labels = [], []
    for classes in DATASETS.values():
        of_atom = {atom: i for i, members in enumerate(classes.values()) for atom in members}
        known = torch.tensor([ATOMS.index(a) for a in of_atom])
        atoms = known[torch.randint(len(known), (count,), generator=generator)]
        clean = 3 * F.one_hot(atoms, DIM).float()
        embeddings.append(clean + noise * torch.randn(count, DIM, generator=generator))
        labels.append(torch.tensor([of_atom[ATOMS[a]] for a in atoms]))
    return PixelCache(embeddings, labels)


def heads() -> list[torch.Tensor]:
    """The classifiers that fit: a class scores its atoms."""
    result = []
    for classes in DATASETS.values():
        head = torch.zeros(len(classes), DIM)
        for row, atoms in enumerate(classes.values()):
            head[row, [ATOMS.index(a) for a in atoms]] = 1.0
        result.append(head)
    return result


def atom_links() -> torch.Tensor:
    """(5, C) bool: the true unified labels, one per atom."""
    rows = []
    for atom in ATOMS:
        rows.append([atom in members for d in DATASETS.values() for members in d.values()])
    return torch.tensor(rows)


def named(links: torch.Tensor) -> set[str]:
    """Rows as "city:road idd:marking"."""
    labels = spaces().label_names()
    return {" ".join(labels[c] for c in row.nonzero().flatten().tolist()) for row in links}


def random_text() -> torch.Tensor:
    total = spaces().total
    return F.normalize(torch.randn(total, 12, generator=torch.Generator().manual_seed(3)), dim=1)
