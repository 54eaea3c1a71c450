"""Images from strangers: a file becomes one RGB image, or it is refused with a reason."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from unilabel.core.errors import UniLabelError

# Only these decoders are used. (MPO, several JPEGs in one file, is opened by the JPEG one.)
FORMATS = (
    JpegImagePlugin.JpegImageFile.format,
    PngImagePlugin.PngImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
    GifImagePlugin.GifImageFile.format,
    BmpImagePlugin.BmpImageFile.format,
    TiffImagePlugin.TiffImageFile.format,
)
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
# What decoders raise on damaged files.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    ZeroDivisionError,
    struct.error,
    zlib.error,
)
_WIDE = {"I;16", "I;16L", "I;16B", "I;16N"}
_PLAIN = {"1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB", "HSV"}
_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}


@dataclass(frozen=True)
class ImageLimits:
    """What is accepted.

    Attributes:
        max_bytes: size of the file.
        max_pixels: width times height that is decoded.
        max_side: larger images are reduced to this side, pixels; 0: never.
    """

    max_bytes: int = 25 * 2**20
    max_pixels: int = 60_000_000
    max_side: int = 2048


@dataclass(frozen=True)
class LoadedImage:
    """An upright RGB image.

    Attributes:
        pixels: (H, W, 3) uint8.
        notes: what was done to it that its owner should know, whole sentences.
    """

    pixels: NDArray[np.uint8]
    notes: tuple[str, ...] = ()


def decode_image(
    data: bytes, name: str = "the file", limits: ImageLimits | None = None
) -> LoadedImage:
    """Decode an image file.

    Turned upright by its EXIF orientation. Transparent parts become white, 16-bit grey is reduced
    to 8 bit, CMYK is converted, of several frames the first is taken.

    Args:
        data: the content of the file.
        name: how to call it in messages.
        limits: what is accepted; None: the defaults.

    Raises:
        UniLabelError: the file is no image of a known format, too large, damaged, or holds values
            that cannot be shown as a photo.
    """
    limits = limits or ImageLimits()
    if not data:
        raise UniLabelError(f"{name} is empty; choose an image file.")
    if len(data) > limits.max_bytes:
        raise UniLabelError(
            f"{name} has {len(data) / 2**20:.1f} MB, at most {limits.max_bytes / 2**20:.0f} MB are "
            "accepted; save it smaller."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # notes of decoders on odd but readable files
        image = _open(data, name, limits)
        notes: list[str] = []
        try:
            if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
                notes.append(f"It has {image.n_frames} frames; the first one is used.")
            image.load()
            upright = ImageOps.exif_transpose(image)
            rgb = _to_rgb(upright, name, notes)
        except UniLabelError:
            raise
        except _DAMAGE as error:
            raise UniLabelError(
                f"{name} is damaged or cut off and cannot be decoded; save it again."
            ) from error
    longest = max(rgb.size)
    if limits.max_side and longest > limits.max_side:
        size = tuple(max(1, round(side * limits.max_side / longest)) for side in rgb.size)
        notes.append(
            f"It was reduced from {rgb.width} x {rgb.height} to {size[0]} x {size[1]} pixels."
        )
        rgb = rgb.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    return LoadedImage(np.array(rgb), tuple(notes))


def _open(data: bytes, name: str, limits: ImageLimits) -> Image.Image:
    """Read the header only, and refuse what would be too large when decoded."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large(name, limits) from error
    except _DAMAGE as error:
        raise UniLabelError(
            f"{name} is no image that can be read; accepted are JPEG, PNG, WebP, GIF, BMP and TIFF."
        ) from error
    if image.width * image.height > limits.max_pixels:
        raise _too_large(name, limits, image.size)
    return image


def _too_large(
    name: str, limits: ImageLimits, size: tuple[int, int] | None = None
) -> UniLabelError:
    found = f"has {size[0]} x {size[1]} pixels" if size else "has too many pixels"
    return UniLabelError(
        f"{name} {found}; at most {limits.max_pixels // 10**6} million are accepted. Reduce it "
        "first."
    )


def _to_rgb(image: Image.Image, name: str, notes: list[str]) -> Image.Image:
    if image.mode in _WIDE:
        notes.append("It has 16 bit per pixel and was reduced to 8 bit.")
        values = np.asarray(image).astype(np.float32) / 257
        return Image.fromarray(np.rint(values).astype(np.uint8)).convert("RGB")
    if image.mode in _ALPHA or "transparency" in image.info:
        notes.append("Its transparent parts are shown on white.")
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    if image.mode not in _PLAIN:
        raise UniLabelError(
            f"{name} holds values of the kind {image.mode!r}, not colours of a photo; save it as "
            "an 8-bit JPEG or PNG."
        )
    if image.mode == "CMYK":
        notes.append("Its print colours (CMYK) were converted to RGB.")
    return image.convert("RGB")
