"""Reading result files, from a folder or straight out of an archive."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from unilabel.core.errors import UniLabelError
from unilabel.data.dataset_files import walk_files
from unilabel.submission.checking import MAX_MEMBER_BYTES
from unilabel.submission.label_png import decode_png, read_header


class ResultSet:
    """Result files by the name of their image.

    Attributes:
        stems: names without ``.png``, sorted.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """List a folder (also its subfolders) or a zip file.

        Raises:
            UniLabelError: there is no result, or two of one name.
        """
        self._path = Path(path)
        self._zip: zipfile.ZipFile | None = None
        if self._path.is_dir():
            names = sorted(p for p in walk_files(self._path) if p.endswith(".png"))
        else:
            try:
                self._zip = zipfile.ZipFile(self._path)
            except (OSError, zipfile.BadZipFile) as error:
                raise UniLabelError(
                    f"{self._path} is neither a folder of PNGs nor a zip file ({error})."
                ) from error
            names = [n for n in self._zip.namelist() if n.endswith(".png")]
        self._names: dict[str, str] = {}
        for name in names:
            stem = PurePosixPath(name).stem
            if stem in self._names:
                raise UniLabelError(f"{self._names[stem]} and {name} are results of one frame.")
            self._names[stem] = name
        if not self._names:
            raise UniLabelError(f"{self._path} has no PNG.")
        self.stems = sorted(self._names)

    def load(self, stem: str) -> NDArray[np.uint8]:
        """(H, W) values of one frame.

        Raises:
            UniLabelError: the file is damaged or no 8-bit grey PNG.
        """
        name = self._names[stem]
        try:
            if self._zip is None:
                data = Path(name).read_bytes()
            else:
                with self._zip.open(name) as file:
                    data = file.read(MAX_MEMBER_BYTES)
            header = read_header(data)
            if header.kind != "grey" or header.bits != 8:
                raise UniLabelError(
                    f"it has {header.bits} bits, {header.kind}; expected 8 bits, grey"
                )
            return decode_png(data)
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, UniLabelError) as error:
            raise UniLabelError(f"{name}: {error}.") from error
