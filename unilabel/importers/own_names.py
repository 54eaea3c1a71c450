"""Names of classes that an export has beside its masks, in a file of a usual name."""

from __future__ import annotations

from unilabel.importers.classes import Names, names_of, read_names, read_yaml
from unilabel.importers.tree import Tree, suffix_of

NAME_FILES = (
    *("classes.json", "id2label.json", "classes.txt", "labels.txt", "class_names.txt", "names.txt"),
    *("classes.yaml", "label_names.json", "labels.json", "classes.yml", "data.yaml"),
    *("dataset.yaml", "labelmap.txt", "class_dict.csv", "classes.csv", "label_colors.txt"),
    *("label_colors.csv", "autosave_label.txt"),
)


def own_names(tree: Tree) -> Names | None:
    """The names, or None."""
    for name in NAME_FILES:
        for path in tree.named(name):
            if suffix_of(path) not in (".yaml", ".yml"):
                return read_names(tree.path(path))
            data = read_yaml(tree.path(path))
            if isinstance(data, dict) and data.get("names"):
                return names_of(data["names"], str(tree.path(path)))
    return None
