"""Result files: 8-bit single-channel PNGs, written, taken apart and checked strictly.

Image libraries expand palettes, drop alpha and forgive missing ends; a server may do none of this,
so the structure is read here byte by byte.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unilabel.core.errors import UniLabelError

MAX_PIXELS = 2**26
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}
_HEADER = struct.Struct(">IIBBBBB")


class DamagedPngError(UniLabelError):
    """The bytes are no whole PNG."""


@dataclass(frozen=True)
class PngHeader:
    """What a PNG says about itself.

    Attributes:
        size: (width, height).
        bits: bits per sample.
        kind: "grey", "RGB", "palette", "grey with alpha" or "RGB with alpha".
        transparent: it has a chunk that makes values transparent.
    """

    size: tuple[int, int]
    bits: int
    kind: str
    transparent: bool


def encode_png(ids: NDArray[np.uint8]) -> bytes:
    """(H, W) ids as an 8-bit grey PNG, the same bytes for the same ids."""
    if ids.ndim != 2 or ids.dtype != np.uint8:
        raise UniLabelError(f"a result must be (H, W) uint8, not {ids.dtype} {ids.shape}.")
    ok, data = cv2.imencode(".png", ids, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    if not ok:
        raise UniLabelError(f"a result of the size {ids.shape} cannot be encoded as PNG.")
    return data.tobytes()


def read_header(data: bytes) -> PngHeader:
    """Walk through all chunks.

    Raises:
        DamagedPngError: no PNG, a part is missing, a checksum is wrong, or bytes follow its end.
    """
    if not data.startswith(_SIGNATURE):
        raise DamagedPngError("it is no PNG file")
    header: PngHeader | None = None
    transparent, position = False, len(_SIGNATURE)
    while True:
        if position + 12 > len(data):
            raise DamagedPngError(f"it is truncated: it ends after {len(data)} bytes without IEND")
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        body = data[position + 8 : position + 8 + length]
        end = position + 12 + length
        if end > len(data):
            raise DamagedPngError(
                f"it is truncated: {end - len(data)} bytes of its part {_text(kind)} are missing"
            )
        checksum = int.from_bytes(data[end - 4 : end], "big")
        if zlib.crc32(kind + body) != checksum:
            raise DamagedPngError(f"it is damaged: the checksum of its part {_text(kind)} is wrong")
        if header is None:
            if kind != b"IHDR" or length != _HEADER.size:
                raise DamagedPngError("it is damaged: it does not begin with IHDR")
            width, height, bits, color, *_ = _HEADER.unpack(body)
            header = PngHeader((width, height), bits, _COLOR_TYPES.get(color, "unknown"), False)
        transparent |= kind == b"tRNS"
        position = end
        if kind == b"IEND":
            break
    if position != len(data):
        raise DamagedPngError(f"{len(data) - position} bytes follow its end")
    return PngHeader(header.size, header.bits, header.kind, transparent)


def _text(kind: bytes) -> str:
    return kind.decode("ascii", "backslashreplace")


def decode_png(data: bytes) -> NDArray[np.uint8]:
    """(H, W) values of an 8-bit grey PNG whose header was checked.

    Raises:
        DamagedPngError: the pixels cannot be decompressed, or are too many.
    """
    width, height, *_ = _HEADER.unpack(data[16:29])
    if width * height > MAX_PIXELS:
        raise DamagedPngError(f"it has {width} x {height} pixels, more than {MAX_PIXELS}")
    try:
        with Image.open(BytesIO(data), formats=("PNG",)) as image:
            return np.array(image, np.uint8)
    except (OSError, SyntaxError, ValueError, zlib.error) as error:
        raise DamagedPngError(f"its pixels cannot be read ({error})") from error
