"""The files of an export, listed once: what lies where, and which photo a name means."""

from __future__ import annotations

import codecs
import hashlib
import os
import posixpath
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from unilabel.core.errors import UniLabelError
from unilabel.data.dataset_files import is_of_system, plain
from unilabel.data.images import IMAGE_SUFFIXES

PHOTO_SUFFIXES = tuple(dict.fromkeys((*IMAGE_SUFFIXES, ".jfif", ".jpe")))
MAX_FILES = 5_000_000
SNIFFED = 16384  # bytes at both ends of a file


def suffix_of(path: str) -> str:
    """Lower-case suffix with its dot."""
    return posixpath.splitext(path)[1].lower()


def stem_of(path: str) -> str:
    """File name without folder and suffix."""
    return posixpath.splitext(posixpath.basename(path))[0]


class Tree:
    """All files below a folder, by their path relative to it (with ``/``), sorted.

    Hidden files and folders are left out, links are followed, a link to a parent folder is not.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """List the files.

        Raises:
            UniLabelError: no folder, not readable, or more than :data:`MAX_FILES` files.
        """
        self.root = Path(root).expanduser().absolute()
        if not self.root.is_dir():
            packed = self.root.is_file() and self.root.suffix.lower() in (".zip", ".tar", ".gz")
            cure = "unpack the archive and give its folder" if packed else "give the export's path"
            raise UniLabelError(f"{self.root} is no folder; {cure}.")
        self.loops: list[str] = []
        self.files: dict[str, tuple[int, int]] = dict(sorted(self._walk("", frozenset())))

    def _walk(
        self, folder: str, parents: frozenset[tuple[int, int]]
    ) -> Iterator[tuple[str, tuple[int, int]]]:
        place = self.root / folder
        try:
            status = place.stat()
            with os.scandir(place) as listing:
                entries = list(listing)
        except OSError as error:
            raise UniLabelError(
                f"cannot read {place}: {error.strerror or error}; make it readable or leave it out."
            ) from error
        identity = (status.st_dev, status.st_ino)
        if identity in parents:
            self.loops.append(folder)
            return
        count = 0
        for entry in entries:
            if entry.name.startswith(".") or is_of_system(entry.name):
                continue
            path = f"{folder}/{entry.name}" if folder else entry.name
            try:
                path.encode("utf-8")
            except UnicodeEncodeError:
                raise UniLabelError(
                    f"{self.root}: the file name {os.fsencode(path)!r} is not UTF-8; rename it "
                    "(for example with convmv), in the annotation file as well."
                ) from None
            if entry.is_dir():
                yield from self._walk(path, parents | {identity})
                continue
            try:
                found = entry.stat()
            except OSError:  # a dangling link counts as missing where it is wanted
                continue
            yield path, (found.st_size, found.st_mtime_ns)
            count += 1
            if count > MAX_FILES:
                raise UniLabelError(f"{place} has more than {MAX_FILES} files; split the export.")

    @cached_property
    def photos(self) -> list[str]:
        """Paths with the suffix of an image."""
        return [f for f in self.files if suffix_of(f) in PHOTO_SUFFIXES]

    @cached_property
    def folders(self) -> list[str]:
        """Every folder that has files below it, "" for the root."""
        found = {""}
        for path in self.files:
            while path := posixpath.dirname(path):
                found.add(path)
        return sorted(found)

    def named(self, *names: str) -> list[str]:
        """Paths whose file name is one of ``names``, whatever the case."""
        wanted = {n.lower() for n in names}
        return [f for f in self.files if posixpath.basename(f).lower() in wanted]

    def with_suffix(self, *suffixes: str) -> list[str]:
        """Paths with one of the (lower-case) suffixes."""
        return [f for f in self.files if suffix_of(f) in suffixes]

    def below(self, folder: str) -> list[str]:
        """Paths in a folder and its subfolders."""
        return [f for f in self.files if is_below(f, folder)]

    def path(self, relative: str) -> Path:
        """The whole path of a file."""
        return self.root / relative

    def sniff(self, relative: str) -> str:
        """Beginning and end of a file, as far as they are text."""
        try:
            with open(self.path(relative), "rb") as file:
                start = file.read(SNIFFED)
                if self.files[relative][0] > 2 * SNIFFED:
                    file.seek(-SNIFFED, os.SEEK_END)
                rest = file.read(SNIFFED)
        except OSError as error:
            raise UniLabelError(
                f"cannot read {self.path(relative)}: {error.strerror or error}."
            ) from error
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return start[: len(start) // 2 * 2].decode("utf-16", "replace")
        return (start + b"\n" + rest).decode("utf-8-sig", "replace")

    def fingerprint(self) -> str:
        """Hash of the listing: paths, sizes and times of change."""
        text = "\n".join(f"{path}\0{size}\0{time}" for path, (size, time) in self.files.items())
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = defaultdict(list)
        for photo in self.photos:
            names[posixpath.basename(photo)].append(photo)
        return names

    @cached_property
    def _by_plain_name(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = defaultdict(list)
        for photo in self.photos:
            names[plain(posixpath.basename(photo))].append(photo)
        return names

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        stems: dict[str, list[str]] = defaultdict(list)
        for photo in self.photos:
            stems[plain(stem_of(photo))].append(photo)
        return stems

    def find_photo(
        self,
        reference: str,
        near: str,
        prefer: tuple[str, ...] = (),
        stem: bool = False,
        avoid: tuple[str, ...] = (),
    ) -> str | None:
        """The photo that an annotation file means, or None.

        Args:
            reference: what the file says: a name, a path, a URL.
            near: the annotation file; the photo may be given relative to its folder.
            prefer: names of folders (of the split) that decide between photos of one name.
            stem: ``reference`` has no suffix.
            avoid: parts of names of folders that hold masks, not photos.

        Raises:
            UniLabelError: the path leads out of the export and no photo in it has the name, or
                several photos fit equally.
        """
        wanted = posixpath.normpath(local_path(reference))
        folder = posixpath.dirname(near)
        if wanted.startswith("../"):
            wanted = self._inside(posixpath.join(folder, wanted), reference, near)
        for place in (posixpath.join(folder, wanted), wanted):
            if place in self.files and not stem and suffix_of(place) in PHOTO_SUFFIXES:
                return place
        name = posixpath.basename(wanted)
        choices = [] if stem else self._named_photos(name)
        if not choices:  # perhaps it was saved in another format
            choices = self._by_stem.get(plain(name if stem else stem_of(name)), [])
            stem = True
        if not choices and "%" in reference:  # as in an address
            return self.find_photo(unquote(reference).replace("%", ""), near, prefer, False, avoid)
        if len(choices) > 1 and avoid:
            folders = {c: posixpath.dirname(c).lower() for c in choices}
            choices = [c for c in choices if not any(a in folders[c] for a in avoid)] or choices
        return self._choose(choices, wanted, near, prefer, stem)

    def _named_photos(self, name: str) -> list[str]:
        return self._by_name.get(name) or self._by_plain_name.get(plain(name), [])

    def _inside(self, path: str, reference: str, near: str) -> str:
        path = posixpath.normpath(path)
        if path.startswith("../"):
            if self._named_photos(posixpath.basename(path)):  # moved into the export
                return posixpath.basename(path)
            raise UniLabelError(
                f"{self.path(near)}: the photo {reference!r} lies outside of {self.root}; give a "
                "folder that holds photos and annotations, or correct the path."
            )
        return path

    def _choose(
        self, choices: list[str], wanted: str, near: str, prefer: tuple[str, ...], stem: bool
    ) -> str | None:
        """Narrow photos of one name down: by their folders, by the split, by nearness."""
        parts = wanted.lstrip("/").split("/")
        for depth in range(len(parts), 1, -1):
            end = "/" + "/".join(parts[-depth:])
            fitting = [
                c
                for c in choices
                if ("/" + (posixpath.splitext(c)[0] if stem else c)).endswith(end)
            ]
            if fitting:
                choices = fitting
                break
        if len(choices) > 1 and prefer:
            choices = [c for c in choices if set(c.lower().split("/")) & set(prefer)] or choices
        if len(choices) > 1:
            folder = posixpath.dirname(near)
            choices = [c for c in choices if is_below(c, folder)] or choices
        if len(choices) > 1:
            raise UniLabelError(
                f"{self.path(near)}: the photo {wanted!r} may be {choices[0]} or {choices[1]}; "
                "rename one, or write the folder into the annotation file."
            )
        return choices[0] if choices else None


def is_below(path: str, folder: str) -> bool:
    """Whether a relative path lies in a folder ("" is the root) or its subfolders."""
    return not folder or path.startswith(folder + "/")


def local_path(reference: str) -> str:
    """The path in a file name, a Windows path, a URL or a reference of a labelling server."""
    text = reference.strip().replace("\\", "/")
    if "://" in text or text.startswith("/data/"):
        parts = urlsplit(text)
        local = parts.query.partition("d=")[2].partition("&")[0]
        text = unquote(local or parts.path)
    if len(text) > 1 and text[1] == ":":  # C:/...
        text = text[2:]
    return text.lstrip("/") or text
