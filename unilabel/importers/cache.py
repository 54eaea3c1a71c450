"""Exports named in ``DATASETS.CUSTOM``: imported once into the run's own folder."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

from unilabel.core.errors import UniLabelError
from unilabel.data.parallel import default_workers
from unilabel.importers.prepare import Request, prepare
from unilabel.importers.write import write

logger = logging.getLogger(__name__)


def ready_folder(folder: str, cache: Path, names: set[str]) -> str:
    """A folder with ``classes.json`` as it is; of an export the folder of its import.

    Processes of one run wait for the first one. A path that is no folder is left to the reader of
    folders, which says where it was looked for.

    Args:
        folder: absolute, or relative to the working folder or ``$DETECTRON2_DATASETS``.
        cache: where imports are kept, ``<OUTPUT_DIR>/imported``.
        names: of the datasets before it; an import gets another one, which is added.

    Raises:
        UniLabelError: the folder is neither a dataset nor a known form of export.
    """
    below = Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))
    places = [p for p in (Path(folder).expanduser(), below / folder) if p.is_dir()]
    if not places or any((p / "classes.json").is_file() for p in places):
        names.add(Path(folder).name)
        return folder
    source = places[0].resolve()
    name = source.name if source.name not in names else f"{source.parent.name}_{source.name}"
    names.add(name)
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / f".{name}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            prepared = prepare(source, Request(name=name, workers=default_workers()))
            summary = write(prepared, cache / name)
        except UniLabelError as error:
            raise UniLabelError(
                f"DATASETS.CUSTOM: {folder} has no classes.json, and importing it fails: {error}"
            ) from error
    left_out = ", ".join(f"{n} {reason}" for reason, n in sorted(summary.left_out.items()))
    logger.info(
        "%s: %s; %s %s%s%s",
        folder,
        prepared.belief(),
        "imported to" if summary.fresh else "import kept in",
        summary.folder,
        f"; left out: {left_out}" if left_out else "",
        f"; note: {'; '.join(summary.notes)}" if summary.notes else "",
    )
    return str(summary.folder)
