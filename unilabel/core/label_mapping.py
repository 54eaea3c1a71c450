"""The label mapping: which class of each dataset every unified label stands for.

Letters: K datasets, C_i classes of dataset i, N unified labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpaceSet


class LabelMapping:
    """Boolean mappings M_i of Section 3.1, one (N, C_i) matrix per dataset.

    Each unified label maps to at most one class of a dataset (row sum <= 1); each class has at
    least one unified label (column sum >= 1).
    """

    def __init__(self, label_spaces: LabelSpaceSet, matrices: Mapping[str, Tensor]) -> None:
        """Check and keep the matrices.

        Args:
            label_spaces: K label spaces.
            matrices: (N, C_i) bool (or 0/1) per dataset name.

        Raises:
            UniLabelError: a dataset is missing, a shape is wrong or a constraint is broken.
        """
        self.label_spaces = label_spaces
        missing = [n for n in label_spaces.names if n not in matrices]
        extra = [n for n in matrices if n not in label_spaces.names]
        if missing or extra:
            raise UniLabelError(
                f"the mapping has the datasets {sorted(matrices)}, expected {label_spaces.names}."
            )
        self.matrices = {n: matrices[n].detach().cpu() != 0 for n in label_spaces.names}
        self.num_unified = next(iter(self.matrices.values())).shape[0]
        for space in label_spaces:
            matrix = self.matrices[space.name]
            if matrix.shape != (self.num_unified, space.num_classes):
                raise UniLabelError(
                    f"the mapping of {space.name!r} has shape {tuple(matrix.shape)}, expected "
                    f"{(self.num_unified, space.num_classes)}."
                )
            rows = torch.nonzero(matrix.sum(1) > 1).flatten()
            if len(rows):
                row = int(rows[0])
                names = [space.class_names[c] for c in torch.nonzero(matrix[row]).flatten()]
                raise UniLabelError(
                    f"unified label {row} maps to {len(names)} classes of {space.name!r} "
                    f"({', '.join(names)}); at most one is allowed: keep one or split the label."
                )
            empty = torch.nonzero(matrix.sum(0) == 0).flatten()
            if len(empty):
                raise UniLabelError(
                    f"class {space.class_names[int(empty[0])]!r} of {space.name!r} has no unified "
                    "label; every class needs at least one."
                )

    def __getitem__(self, dataset: str) -> Tensor:
        """(N, C_i) bool matrix of one dataset."""
        self.label_spaces.dataset_index(dataset)
        return self.matrices[dataset]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, LabelMapping)
            and self.label_spaces.to_list() == other.label_spaces.to_list()
            and all(torch.equal(m, other.matrices[n]) for n, m in self.matrices.items())
        )

    __hash__ = None  # type: ignore[assignment]

    def stacked(self) -> Tensor:
        """(N, C) bool: all matrices beside each other, in the order of the label spaces."""
        return torch.cat([self.matrices[n] for n in self.label_spaces.names], dim=1)

    @classmethod
    def from_stacked(cls, label_spaces: LabelSpaceSet, matrix: Tensor) -> LabelMapping:
        """The inverse of :meth:`stacked`; ``matrix`` is (N, C)."""
        parts = label_spaces.split(matrix, dim=1)
        return cls(label_spaces, dict(zip(label_spaces.names, parts, strict=True)))

    def class_of(self, dataset: str) -> Tensor:
        """(N,) int64: class id that each unified label maps to, -1 where it maps to none."""
        matrix = self[dataset]
        return torch.where(matrix.any(1), matrix.int().argmax(1), -1)

    def links(self) -> Tensor:
        """(C, C) bool: classes of two different datasets that share a unified label."""
        first, second, _ = self.shared()
        shared = torch.zeros(self.label_spaces.total, self.label_spaces.total, dtype=torch.bool)
        shared[first, second] = True
        return shared

    def shared(self) -> tuple[Tensor, Tensor, Tensor]:
        """What :meth:`links` tells, as lists: few of all pairs of classes share something.

        Returns:
            (P,) first and (P,) second class of all pairs, in the order of their numbers, and (P,)
            how many unified labels they have in common.
        """
        rows, columns = torch.nonzero(self.stacked(), as_tuple=True)
        size = (self.num_unified, self.label_spaces.total)
        matrix = csr_array((np.ones(len(rows), np.int64), (rows, columns)), shape=size)
        pairs = (matrix.T @ matrix).tocoo()
        dataset = np.repeat(np.arange(len(self.label_spaces)), self.label_spaces.num_classes)
        other = dataset[pairs.row] != dataset[pairs.col]
        order = np.lexsort((pairs.col[other], pairs.row[other]))
        found = (pairs.row, pairs.col, pairs.data)
        first, second, count = (torch.from_numpy(v[other][order]).long() for v in found)
        return first, second, count

    def active(self) -> Tensor:
        """(N,) bool: unified labels with at least one link."""
        return self.stacked().any(1)

    def select(self, keep: Tensor) -> LabelMapping:
        """The mapping of the unified labels in ``keep`` ((N,) bool or indices)."""
        return LabelMapping(self.label_spaces, {n: m[keep] for n, m in self.matrices.items()})

    def checksum(self) -> str:
        """16 hex digits that depend on the label spaces and all links; equal on equal mappings."""
        digest = hashlib.sha256()
        for space in self.label_spaces:
            digest.update(repr((space.name, space.class_names)).encode())
            matrix = self.matrices[space.name]
            digest.update(repr(tuple(matrix.shape)).encode())
            digest.update(matrix.to(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]
