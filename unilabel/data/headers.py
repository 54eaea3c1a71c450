"""What the first bytes of an image file tell, before a decoder may change its meaning silently.

OpenCV turns 16 bits into 8, four inks into three colours, takes the first picture of an animation
and accepts any format under any name. For an image that shifts colours, for a label map it is wrong
training, so the header tells which decoder is used and what is refused.
"""

from __future__ import annotations

import os
import stat
import struct

import numpy as np

from unilabel.core.errors import UniLabelError

MAX_PIXELS = 100_000_000  # of an image; the largest of the known datasets have 22 million
MAX_RATIO = 1100  # bytes of pixels in a byte of a PNG: more than deflate can do
PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
# Segments of a JPEG that tell its size: every "start of frame" but DHT, JPG and DAC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the colour type of a PNG
_KINDS = (
    (PNG, "a PNG"),
    (JPEG, "a JPEG"),
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"RIFF", "a WebP"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"version https://git-lfs", "a Git LFS pointer (fetch the file itself: git lfs pull)"),
    (b"<", "a web page or XML"),
    (b"{", "JSON"),
)


def read_bytes(path: str) -> np.ndarray:
    """(n,) uint8 content of a file.

    Raises:
        UniLabelError: it is missing, no file, or may not be read.
    """
    cure = "copy or fetch it again, or move the image away together with its label"
    try:
        # Opening a pipe would wait for ever, and a device has no end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UniLabelError(f"cannot read {path}: it is no file; {cure}.")
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        if isinstance(error, PermissionError):
            cure = "make it readable (chmod a+r)"
        raise UniLabelError(f"cannot read {path}: {error.strerror or error}; {cure}.") from error
    return data


def kind_of(data: np.ndarray) -> str:
    """What a file is by its first bytes, in words."""
    start = data[:32].tobytes()
    text = start.lstrip(b"\xef\xbb\xbf \r\n\t")
    kinds = [name for magic, name in _KINDS if start.startswith(magic) or text.startswith(magic)]
    if not start:
        return "an empty file"
    return kinds[0] if kinds else f"an unknown format that begins with {start[:8]!r}"


def check_image(data: np.ndarray, path: str, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse images whose decoding would lose something or fill the memory.

    Raises:
        UniLabelError: an animation, or an absurd size.
    """
    start = data[:4096].tobytes()
    if is_png(data) and len(start) >= 33:
        width, height, bits, color_type = struct.unpack(">IIBB", start[16:26])
        check_size(width, height, path, "an image", max_pixels)
        _check_content(data, width * height * bits * _CHANNELS.get(color_type, 1) // 8, path)
        _check_still(b"acTL" in png_chunks(data), path)
    elif start.startswith(JPEG):
        height, width, _ = _jpeg_frame(data)
        check_size(width, height, path, "an image", max_pixels)
    elif start.startswith(b"RIFF"):
        _check_still(b"ANIM" in start[:128], path)


def is_png(data: np.ndarray) -> bool:
    """Whether a file begins as a PNG."""
    return data[:8].tobytes() == PNG


def png_bits(data: np.ndarray) -> int:
    """Bits per channel of a PNG."""
    return int(data[24]) if len(data) > 24 else 8


def is_plain_jpeg(data: np.ndarray) -> bool:
    """A JPEG of grey or three colours, which OpenCV decodes as it is meant."""
    return data[:3].tobytes() == JPEG and _jpeg_frame(data)[2] in (0, 1, 3)


def is_plain_png(data: np.ndarray) -> bool:
    """A PNG of at most 8 bits without transparency and orientation: OpenCV keeps its meaning."""
    if not is_png(data) or len(data) < 33 or png_bits(data) > 8 or data[25] in (4, 6):
        return False
    return not png_chunks(data) & {b"tRNS", b"eXIf"}


def png_chunks(data: np.ndarray) -> set[bytes]:
    """Names of the chunks of a PNG, as far as they can be followed."""
    names: set[bytes] = set()
    position, end = len(PNG), len(data)
    while position + 12 <= end:
        (length,) = struct.unpack_from(">I", data, position)
        name = data[position + 4 : position + 8].tobytes()
        names.add(name)
        if name == b"IEND":
            break
        position += 12 + int(length)
    return names


def check_label(data: np.ndarray, path: str, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse label maps that are no PNG.

    Raises:
        UniLabelError: names what the file is.
    """
    start = data[:4096].tobytes()
    if not start.startswith(PNG):
        raise UniLabelError(
            f"{path} cannot be decoded as a label map ({data.size} bytes): it is {kind_of(data)}, "
            "expected an 8-bit single-channel PNG of class ids (255 = ignore); fetch it again, or "
            "write it again from its source (lossy formats change ids)."
        )
    check_label_size(data, path, max_pixels)


def check_label_size(data: np.ndarray, path: str, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse a PNG label map that is too large, impossible, or an animation.

    Raises:
        UniLabelError: names what was found.
    """
    start = data[:33].tobytes()
    if len(start) < 33:
        return  # the decoder says that it is truncated
    width, height, bits, color_type = struct.unpack(">IIBB", start[16:26])
    check_size(width, height, path, "a label map", max_pixels)
    _check_content(data, width * height * bits * _CHANNELS.get(color_type, 1) // 8, path)
    _check_still(b"acTL" in png_chunks(data), path)


def is_palette(data: np.ndarray) -> bool:
    """Whether a PNG holds indices of a palette, which OpenCV would expand to colours."""
    return is_png(data) and len(data) > 25 and data[25] == 3


def is_truncated(data: np.ndarray) -> bool:
    """A JPEG or PNG without its end: decoders fill the missing part with grey."""
    if data[:2].tobytes() == JPEG[:2]:
        return b"\xff\xd9" not in data[-4096:].tobytes()
    return is_png(data) and b"IEND" not in png_chunks(data)


def check_size(width: int, height: int, path: str, kind: str, max_pixels: int) -> None:
    """Refuse pictures that are larger than the limit, before any memory is taken for them.

    Raises:
        UniLabelError: names size, limit and how to raise it.
    """
    if width * height > max_pixels:
        raise UniLabelError(
            f"{path} cannot be decoded as {kind}: its header promises {width}x{height} pixels, "
            f"expected at most {max_pixels}. If that is its true size, raise the limit with "
            f'"max_pixels": {width * height} in the classes.json of the dataset (--max-pixels of '
            "demo/predict.py), or cut or reduce the picture."
        )


def animated(path: str, frames: int) -> UniLabelError:
    """The error for a file with several pictures."""
    return UniLabelError(
        f"{path} holds {frames} frames or pages, expected a single image; save the one that is "
        "meant."
    )


def _check_content(data: np.ndarray, wanted: int, path: str) -> None:
    """Refuse a PNG that cannot hold its pixels, before the decoder makes room for them."""
    if wanted > MAX_RATIO * data.size + 2**16:
        raise UniLabelError(
            f"{path} cannot be decoded: {data.size} bytes cannot hold the pixels that its header "
            "promises; it is damaged or truncated: fetch it again."
        )


def _check_still(animated: bool, path: str) -> None:
    if animated:
        raise UniLabelError(
            f"{path} is an animation, expected a single image; save the frame that is meant."
        )


def _jpeg_frame(data: np.ndarray) -> tuple[int, int, int]:
    """Height, width and channels of a JPEG; zeros where its segments cannot be followed."""
    position, end = 2, len(data)
    while position + 9 < end and data[position] == 0xFF:
        marker = int(data[position + 1])
        if marker == 0xFF:  # padding
            position += 1
            continue
        length = int(data[position + 2]) << 8 | int(data[position + 3])
        if marker in _FRAMES:
            height, width, channels = struct.unpack(
                ">HHB", data[position + 5 : position + 10].tobytes()
            )
            return height, width, channels
        position += 2 + max(length, 2)
    return 0, 0, 0
