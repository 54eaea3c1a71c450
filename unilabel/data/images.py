"""The one reader of photos: training, check, evaluation, predictor, demo and tools use it.

What it does, in this order: the file is decoded, values of more than 8 bits are scaled by a stated
range (else refused), transparent parts become white, grey and palette become three channels, CMYK
is converted as Pillow does it, and the EXIF orientation turns the picture upright. What it refuses:
animations, bands that no file format calls a colour or transparency, and pictures above a limit.
"""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import IO

import cv2
import numpy as np
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
from unilabel.data import headers
from unilabel.data.headers import MAX_PIXELS
from unilabel.data.tiff_tags import read_tiff_tags

cv2.setNumThreads(0)  # a process that is forked after OpenCV has threads waits for them for ever
Image.MAX_IMAGE_PIXELS = None  # the size in the header is compared with our own, stated limit

JPEG_SUFFIXES = (".jpg", ".jpeg", ".jfif")
IMAGE_SUFFIXES = (*JPEG_SUFFIXES, ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
# Only these decoders are used. (MPO, several JPEGs in one file, is opened by the JPEG one.)
FORMATS = (
    JpegImagePlugin.JpegImageFile.format,
    PngImagePlugin.PngImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
    GifImagePlugin.GifImageFile.format,
    BmpImagePlugin.BmpImageFile.format,
    TiffImagePlugin.TiffImageFile.format,
)
ON_WHITE = "Its transparent parts are shown on white."
FROM_CMYK = "Its print colours (CMYK) were converted to RGB."
ORIENTATION = 0x0112  # EXIF and TIFF tag
# What decoders raise on damaged files.
DAMAGE = (
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
_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}
_PLAIN = {"1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB", "HSV"}
_REDUCED = {
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


@dataclass(frozen=True)
class LoadedImage:
    """An upright RGB image.

    Attributes:
        pixels: (H, W, 3) uint8.
        notes: what was done to it that its owner should know, whole sentences.
    """

    pixels: np.ndarray
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageReader:
    """Reads files as photos; plain data, so that it travels to worker processes.

    Attributes:
        scale: values that become black and white in images of more than 8 bits; None: such images
            are refused.
        max_pixels: width times height that is decoded.
    """

    scale: tuple[float, float] | None = None
    max_pixels: int = MAX_PIXELS

    def __call__(self, path: str, reduction: int = 1) -> np.ndarray:
        """(H, W, 3) uint8 RGB image, upright; see :meth:`decode`."""
        return self.decode(headers.read_bytes(path), path, reduction).pixels

    def decode(self, data: np.ndarray, name: str, reduction: int = 1) -> LoadedImage:
        """Decode the content of a file.

        Args:
            data: (n,) uint8.
            name: how to call it in messages.
            reduction: 2, 4 or 8 gives the image at that fraction of its size, rounded up; of a JPEG
                the rest is not decoded at all.

        Raises:
            UniLabelError: it is truncated, no image, too large, or of a form whose decoding would
                change it: more than 8 bits without ``scale``, unknown bands, an animation.
        """
        headers.check_image(data, name, self.max_pixels)
        if headers.is_truncated(data):
            raise _undecodable(data, name)
        if headers.is_plain_jpeg(data):
            bgr = decode_with_opencv(data, _REDUCED.get(reduction, cv2.IMREAD_COLOR))
            if bgr is None:
                raise _undecodable(data, name)
            return LoadedImage(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
        if headers.is_plain_png(data):
            rgb, notes = decode_with_opencv(data, cv2.IMREAD_COLOR_RGB), ()
            if rgb is None:
                raise _undecodable(data, name)
        else:
            rgb, notes = self._with_pillow(data, name)
        if reduction > 1:
            # As in a reduced JPEG, every pixel stands for a full square of them; with the border
            # repeated, since a picture that is stretched would lie beside its label.
            below, right = (-side % reduction for side in rgb.shape[:2])
            rgb = cv2.copyMakeBorder(rgb, 0, below, 0, right, cv2.BORDER_REPLICATE)
            size = (rgb.shape[1] // reduction, rgb.shape[0] // reduction)
            rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        return LoadedImage(rgb, notes)

    def _with_pillow(self, data: np.ndarray, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # notes of decoders on odd but readable files
            try:
                bits, turn = _check_bands(data, name, self.max_pixels)
                if bits > 8:
                    return self._deep(data, name, bits, turn)
                image = Image.open(io.BytesIO(data.tobytes()), formats=FORMATS)
                headers.check_size(image.width, image.height, name, "an image", self.max_pixels)
                if getattr(image, "n_frames", 1) > 1 and image.format not in ("MPO", "TIFF"):
                    raise headers.animated(name, image.n_frames)
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image), name)
            except UniLabelError:
                raise
            except DAMAGE as error:
                raise _undecodable(data, name) from error

    def _deep(
        self, data: np.ndarray, name: str, bits: int, turn: int
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """An image of 16 or 32 bits per channel, scaled to 8."""
        if self.scale is None:
            raise UniLabelError(
                f"{name} has {bits} bits per channel, expected an image of 8 bits; say which "
                'values are black and white, "image_scale": [0, 65535] in the classes.json of the '
                "dataset ([0, 4095] for 12 bits) or --image-scale 0 65535 of demo/predict.py, or "
                "save it with 8 bits."
            )
        values = decode_with_opencv(data, cv2.IMREAD_UNCHANGED)
        if values is None:
            raise _undecodable(data, name)
        low, high = self.scale
        scaled = (values.astype(np.float32) - low) * (255 / (high - low))
        if not np.isfinite(scaled).all():
            raise UniLabelError(f"{name} holds values that are no finite numbers; correct it.")
        pixels = np.rint(scaled.clip(0, 255)).astype(np.uint8)
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if pixels.shape[2] == 4:  # alpha has the whole range of its type
            alpha = values[..., 3].astype(np.float64) * (255 / np.iinfo(values.dtype).max)
            pixels[..., 3] = np.rint(alpha)
            image = Image.fromarray(pixels[..., [2, 1, 0, 3]])
        else:
            image = Image.fromarray(
                np.ascontiguousarray(pixels[..., ::-1]).repeat(3 // pixels.shape[2], axis=2)
            )
        if headers.is_png(data):  # of a TIFF, OpenCV has turned the pixels already
            image.getexif()[ORIENTATION] = turn
        return _to_rgb(ImageOps.exif_transpose(image), name)


read_image = ImageReader()


def image_header(file: str | os.PathLike[str] | IO[bytes], name: str) -> tuple[int, int, int]:
    """Width, height and EXIF orientation (1: upright) of an image as it is stored.

    Args:
        file: path or content; the pixels are not decoded.
        name: how to call it in messages.

    Raises:
        UniLabelError: it is no image of a format that is read.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            turn = image.getexif().get(ORIENTATION, 1)
            turn = turn if type(turn) is int and 1 <= turn <= 8 else 1
            width, height = image.size
            if image.format == "TIFF" and turn >= 5:  # its decoder gives the size as it is shown
                width, height = height, width
            return width, height, turn
    except DAMAGE as error:
        raise UniLabelError(f"{name} cannot be read as an image: {error}.") from error


def orientation(path: str) -> int:
    """EXIF orientation of an image file, 1 (upright) where it has none or cannot be read."""
    try:
        return image_header(path, path)[2]
    except UniLabelError:
        return 1


def shown_size(path: str) -> tuple[int, int]:
    """(width, height) of an image as it is shown, from its header alone.

    Raises:
        UniLabelError: the file is no image.
    """
    width, height, turn = image_header(path, path)
    return (height, width) if turn >= 5 else (width, height)


def _check_bands(data: np.ndarray, name: str, max_pixels: int) -> tuple[int, int]:
    """Bits per channel and orientation; refuses a TIFF whose bands are not what they seem."""
    if headers.is_png(data):
        image = Image.open(io.BytesIO(data.tobytes()), formats=FORMATS)
        return headers.png_bits(data), int(image.getexif().get(ORIENTATION, 1))
    tags = read_tiff_tags(data)
    if tags is None:
        return 8, 1
    headers.check_size(tags.width, tags.height, name, "an image", max_pixels)
    if tags.pages > 1:
        raise headers.animated(name, tags.pages)
    extra = tags.bands - tags.colors
    if tags.bands > 4 or extra > 1 or (extra == 1 and not tags.has_alpha):
        raise UniLabelError(
            f"{name} has {tags.bands} bands, {max(extra, 0)} more than its colours, and does not "
            "say that the last one is transparency; expected grey or RGB: save the colour bands "
            "alone (infrared and other bands are not used)."
        )
    return tags.bits, tags.orientation


def _to_rgb(image: Image.Image, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    if image.mode in _ALPHA or "transparency" in image.info:
        rgba = image.convert("RGBA")
        if rgba.getextrema()[3][0] == 255:
            return np.array(rgba.convert("RGB")), ()
        white = Image.new("RGBA", rgba.size, "white")
        return np.array(Image.alpha_composite(white, rgba).convert("RGB")), (ON_WHITE,)
    if image.mode not in _PLAIN:
        raise UniLabelError(
            f"{name} holds values of the kind {image.mode!r}, not colours of a photo; save it as "
            "an 8-bit JPEG or PNG."
        )
    notes = (FROM_CMYK,) if image.mode == "CMYK" else ()
    return np.array(image.convert("RGB")), notes


def decode_with_opencv(data: np.ndarray, flags: int) -> np.ndarray | None:
    """OpenCV's reading of a file's content; None if it is none that it can read."""
    try:
        return cv2.imdecode(data, flags)
    except cv2.error:  # a header that promises more pixels than OpenCV accepts
        return None


def _undecodable(data: np.ndarray, name: str) -> UniLabelError:
    return UniLabelError(
        f"{name} cannot be decoded as an image ({data.size} bytes, {headers.kind_of(data)}): it is "
        "no image that can be read, or damaged or truncated: fetch it again, save it again as JPEG "
        "or PNG, or move it away together with its label."
    )
