"""What an export that is of no known form seems to be, and what to do with it."""

from __future__ import annotations

import posixpath
import re

from unilabel.importers.tree import Tree, suffix_of

_CURES = {
    ".zip": "unpack {} and give its folder",
    ".npy": "{} is an array of NumPy: save the label maps as PNG, for example "
    "PIL.Image.fromarray(numpy.load(FILE).astype('uint8')).save('FILE.png')",
    ".mat": "{} is a file of MATLAB: save the label maps as PNG (imwrite(uint8(map), 'FILE.png'))",
    ".ndjson": "{} is of Labelbox: export COCO or masks there",
    ".arrow": "{} is a cache of Hugging Face: save the data set as parquet (to_parquet)",
    ".tfrecord": "{} is of TensorFlow: save photos and label maps as JPEG and PNG",
    ".h5": "{} is an HDF5 file: save photos and label maps as JPEG and PNG",
}
for _same, _as in (("tar", "zip"), ("gz", "zip"), ("tgz", "zip"), ("7z", "zip"), ("npz", "npy"),
                   ("hdf5", "h5"), ("tfrecords", "tfrecord")):  # fmt: skip
    _CURES[f".{_same}"] = _CURES[f".{_as}"]
# Parts of JSON files of other programs, and what to do.
_JSON = (
    (('"pid"', '"fid_list"'), "a project of VGG Image Annotator 3: export it as COCO"),
    (('"objects"', '"ISAT"'), "annotations of ISAT: export them as COCO or LabelMe"),
    (('"items"', '"label_id"'), "Datumaro's own form: export as COCO or VOC"),
    (('"counts"', '"segmentation"', '"area"'), "masks of Segment Anything, which have no classes: "
     "give them classes in an annotation tool"),
)  # fmt: skip
_SINGLE = re.compile(r"task-\d+-annotation-\d+-by-\d+-tag-", re.IGNORECASE)


def hint(tree: Tree) -> str:
    """One or two clauses, or "" if it looks like nothing that is known."""
    for suffix, text in _CURES.items():
        if files := tree.with_suffix(suffix):
            return text.format(files[0])
    if single := [f for f in tree.photos if _SINGLE.match(posixpath.basename(f))]:
        return (
            f"{single[0]} is the mask of one object: export JSON from Label Studio and put the "
            "photos beside it"
        )
    for file in tree.with_suffix(".json")[:20]:
        text = tree.sniff(file)
        for marks, meaning in _JSON:
            if all(mark in text for mark in marks):
                return f"{file} looks like {meaning}"
    return _one_mask_per_class(tree)


def _one_mask_per_class(tree: Tree) -> str:
    """Folders ``masks/car``, ``masks/road`` whose files have the names of the photos."""
    folders: dict[str, set[str]] = {}
    for path in tree.photos:
        if suffix_of(path) == ".png":
            name = posixpath.splitext(posixpath.basename(path))[0]
            folders.setdefault(posixpath.dirname(path), set()).add(name)
    for folder, names in folders.items():
        parent = posixpath.dirname(folder)
        same = [
            other for other, found in folders.items()
            if other != folder and parent and posixpath.dirname(other) == parent and found & names
        ]  # fmt: skip
        if same and re.search(r"mask|label|annot|gt", parent, re.IGNORECASE):
            return (
                f"{folder} and {same[0]} seem to hold a mask for each class: write one label map "
                "for each photo, with a value for each class"
            )
    return ""
