"""Label files as stored: the ids or colours of PNG, TIFF, BMP and GIF files.

A label file must be read exactly: no value may be stretched, averaged or turned. ``read_id_png`` is
the strict form for datasets whose files are 8-bit ids.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from unilabel.core.errors import UniLabelError
from unilabel.data import headers
from unilabel.data.headers import MAX_PIXELS
from unilabel.data.images import DAMAGE, decode_with_opencv
from unilabel.data.tiff_tags import read_tiff_tags

LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif")
_FORMATS = ("PNG", "TIFF", "BMP", "GIF")
_EXPECTED = "expected a PNG, TIFF, BMP or GIF of class ids or of class colours"


@dataclass(frozen=True)
class LabelImage:
    """What a label file holds.

    Attributes:
        values: (H, W) uint8 or uint16 ids, or (H, W, 3) uint8 colours.
        palette: (n, 3) uint8 colours of the ids, where the file has a palette.
        clear: (H, W) bool, pixels that are transparent, or None where all are opaque.
    """

    values: np.ndarray
    palette: np.ndarray | None = None
    clear: np.ndarray | None = None

    def ids(self) -> np.ndarray | None:
        """(H, W) ids; None if the file holds colours that are not grey."""
        if self.values.ndim == 2:
            return self.values
        red, green, blue = cv2.split(self.values)
        same = np.array_equal(red, green) and np.array_equal(red, blue)
        return red if same else None

    def colors(self) -> np.ndarray | None:
        """(H, W, 3) colours; None if the ids are wider than 8 bits."""
        if self.values.ndim == 3:
            return self.values
        if self.palette is not None:
            table = np.zeros((256, 3), np.uint8)
            table[: len(self.palette)] = self.palette
            return table[self.values]
        if self.values.dtype != np.uint8:
            return None
        return cv2.merge([self.values] * 3)


def read_label(path: str, max_pixels: int = MAX_PIXELS) -> LabelImage:
    """Read a label file as stored.

    Raises:
        UniLabelError: missing, damaged, a lossy or unknown format, floating point or several bands.
    """
    return decode_label(headers.read_bytes(path), path, max_pixels)


def decode_label(data: np.ndarray, path: str, max_pixels: int = MAX_PIXELS) -> LabelImage:
    """As :func:`read_label`, of (n,) uint8 content; ``path`` names it in messages."""
    if headers.is_png(data):
        headers.check_label_size(data, path, max_pixels)
        if headers.is_truncated(data):
            raise _undecodable(data, path)
        if (
            data[25] == 0
            and headers.png_bits(data) >= 8
            and b"tRNS" not in headers.png_chunks(data)
        ):
            ids = decode_with_opencv(data, cv2.IMREAD_UNCHANGED)
            if ids is None or ids.ndim != 2:
                raise _undecodable(data, path)
            return LabelImage(ids)
        if headers.png_bits(data) > 8:
            raise UniLabelError(
                f"{path} holds colours of 16 bits per channel, {_EXPECTED} of 8 bits; save it so."
            )
    elif not data[:4].tobytes().startswith((b"II", b"MM", b"BM", b"GIF8")):
        raise UniLabelError(
            f"{path} cannot be decoded as a label map ({data.size} bytes): it is "
            f"{headers.kind_of(data)}, {_EXPECTED}; write it again from its source (lossy formats "
            "change ids)."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _with_pillow(data, path, max_pixels)
        except UniLabelError:
            raise
        except DAMAGE as error:
            raise _undecodable(data, path) from error


def read_id_png(path: str) -> np.ndarray:
    """(H, W) uint8 values of a single-channel or palette PNG, as stored.

    Raises:
        UniLabelError: missing, damaged, no PNG, several channels, or not 8 bits.
    """
    headers.check_label(headers.read_bytes(path), path)
    values = read_label(path).values
    if values.ndim != 2 or values.dtype != np.uint8:
        channels = 1 if values.ndim == 2 else values.shape[2]
        raise UniLabelError(
            f"{path} has {channels} channel(s) of {values.dtype}, expected an 8-bit single-channel "
            "PNG of class ids (255 = ignore); convert colours to ids first."
        )
    return values


def _with_pillow(data: np.ndarray, path: str, max_pixels: int) -> LabelImage:
    bits = headers.png_bits(data) if headers.is_png(data) else 8
    tags = read_tiff_tags(data)
    if tags is not None:
        headers.check_size(tags.width, tags.height, path, "a label map", max_pixels)
        if tags.pages > 1:
            raise headers.animated(path, tags.pages)
        if tags.floating or tags.bands > 4:
            what = "floating point values" if tags.floating else f"{tags.bands} bands"
            raise UniLabelError(
                f"{path} holds {what}, {_EXPECTED}; save whole numbers in one band."
            )
        if tags.colors == 1 and tags.bands == 1:
            bits = tags.bits
    image = Image.open(io.BytesIO(data.tobytes()), formats=_FORMATS)
    headers.check_size(image.width, image.height, path, "a label map", max_pixels)
    if image.format == "GIF" and image.n_frames > 1:  # type: ignore[attr-defined]
        raise headers.animated(path, image.n_frames)  # type: ignore[attr-defined]
    image.load()
    if image.mode == "1":
        return LabelImage(np.array(image, np.uint8))
    if image.mode == "P":
        colors = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        if image.format == "GIF" and (colors == colors[:, :1]).all():
            return LabelImage(colors[np.array(image), 0])  # GIF has no greys but in a palette
        return LabelImage(np.array(image, np.uint8), palette=colors)
    if image.mode == "L":  # decoders stretch 2 and 4 bits to 0..255
        ids = np.array(image, np.uint8)
        return LabelImage(ids // np.uint8(255 // (2**bits - 1)) if bits < 8 else ids)
    if image.mode.startswith("I"):
        ids = np.array(image)
        if ids.min() < 0 or ids.max() > 65535:
            raise UniLabelError(
                f"{path} holds ids of {ids.min()} to {ids.max()}, expected 0 to 65535; save the "
                "label map with 16 bits."
            )
        return LabelImage(ids.astype(np.uint16))
    if image.mode in ("LA", "RGBA"):
        parts = np.array(image)
        clear = parts[..., -1] < 128
        values = parts[..., 0] if image.mode == "LA" else np.ascontiguousarray(parts[..., :3])
        return LabelImage(values, clear=clear if clear.any() else None)
    if image.mode == "RGB":
        return LabelImage(np.array(image))
    raise UniLabelError(f"{path} holds values of the kind {image.mode!r}, {_EXPECTED}; convert it.")


def _undecodable(data: np.ndarray, path: str) -> UniLabelError:
    return UniLabelError(
        f"{path} cannot be decoded as a label map ({data.size} bytes); it is damaged or truncated: "
        "fetch it again or write it again from its source."
    )


def pack_colors(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (H, W) uint32 codes R + 256 G + 65536 B."""
    rgba = cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA)
    codes: np.ndarray = rgba.view("<u4")[..., 0] & 0xFFFFFF
    return codes


def find_codes(
    codes: np.ndarray, known: np.ndarray, classes: np.ndarray, unknown: int
) -> np.ndarray:
    """Class of every code, ``unknown`` where it is not one of ``known`` (ascending).

    Runs of equal pixels are looked up once: label maps have long ones.
    """
    flat = codes.reshape(-1)
    starts = np.flatnonzero(np.diff(flat, prepend=flat[:1] + 1))
    values = flat[starts]
    position = np.searchsorted(known, values).clip(max=len(known) - 1)
    found = np.where(known[position] == values, classes[position], np.uint8(unknown))
    lengths = np.diff(starts, append=len(flat))
    return np.repeat(found, lengths).reshape(codes.shape)
