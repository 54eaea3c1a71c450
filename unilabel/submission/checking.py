"""Finding everything in an archive that a benchmark server might reject."""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.data.images import shown_size
from unilabel.submission.formats import Benchmark
from unilabel.submission.frames import Frame
from unilabel.submission.label_png import (
    MAX_PIXELS,
    DamagedPngError,
    PngHeader,
    decode_png,
    read_header,
)

MAX_MEMBER_BYTES = 64 * 2**20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_SHOWN_IDS = 5
_ADDED = re.compile(r"(_labelIds|_labelTrainIds|_gtFine\w*|_pred\w*|_color|_leftImg8bit)$")


@dataclass(frozen=True)
class ArchiveFault:
    """One thing that is wrong.

    Attributes:
        kind: short name of the kind of fault.
        member: file inside the archive that it is about, "" for the archive.
        message: what is wrong and what is expected.
    """

    kind: str
    member: str
    message: str

    def __str__(self) -> str:
        return f"[{self.kind}] {f'{self.member}: ' if self.member else ''}{self.message}"


@dataclass
class ArchiveReport:
    """What a check found.

    Attributes:
        files: number of result files that are in order.
        faults: what is wrong; empty for an archive that can be uploaded.
        pixels: value -> pixels over all files that are in order.
        unscored: value that the organisers know and do not score -> files that have it.
    """

    files: int = 0
    faults: list[ArchiveFault] = field(default_factory=list)
    pixels: Counter[int] = field(default_factory=Counter)
    unscored: Counter[int] = field(default_factory=Counter)

    def notes(self, benchmark: Benchmark) -> list[str]:
        """What is no fault, but worth knowing, in words."""
        return [
            f"id {value} on {self.pixels[value]} pixels of {count} files: an id of the "
            f"organisers' tables that {benchmark.name} does not score; a pixel of a scored class "
            "written so is a miss"
            for value, count in sorted(self.unscored.items())
        ]

    def add(self, kind: str, member: str, message: str) -> None:
        """Note a fault."""
        self.faults.append(ArchiveFault(kind, member, message))


def check_archive(
    path: Path,
    benchmark: Benchmark,
    frames: list[Frame] | None = None,
    folder: str | None = None,
) -> ArchiveReport:
    """Check names, structure, sizes and values of every member; nothing is unpacked to disk.

    Args:
        path: the zip file.
        benchmark: what it is for.
        frames: the images that results are wanted for; None: only their number and the pattern of
            their names are checked, and no size.
        folder: folder inside the archive, "" for its root; None: that of the benchmark.
    """
    report = ArchiveReport()
    expected = None if frames is None else {frame.file_name: frame for frame in frames}
    folder = benchmark.folder if folder is None else folder
    try:
        with zipfile.ZipFile(path) as archive:
            seen = _check_names(archive, benchmark, expected, folder, report)
            for info, frame in seen.values():
                _check_member(archive, info, frame, benchmark, report)
    except FileNotFoundError:
        raise UniLabelError(f"no such archive: {path}.") from None
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        report.add("archive", "", f"{path} cannot be read as a zip file ({error}); write it again")
        return report
    _check_complete(benchmark, expected, set(seen), report)
    return report


def _check_names(
    archive: zipfile.ZipFile,
    benchmark: Benchmark,
    expected: Mapping[str, Frame] | None,
    folder: str,
    report: ArchiveReport,
) -> dict[str, tuple[zipfile.ZipInfo, Frame | None]]:
    """File name -> member of every result that belongs to the archive."""
    seen: dict[str, tuple[zipfile.ZipInfo, Frame | None]] = {}
    names: Counter[str] = Counter()
    for info in archive.infolist():
        name = info.filename
        path = PurePosixPath(name)
        names[name] += 1
        for kind, message in _path_faults(info):
            report.add(kind, name, message)
            break
        else:
            if info.is_dir():
                if name.rstrip("/") != folder:
                    report.add("folder", name, f"a folder; expected only files {_place(folder)}")
                continue
            if names[name] > 1:
                report.add("duplicate", name, f"stored {names[name]} times; expected once")
                continue
            own = "" if path.parent == PurePosixPath(".") else path.parent.as_posix()
            if not _is_wanted(path.name, benchmark, expected):
                report.add("extra", name, f"no such result is wanted{_hint(path, expected)}")
            elif own == folder:
                seen[path.name] = (info, None if expected is None else expected[path.name])
            elif path.name in seen:
                report.add("duplicate", name, f"{seen[path.name][0].filename} is the same result")
            else:
                report.add("folder", name, f"lies {_place(own)}; expected {_place(folder)}")
                seen[path.name] = (info, None if expected is None else expected[path.name])
    return seen


def _path_faults(info: zipfile.ZipInfo) -> Iterator[tuple[str, str]]:
    name = info.orig_filename
    parts = name.rstrip("/").split("/")
    if name.startswith("/") or "\\" in name or re.match(r"[A-Za-z]:", name) or "\0" in name:
        yield "path", "an absolute path or a path of another system; expected a plain name"
    elif any(part in ("", ".", "..") for part in parts):
        yield "path", "the path leads out of the archive or is not plain; expected a plain name"
    elif stat.S_ISLNK(info.external_attr >> 16):
        yield "link", "a symbolic link; expected the file itself"
    elif info.flag_bits & 1:
        yield "encrypted", "it is encrypted; expected a plain file"
    elif info.compress_type not in _METHODS:
        yield "compression", f"method {info.compress_type}; expected stored or deflated"
    elif info.file_size > MAX_MEMBER_BYTES:
        yield "too large", f"{info.file_size} bytes; expected at most {MAX_MEMBER_BYTES}"


def _is_wanted(name: str, benchmark: Benchmark, expected: Mapping[str, Frame] | None) -> bool:
    if expected is not None:
        return name in expected
    if not name.endswith(".png"):
        return False
    pattern = benchmark.official_name
    return pattern is None or pattern.fullmatch(name[: -len(".png")]) is not None


def _hint(path: PurePosixPath, expected: Mapping[str, Frame] | None) -> str:
    plain = f"{_ADDED.sub('', path.stem)}.png"
    if expected is None or plain not in expected or plain == path.name:
        return ""
    return f"; is it meant to be {plain}?"


def _place(folder: str) -> str:
    return f"in the folder {folder!r}" if folder else "at the root of the archive"


def _check_member(
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    frame: Frame | None,
    benchmark: Benchmark,
    report: ArchiveReport,
) -> None:
    name = info.filename
    try:
        with archive.open(info) as file:
            data = file.read(MAX_MEMBER_BYTES + 1)
        header = read_header(data)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        report.add("damaged", name, f"it cannot be unpacked ({error}); write the archive again")
        return
    except DamagedPngError as error:
        report.add("damaged", name, f"{error}; predict this frame again")
        return
    wrong = _format_faults(header)
    if frame is not None and header.size != (size := shown_size(frame.path)):
        wrong.append(
            (
                "size",
                f"{header.size[0]} x {header.size[1]} pixels; its image {frame.path} has "
                f"{size[0]} x {size[1]}",
            )
        )
    for kind, message in wrong:
        report.add(kind, name, message)
    if not wrong:
        _check_values(data, name, benchmark, report)


def _format_faults(header: PngHeader) -> list[tuple[str, str]]:
    wrong = []
    if header.kind == "palette":
        wrong.append(("palette", "a palette PNG; expected one grey channel that holds the ids"))
    elif header.kind != "grey":
        wrong.append(("channels", f"{header.kind}; expected one grey channel"))
    if header.bits != 8:
        wrong.append(("bits", f"{header.bits} bits per value; expected 8"))
    if header.size[0] * header.size[1] > MAX_PIXELS:
        wrong.append(("too large", f"{header.size[0]} x {header.size[1]} pixels"))
    if header.transparent and header.kind == "grey":
        wrong.append(("channels", "a value is marked as transparent; expected none"))
    return wrong


def _check_values(data: bytes, name: str, benchmark: Benchmark, report: ArchiveReport) -> None:
    try:
        ids = decode_png(data)
    except DamagedPngError as error:
        report.add("damaged", name, f"{error}; predict this frame again")
        return
    counts = np.bincount(ids.reshape(-1), minlength=256)
    found = np.flatnonzero(counts)
    unscored = [int(i) for i in found if int(i) in benchmark.known - benchmark.allowed]
    wrong = [int(i) for i in found if int(i) not in benchmark.known | benchmark.allowed]
    if wrong:
        listed = ", ".join(f"{i} on {counts[i]} pixels" for i in wrong[:_SHOWN_IDS])
        more = f" and {len(wrong) - _SHOWN_IDS} more" if len(wrong) > _SHOWN_IDS else ""
        report.add(
            "ids",
            name,
            f"id {listed}{more}; expected only {', '.join(map(str, sorted(benchmark.allowed)))}",
        )
        return
    report.files += 1
    report.unscored.update(unscored)
    report.pixels.update({int(i): int(counts[i]) for i in found})


def _check_complete(
    benchmark: Benchmark,
    expected: Mapping[str, Frame] | None,
    seen: set[str],
    report: ArchiveReport,
) -> None:
    if expected is not None:
        for name in sorted(expected.keys() - seen):
            report.add("missing", name, "there is no result for this image")
    elif benchmark.frames is not None and len(seen) != benchmark.frames:
        report.add(
            "missing", "", f"{len(seen)} results; the benchmark has {benchmark.frames} images"
        )
