"""Masks that annotation files carry as run lengths or as small pictures."""

from __future__ import annotations

import base64
import binascii
import io
import zlib
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from unilabel.core.errors import UniLabelError
from unilabel.data.headers import MAX_PIXELS


def check_size(width: Any, height: Any, where: str) -> tuple[int, int]:
    """Width and height as integers.

    Raises:
        UniLabelError: no positive whole numbers, or too many pixels.
    """
    try:
        numbers = (float(width), float(height))
        sides = (int(numbers[0]), int(numbers[1]))
        good = sides == numbers and min(sides) >= 1
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise UniLabelError(
            f"{where}: the size is {str(width)[:40]} x {str(height)[:40]}, expected two positive "
            "whole numbers; export it again."
        )
    if sides[0] * sides[1] > MAX_PIXELS:
        raise UniLabelError(
            f"{where}: the size is {sides[0]}x{sides[1]}, expected at most {MAX_PIXELS} pixels."
        )
    return sides


def coco_rle(rle: Any, width: int, height: int, where: str) -> np.ndarray:
    """(H, W) bool of COCO's run lengths (column by column), a list or a compressed text.

    Raises:
        UniLabelError: the size or the runs do not fit the photo.
    """
    size = rle.get("size")
    if list(size or []) != [height, width]:
        raise UniLabelError(
            f"{where}: the run lengths are of the size {size} (height, width), expected "
            f"{[height, width]} as the photo; export it again."
        )
    counts = rle.get("counts")
    if isinstance(counts, list):
        return runs_to_mask(counts, width, height, where, columns=True)
    if not isinstance(counts, str | bytes):
        raise UniLabelError(f'{where}: run lengths without "counts"; export it again.')
    runs = _uncompress(counts.encode() if isinstance(counts, str) else counts, where)
    _check_sum(runs, width * height, where)  # the decoder would write past the end of the mask
    packed = coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    decoded: np.ndarray = coco_mask.decode(packed)
    return decoded.astype(bool)


def _uncompress(text: bytes, where: str) -> list[int]:
    """Runs of the compressed text: five bits a character, differences to the last but one."""
    runs: list[int] = []
    value = shift = 0
    for char in text:
        code = char - 48
        if not 0 <= code < 64 or shift > 60:
            raise UniLabelError(f"{where}: the run lengths are damaged; export it again.")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise UniLabelError(f"{where}: the run lengths are cut off; export it again.")
    return runs


def runs_to_mask(
    counts: Any, width: int, height: int, where: str, columns: bool = False
) -> np.ndarray:
    """(H, W) bool of lengths of runs of 0, 1, 0, ..., row by row or column by column.

    Raises:
        UniLabelError: they do not fill the size exactly.
    """
    runs = np.array(counts)
    if runs.ndim != 1 or not np.issubdtype(runs.dtype, np.integer):
        raise UniLabelError(f"{where}: the run lengths are no whole numbers; export it again.")
    _check_sum(runs.tolist(), width * height, where)
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(width, height).T if columns else flat.reshape(height, width)


def _check_sum(runs: list[int], wanted: int, where: str) -> None:
    if sum(runs) != wanted or min(runs, default=0) < 0:
        raise UniLabelError(
            f"{where}: the run lengths are of {sum(runs)} pixels, expected {wanted} of none below "
            "0; the size is wrong or the file is damaged: export it again."
        )


def brush_alpha(rle: Any, width: int, height: int, where: str) -> np.ndarray:
    """(H, W) bool of a brush stroke of Label Studio: RGBA in a stream of bits, alpha counts.

    The stream: count of values (32 bits); word size - 1 (5); four sizes of lengths - 1 (4 each);
    then blocks of a bit (1: one value repeated), the choice of a size (2), the length - 1, values.

    Raises:
        UniLabelError: it does not fill the size exactly.
    """
    try:
        data = np.array(rle, np.uint8)
        bits = np.unpackbits(data)
        text = bits.tobytes().translate(_ZERO_ONE).decode()
        count, word = int(text[:32], 2), int(text[32:37], 2) + 1
        sizes = [int(text[37 + 4 * i : 41 + 4 * i], 2) + 1 for i in range(4)]
        if count != 4 * width * height:
            raise ValueError(f"{count} values, expected {4 * width * height} for the photo")
        values = np.zeros(count, np.uint8)
        at, done = 53, 0
        while done < count:
            repeat, size = text[at] == "1", sizes[int(text[at + 1 : at + 3], 2)]
            at += 3
            stop = done + int(text[at : at + size], 2) + 1
            at += size
            take = 1 if repeat else stop - done
            if stop > count or at + take * word > len(text):
                raise ValueError("the stream ends too early")
            block = bits[at : at + take * word].reshape(take, word)
            values[done:stop] = np.packbits(block[:, -8:], axis=1).reshape(-1) >> max(8 - word, 0)
            at += take * word
            done = stop
    except (ValueError, TypeError, OverflowError, IndexError) as error:
        raise UniLabelError(
            f"{where}: the brush stroke is damaged ({error}); export it again."
        ) from None
    return values.reshape(height, width, 4)[..., 3] > 127


_ZERO_ONE = bytes([48, 49]) + bytes(254)


def packed_picture(data: Any, where: str, compressed: bool) -> np.ndarray:
    """(h, w) bool of a picture in base64 (Supervisely: zlib around it), alpha or values above 0.

    Raises:
        UniLabelError: it cannot be decoded or is too large.
    """
    try:
        raw = base64.b64decode(data, validate=True)
        if compressed:
            raw = zlib.decompressobj().decompress(raw, MAX_PIXELS)
        with Image.open(io.BytesIO(raw)) as picture:
            check_size(*picture.size, where)
            if "A" in picture.getbands():
                picture = picture.getchannel("A")
            if picture.mode not in ("1", "L", "P", "I;16", "I"):
                picture = picture.convert("L")
            return np.array(picture) > 0
    except (binascii.Error, zlib.error, OSError, SyntaxError, TypeError, ValueError) as error:
        if isinstance(error, UniLabelError):
            raise
        raise UniLabelError(
            f"{where}: the mask cannot be decoded ({error}); export it again."
        ) from None
