"""CVAT "Segmentation mask 1.1": VOC's folders, colours, and ``labelmap.txt`` with their names."""

from __future__ import annotations

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import IGNORE
from unilabel.importers.classes import ClassTable, is_background, read_names
from unilabel.importers.forms.voc import bases, label_maps, photo_mask_pairs
from unilabel.importers.masks import MaskLabel, pack
from unilabel.importers.plan import FilePhoto, Item, Options, Plan
from unilabel.importers.tree import Tree

BLACK = 0


def detect(tree: Tree) -> list[str]:
    """Folders with ``labelmap.txt`` beside ``SegmentationClass``."""
    return [base for base in bases(tree) if label_maps(tree, base)]


def read(tree: Tree, base: str, options: Options) -> Plan:
    """The plan of an import; black is background.

    Raises:
        UniLabelError: a file is missing, or the label map gives no colours.
    """
    names = options.names or read_names(tree.path(label_maps(tree, base)[0]))
    plan = Plan(ClassTable())
    colors: dict[int, int] = {}
    ignored = options.background == "ignore"
    for name, color in names.listed:
        if color is None or pack(color) in colors:
            what = "has no colour" if color is None else "has the colour of another label"
            raise UniLabelError(
                f"{names.file}: the label {name!r} {what}, expected a line "
                '"name:red,green,blue::" with a colour of its own; export it again.'
            )
        background = is_background(name) or pack(color) == BLACK
        number = IGNORE if background and ignored else plan.table.add(name, names.file, color)
        colors[pack(color)] = number
        if background and not ignored:
            plan.table.background = number
    if BLACK not in colors:  # pixels of no label
        colors[BLACK] = IGNORE if ignored else plan.table.add_background()
    hint = f"it is not in {names.file}; add it there, or export the masks again"
    for photo, mask, split in photo_mask_pairs(tree, base, plan):
        label = MaskLabel(str(tree.path(mask)), tuple(colors.items()), True, hint)
        plan.items.append(Item(FilePhoto(str(tree.root), photo), label, split))
    return plan
