"""Arrays of numbers from MATLAB files (version 5 to 7), read strictly.

SciPy's reader trusts the sizes and types in a file; a damaged one ends the process. Here every size
is compared with what is there.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np

MAX_BYTES = 2**30  # of a decompressed variable
_HEADER = 128
_COMPRESSED, _MATRIX = 15, 14
_TYPES = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_CLASSES = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip


def read_array(data: bytes, name: str) -> np.ndarray:
    """A variable of a file.

    Args:
        data: content of the file.
        name: of the variable, a real numeric array.

    Raises:
        KeyError: there is no such variable.
        ValueError: the file is damaged or of another form.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:_HEADER], "")
    if not order or struct.unpack(order + "H", data[124:126])[0] != 0x0100:
        raise ValueError("no MATLAB file of version 5 to 7")
    for kind, content in _elements(data[_HEADER:], order):
        if kind == _COMPRESSED:
            kind, content = next(_elements(_decompress(content), order), (0, b""))
        if kind == _MATRIX:
            parts = list(_elements(content, order))
            if len(parts) > 2 and parts[2][1].rstrip(b"\0") == name.encode():
                return _array(parts, order)
    raise KeyError(name)


def _decompress(content: bytes) -> bytes:
    try:
        stream = zlib.decompressobj()
        result = stream.decompress(content, MAX_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not stream.eof:
        raise ValueError("a compressed variable is incomplete or too large")
    return result


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of one element after the other."""
    position = 0
    while position + 8 <= len(data):
        kind, size = struct.unpack_from(order + "II", data, position)
        start, stop = position + 8, position + 8 + size
        if kind >> 16:  # small: the size is in the upper half, the content in the tag
            kind, size = kind & 0xFFFF, kind >> 16
            start, stop = position + 4, position + 4 + size
            if size > 4:
                raise ValueError(f"a small element of {size} bytes")
            position += 8
        elif kind == _COMPRESSED:
            position = stop
        else:
            position = stop + -size % 8
        if stop > len(data):
            raise ValueError(f"an element of {size} bytes where {len(data) - start} are left")
        yield kind, data[start:stop]


def _array(parts: list[tuple[int, bytes]], order: str) -> np.ndarray:
    """From array flags, dimensions, name and values."""
    if len(parts) != 4 or len(parts[0][1]) < 4 or len(parts[1][1]) % 4:
        raise ValueError("the variable is no array of real numbers")
    flags = struct.unpack(order + "I", parts[0][1][:4])[0]
    shape = np.frombuffer(parts[1][1], order + "i4").tolist()
    kind, content = parts[3]
    if (flags & 0xFF) not in _CLASSES or kind not in _TYPES or flags & 0x0800:
        raise ValueError("the variable is no array of real numbers")
    stored = np.dtype(order + _TYPES[kind])
    if min(shape, default=0) < 1 or math.prod(shape) * stored.itemsize != len(content):
        raise ValueError(f"{len(content)} bytes of values for the shape {tuple(shape)}")
    values = np.frombuffer(content, stored).astype(_CLASSES[flags & 0xFF])
    return values.reshape(shape, order="F")
