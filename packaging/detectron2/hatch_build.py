"""Hatchling build hook: fetch the source of Detectron2 0.5, verify, unpack and edit it."""

from __future__ import annotations

import hashlib
import os
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Hatchling runs this file by its path, so the folder is not importable yet.
sys.path.insert(0, str(Path(__file__).resolve().parent))
import fixes

# A source release of Detectron2 0.5 under another name: it lacks the C++ sources and cannot be
# installed as it is, but its Python files are complete. The hash fixes what is unpacked and run.
RELEASE = "detectron2-cdo"
RELEASE_VERSION = "0.5"
RELEASE_SHA256 = "53c9e79e9cc943e80419c588ea44b5479507a8628ed14a4e06bd093e29311b18"

LOCAL_RELEASE = "DETECTRON2_SDIST"  # environment variable: path of a copy of that release

# Folder of the release -> folder of the wheel. As in the official distribution, three of the
# projects become importable as detectron2.projects.<name>.
LAYOUT = {
    PurePosixPath(source): PurePosixPath(target)
    for source, target in (
        ("detectron2", "detectron2"),
        ("projects/DeepLab/deeplab", "detectron2/projects/deeplab"),
        ("projects/Panoptic-DeepLab/panoptic_deeplab", "detectron2/projects/panoptic_deeplab"),
        ("projects/PointRend/point_rend", "detectron2/projects/point_rend"),
    )
}


def index_urls(environment: Mapping[str, str]) -> list[str]:
    """Package indexes named in the variables of pip, else of uv; empty: the default index."""
    for main, extra in (("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"), ("UV_DEFAULT_INDEX", "UV_INDEX")):
        if environment.get(main):
            return [environment[main], *environment.get(extra, "").split()]
    return []


def download(folder: Path) -> Path:
    """Download the release into `folder`; RuntimeError if no index has the pinned file."""
    from unearth import PackageFinder  # not needed for a local release

    finder = PackageFinder(index_urls=index_urls(os.environ), no_binary=[RELEASE])
    hashes = {"sha256": [RELEASE_SHA256]}
    package = finder.find_best_match(f"{RELEASE}=={RELEASE_VERSION}", hashes=hashes).best
    if package is None or package.link is None:
        raise RuntimeError(
            f"no package index offers {RELEASE} {RELEASE_VERSION} with sha256 {RELEASE_SHA256}. "
            f"Set PIP_INDEX_URL to an index that does, or {LOCAL_RELEASE} to a copy of the file."
        )
    return finder.download(package.link, folder)


def fetch(folder: Path) -> Path:
    """Return the verified archive: the one that DETECTRON2_SDIST names, else a download.

    Raises:
        RuntimeError: The archive is missing, or its SHA-256 is not the pinned one.
    """
    local = os.environ.get(LOCAL_RELEASE)
    archive = Path(local) if local else download(folder)
    if not archive.is_file():
        raise RuntimeError(f"{LOCAL_RELEASE} names {archive}, which is not a file")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != RELEASE_SHA256:
        raise RuntimeError(f"{archive} has sha256 {digest}, expected {RELEASE_SHA256}")
    return archive


def destination(member: str) -> PurePosixPath | None:
    """Where an archive member belongs in the wheel, or None if it does not belong there."""
    top, *rest = PurePosixPath(member).parts or ("",)
    if top in ("/", "..") or ".." in rest:
        return None
    name = PurePosixPath(*rest)
    if name == PurePosixPath("LICENSE"):
        return PurePosixPath("detectron2/LICENSE")
    for source, target in LAYOUT.items():
        if name != source and name.is_relative_to(source):
            return target / name.relative_to(source)
    return None


def unpack(archive: Path, target: Path) -> None:
    """Write the wheel's files below `target`; links, devices and outside names are left out."""
    with tarfile.open(archive) as tar:
        for member in tar:
            place = destination(member.name)
            content = tar.extractfile(member) if member.isfile() and place else None
            if content is not None and place is not None:
                path = target / place
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())


class Detectron2Hook(BuildHookInterface):  # type: ignore[misc]
    """Adds the edited package to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Prepare the package in a temporary folder and register it."""
        if version == "editable":
            raise RuntimeError(
                "packaging/detectron2 holds no Detectron2 code to edit: install it without -e"
            )
        self._folder = TemporaryDirectory(prefix="detectron2-")
        folder = Path(self._folder.name)
        tree = folder / "wheel"
        unpack(fetch(folder), tree)
        fixes.apply(tree / "detectron2")
        build_data["force_include"][str(tree / "detectron2")] = "detectron2"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary folder."""
        self._folder.cleanup()
