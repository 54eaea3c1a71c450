"""Images from strangers: a file becomes one RGB image, or it is refused with a reason."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, features

from unilabel.core.errors import UniLabelError
from unilabel.data.headers import check_size
from unilabel.data.images import DAMAGE, IMAGE_SUFFIXES, ImageReader, LoadedImage

_MODERN_SUFFIXES = (".avif", ".heic", ".heif")
PICTURE_SUFFIXES = (*IMAGE_SUFFIXES, *_MODERN_SUFFIXES)
VIDEO_SUFFIXES = (".mp4", ".webm", ".mov", ".avi", ".mkv", ".m4v")
_AVIF = (b"avif", b"avis")
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


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


def decode_image(
    data: bytes, name: str = "the file", limits: ImageLimits | None = None
) -> LoadedImage:
    """Decode an image file as training does, see ``unilabel/data/images.py``.

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
    reader = ImageReader(max_pixels=limits.max_pixels)
    if name.lower().endswith(VIDEO_SUFFIXES):
        raise UniLabelError(f"{name} is a video; open “Short video” below the picture and drop it.")
    data = _as_png(data, name, limits)
    image = reader.decode(np.frombuffer(data, np.uint8), name)
    height, width = image.pixels.shape[:2]
    if not limits.max_side or max(height, width) <= limits.max_side:
        return image
    scale = limits.max_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    note = f"It was reduced from {width} x {height} to {size[0]} x {size[1]} pixels."
    smaller = Image.fromarray(image.pixels).resize(size, Image.Resampling.LANCZOS)
    return LoadedImage(np.array(smaller), (*image.notes, note))


def _as_png(data: bytes, name: str, limits: ImageLimits) -> bytes:
    """An AVIF or HEIC picture as a PNG for the one reader of photos; all others as they are.

    Raises:
        UniLabelError: it is damaged, animated or too large, or no decoder is installed.
    """
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    brands = {brand, *(data[at : at + 4] for at in range(16, min(len(data), 64), 4))}
    if brand not in (*_AVIF, *_HEIF):
        return data
    try:
        picture = _open_avif(data) if brands & set(_AVIF) else _open_heif(data, name)
        if getattr(picture, "n_frames", 1) > 1:
            raise UniLabelError(f"{name} is an animation; save one of its pictures as JPEG or PNG.")
        check_size(picture.width, picture.height, name, "an image", limits.max_pixels)
        picture.load()
    except UniLabelError:
        raise
    except DAMAGE as error:
        raise UniLabelError(
            f"{name} cannot be decoded as an image: it is damaged or truncated; save it as JPEG or "
            "PNG."
        ) from error
    buffer = io.BytesIO()
    ImageOps.exif_transpose(picture).save(buffer, "PNG", compress_level=1, exif=b"")
    return buffer.getvalue()


def _open_avif(data: bytes) -> Image.Image:
    if not features.check("avif"):
        raise UniLabelError(
            "this Pillow reads no AVIF pictures; pip install 'pillow>=11.3', or save it as JPEG or "
            "PNG."
        )
    return Image.open(io.BytesIO(data), formats=["AVIF"])


def _open_heif(data: bytes, name: str) -> Image.Image:
    try:
        from pillow_heif.as_plugin import HeifImageFile
    except ImportError:
        raise UniLabelError(
            f"{name} is a HEIC picture, which this server cannot read (it lacks pillow-heif: pip "
            "install pillow-heif); save it as JPEG or PNG."
        ) from None
    # opened lazily: the size is known before a pixel is decoded
    picture: Image.Image = HeifImageFile(io.BytesIO(data))
    return picture
