"""What of a person's own folder pairs and what does not, told in one line for each folder."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from unilabel.core.errors import UniLabelError
from unilabel.data.dataset_files import PairedFiles, is_of_system, plain, walk_files
from unilabel.data.images import IMAGE_SUFFIXES
from unilabel.data.label_files import LABEL_SUFFIXES
from unilabel.data.sources import Sample

_NAMES = 3  # file names that a line shows
_LIKE_LABELS = ("masks", "mask", "label", "annotations", "ground_truth", "gt", "segmentations")


@dataclass(frozen=True)
class FolderSplit(PairedFiles):
    """One split of an own folder; what is missing is told in one line for each folder."""

    classes_file: str = ""

    def missing_labels(self) -> list[str]:
        """The line about images without a label, if there are any."""
        lonely = sorted(k for k in self.wanted if k in self.images and k not in self.labels)
        if not lonely:
            return []
        names = first_names(self.images[k] for k in lonely)
        return [
            f"dataset {self.dataset!r}: {counted(len(lonely), 'image')} in {self.image_place} "
            f"{'has' if len(lonely) == 1 else 'have'} no label in {self.label_place}: {names}; "
            f"{self._cure_for_labels(lonely)}"
        ]

    def missing_images(self) -> list[str]:
        """The lines about labels, and entries of a list, without an image.

        There is none where that of :meth:`missing_labels` tells the cure for both.
        """
        listed = sorted(k for k in self.wanted if k not in self.images and k not in self.labels)
        lonely = self._lonely_labels()
        lines = []
        if lonely and self._suffix() is None:
            names = first_names(self.labels[k] for k in lonely)
            kind, count = _other_kind(self.image_place, IMAGE_SUFFIXES)
            instead = (
                f"there are {count} files {kind}, which are not read: save them as JPEG or PNG"
            )
            lines.append(
                f"dataset {self.dataset!r}: {counted(len(lonely), 'label')} in {self.label_place} "
                f"{'has' if len(lonely) == 1 else 'have'} no image in {self.image_place}: "
                f"{names}; {instead if count else 'add the images or move the labels away'}"
            )
        if listed:
            lines.append(
                f"dataset {self.dataset!r}: {counted(len(listed), 'entry', 'entries')} of the list "
                f"of its split {'has' if len(listed) == 1 else 'have'} no image below "
                f"{self.image_place}: {first_names(listed)}; correct the list or add the images"
            )
        return lines

    def samples(self) -> list[Sample]:
        """All samples.

        Raises:
            UniLabelError: a file is missing.
        """
        missing = self.missing_labels() + self.missing_images()
        if missing:
            raise UniLabelError(". ".join(missing) + ".")
        return self.complete()

    def _lonely_labels(self) -> list[str]:
        return sorted(k for k in self.wanted if k in self.labels and k not in self.images)

    def _suffix(self) -> str | None:
        """What the names of most unpaired labels have behind the name of an image."""
        endings: Counter[str] = Counter()
        for key in self._lonely_labels():
            for end in range(len(key) - 1, 0, -1):
                if key[:end] in self.images:
                    endings[key[end:]] += 1
                    break
        ending, count = endings.most_common(1)[0] if endings else ("", 0)
        return ending if "/" not in ending and 2 * count > len(self._lonely_labels()) else None

    def _cure_for_labels(self, lonely: list[str]) -> str:
        suffix = self._suffix()
        if suffix is not None:
            return (
                f'the names of the labels end in "{suffix}": add "label_suffix": "{suffix}" to '
                f"{self.classes_file}, or rename them"
            )
        root = os.path.dirname(self.classes_file)
        if not os.path.isdir(self.label_place):
            near = sorted(set(os.listdir(root)) & set(_LIKE_LABELS))
            meant = f"; is {near[0]} meant? Call it labels" if near else ""
            cure = "add it, with label maps of the same names"
            return f"there is no such folder of labels: {cure}{meant}"
        kind, count = _other_kind(self.label_place, LABEL_SUFFIXES)
        if not self.labels and count:
            return f"there are {count} files {kind} instead: {_other_form(kind)}"
        names = {os.path.basename(k) for k in self._lonely_labels()}
        if any(os.path.basename(k) in names for k in lonely):
            return (
                "labels of these names lie in other subfolders: use the same subfolders for images "
                "and labels"
            )
        if names:
            return f"if their names differ by a rule, {import_cure(root)}; else add the labels"
        return "add the labels or move the images away"


def import_cure(root: str | os.PathLike[str]) -> str:
    """What to do about a folder of other names or another arrangement."""
    return f"python tools/import_dataset.py {root} NEW --form folders makes a folder that fits"


def _other_kind(folder: str, known: tuple[str, ...]) -> tuple[str, int]:
    """The most frequent suffix of files below a folder that is not one of ``known``, and count."""
    suffixes = Counter(os.path.splitext(p)[1].lower() for p in walk_own(folder))
    others = Counter({s: n for s, n in suffixes.items() if s not in known})
    return others.most_common(1)[0] if others else ("", 0)


def same_names(labels: Mapping[str, str], images: Mapping[str, str]) -> dict[str, str]:
    """Labels by the keys of their images, whose names may differ in capitals and forms of accents.

    Copies between systems change both (macOS stores accents in a form of its own). A key that could
    be that of several images stays as it is.
    """
    free: dict[str, list[str]] = defaultdict(list)
    for key in images.keys() - labels.keys():
        free[plain(key)].append(key)
    alike = Counter(plain(key) for key in labels.keys() - images.keys())
    found = {}
    for key, path in labels.items():
        fitting = free.get(plain(key), [])
        one = key not in images and len(fitting) == 1 and alike[plain(key)] == 1
        found[fitting[0] if one else key] = path
    return found


def _other_form(suffix: str) -> str:
    if suffix == ".npy":
        return (
            "NumPy arrays are not read, save each as PNG, for example with "
            "PIL.Image.fromarray(numpy.load(file).astype('uint8')).save(name + '.png')"
        )
    if suffix in IMAGE_SUFFIXES:
        return "this format changes ids when it is saved; write the labels as PNG from their source"
    return (
        f"expected label maps {', '.join(LABEL_SUFFIXES)}; annotations of other forms are "
        "converted by tools/import_dataset.py"
    )


def walk_own(folder: str) -> Iterator[str]:
    """Files below a folder that its owner put there, sorted: not those of file managers."""
    for path in sorted(walk_files(folder)):
        below = path[len(folder) + 1 :].split(os.sep)
        if not any(part.startswith(".") or is_of_system(part) for part in below):
            yield path


def first_names(names: Iterable[str]) -> str:
    """The first file names, in words."""
    names = [os.path.basename(n) for n in names]
    return ", ".join(names[:_NAMES]) + (", ..." if len(names) > _NAMES else "")


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its word."""
    return f"{number} {one if number == 1 else many or one + 's'}"
