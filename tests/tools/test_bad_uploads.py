"""Files that strangers may send to the demo: each is refused with a reason, or handled."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("detectron2")
gradio_client = pytest.importorskip("gradio_client")
httpx = pytest.importorskip("httpx")

from unilabel.core.label_space import LabelSpace  # noqa: E402
from unilabel.core.transfer import TransferMapping  # noqa: E402
from unilabel.core.unified_space import UnifiedLabelSpace  # noqa: E402

pytestmark = [pytest.mark.d2, pytest.mark.slow]


def photo(height: int = 60, width: int = 80, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    crc = zlib.crc32(kind + data) & 0xFFFFFFFF
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def raw_png(width: int, height: int, data: bytes, *extra: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png() -> bytes:
    return saved(Image.fromarray(photo()), "PNG")


def jpeg() -> bytes:
    return saved(Image.fromarray(photo()), "JPEG")


def flipped_bytes(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(255 - b for b in data[middle : middle + 40]) + data[middle + 40 :]


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", png())
    return buffer.getvalue()


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    return saved(Image.fromarray(photo()), "JPEG", exif=exif)


def frames(kind: str) -> bytes:
    pictures = [Image.fromarray(np.full((40, 50, 3), v, np.uint8)) for v in (10, 90, 200)]
    return saved(pictures[0], kind, save_all=True, append_images=pictures[1:])


def palette() -> bytes:
    image = Image.fromarray(photo()).quantize(16)
    return saved(image, "PNG", transparency=3)


REFUSED = "error"
HANDLED = "info"
FINE = "fine"

# name, content, outcome, a part of the message (or the size "WxH" of the picture)
PICTURES: list[tuple[str, Callable[[], bytes], str, str]] = [
    ("empty.png", lambda: b"", REFUSED, "empty"),
    ("text.jpg", lambda: b"this is no picture\n" * 9, REFUSED, "no image"),
    ("page.png", lambda: b"<html><script>alert(1)</script></html>", REFUSED, "no image"),
    ("drawing.svg", lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>', REFUSED, "no image"),
    ("paper.pdf", lambda: b"%PDF-1.7\n%%EOF", REFUSED, "no image"),
    ("post.eps", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", REFUSED, "no image"),
    ("zip.png", zipped, REFUSED, "no image"),
    ("object.png", lambda: pickle.dumps({"a": 1}), REFUSED, "no image"),
    ("program.exe", lambda: b"MZ\x90\x00" + bytes(500), REFUSED, "no image"),
    ("list.json", lambda: b'{"a": 1}', REFUSED, "no image"),
    ("noise.webp", lambda: b"RIFF\xff\xff\xff\x7fWEBPVP8 " + bytes(80), REFUSED, "image|damaged"),
    ("cut.png", lambda: png()[:900], REFUSED, "damaged"),
    ("cut.jpg", lambda: jpeg()[:700], REFUSED, "damaged"),
    ("cut.webp", lambda: saved(Image.fromarray(photo()), "WEBP")[:300], REFUSED, "image|damaged"),
    ("flipped.png", lambda: flipped_bytes(png()), REFUSED, "damaged"),
    ("nothing.png", lambda: raw_png(50, 50, zlib.compress(b"")), REFUSED, "damaged"),
    ("bomb.png", lambda: raw_png(40000, 40000, zlib.compress(bytes(9))), REFUSED, "pixels"),
    ("wide.png", lambda: raw_png(2**31 - 1, 2, zlib.compress(b"")), REFUSED, "pixels|no image"),
    (
        "bomb.gif",
        lambda: (
            b"GIF89a\xff\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\xff\xff\xff\xff\x00"
            b"\x02\x02L\x01\x00;"
        ),
        REFUSED,
        "pixels",
    ),
    (
        "bomb.bmp",
        lambda: (
            b"BM"
            + struct.pack(
                "<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0
            )
        ),
        REFUSED,
        "pixels",
    ),
    (
        "text_bomb.png",
        lambda: raw_png(
            9,
            9,
            zlib.compress(bytes(9 * 28)),
            chunk(b"zTXt", b"a\x00\x00" + zlib.compress(bytes(2**27))),
        ),
        FINE,  # the text is not unpacked, and the picture is whole
        "9x9",
    ),
    (
        "float.tif",
        lambda: saved(Image.fromarray(photo()[..., 0].astype(np.float32)), "TIFF"),
        REFUSED,
        "32 bits",
    ),
    (
        "integer.tif",
        lambda: saved(Image.fromarray(photo()[..., 0].astype(np.int32)), "TIFF"),
        REFUSED,
        "32 bits",
    ),
    (
        "deep.png",
        lambda: saved(Image.fromarray(photo()[..., 0].astype(np.uint16) * 257), "PNG"),
        REFUSED,
        "16 bits",
    ),
    (
        "clear.png",
        lambda: saved(Image.fromarray(photo(60, 80, 4)), "PNG"),
        HANDLED,
        "white",
    ),
    (
        "grey_clear.png",
        lambda: saved(Image.fromarray(photo(60, 80, 2)), "PNG"),
        HANDLED,
        "white",
    ),
    ("palette.png", palette, HANDLED, "white"),
    ("print.jpg", lambda: saved(Image.fromarray(photo()).convert("CMYK"), "JPEG"), HANDLED, "CMYK"),
    ("moving.gif", lambda: frames("GIF"), REFUSED, "single image"),
    ("moving.webp", lambda: frames("WEBP"), REFUSED, "single image"),
    ("pages.tif", lambda: frames("TIFF"), REFUSED, "single image"),
    ("long.png", lambda: saved(Image.fromarray(photo(2, 5000)), "PNG"), HANDLED, "5000 x 2"),
    ("turned.jpg", rotated, FINE, "60x80"),
    ("grey.png", lambda: saved(Image.fromarray(photo()[..., 0]), "PNG"), FINE, "80x60"),
    ("black_white.png", lambda: saved(Image.fromarray(photo()).convert("1"), "PNG"), FINE, "80x60"),
    ("one.png", lambda: saved(Image.fromarray(photo(1, 1)), "PNG"), FINE, "1x1"),
    ("lies.txt", png, FINE, "80x60"),
    ("ünï <b>&amp; " + "x" * 150 + ".png", png, FINE, "80x60"),
]

Change = Callable[[dict[str, Any]], Any]


def _set(path: list[Any], value: Any) -> Change:
    def change(data: dict[str, Any]) -> Any:
        place = data
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        return data

    return change


SPACES: list[tuple[str, Change | bytes, str]] = [
    ("not JSON", b"{", "not valid JSON"),
    ("not text", bytes(range(256)), "not valid JSON"),
    ("deep", b"[" * 100_000, "not valid JSON"),
    ("a list", b"[]", "this model has 19"),
    ("a number of 10,000 digits", b'{"labels": ' + b"9" * 10_000 + b"}", "not valid JSON"),
    ("other schema", _set(["schema"], "other"), "schema"),
    ("other version", _set(["version"], 99), "version"),
    ("no labels", _set(["labels"], []), "this model has 19"),
    ("labels of the wrong kind", _set(["labels", 3], "sky"), r"labels\[3\]"),
    ("a colour that is a number", _set(["labels", 0, "color"], 5), "wrong type|color"),
    ("a colour out of range", _set(["labels", 0, "color"], [1, 2, 256]), "color"),
    ("an endless name", _set(["labels", 0, "name"], "x" * 5000), "name"),
    ("a name with control characters", _set(["labels", 0, "name"], "a\x00b"), "control"),
    ("two equal names", _set(["labels", 0, "name"], "building"), "building"),
    ("an unknown class", _set(["labels", 0, "links", "toy_fine"], {"class": "x"}), "no class"),
    (
        "a weight in quotes",
        _set(["labels", 0, "links", "toy_fine", "weight"], "1"),
        "weight",
    ),
    ("an unknown source", _set(["labels", 0, "links", "toy_fine", "source"], "me"), "source"),
    ("a class without label", _set(["labels", 0, "links", "toy_fine"], None), "no unified label"),
    ("another dataset", _set(["datasets", 0, "name"], "other"), "toy_fine|unknown dataset"),
]


@pytest.fixture(scope="module")
def client(demo_server: Any) -> Any:
    return gradio_client.Client(demo_server.url, verbose=False)


def send(client: Any, content: bytes, name: str, where: str, tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / name
    path.write_bytes(content)
    answer = client.predict(
        gradio_client.handle_file(str(path)), "unified", "none", 0, False, api_name=f"/{where}"
    )
    payload: dict[str, Any] = json.loads(answer[0])
    assert str(tmp_path) not in answer[0]  # no path of the server
    return payload


def test_at_least_30_pictures() -> None:
    assert len(PICTURES) >= 30


@pytest.mark.parametrize(
    ("name", "content", "outcome", "text"), PICTURES, ids=[entry[0][:20] for entry in PICTURES]
)
def test_picture(
    client: Any,
    demo_server: Any,
    tmp_path: Path,
    name: str,
    content: Callable[[], bytes],
    outcome: str,
    text: str,
) -> None:
    payload = send(client, content(), name, "predict", tmp_path)
    notes = [note for kind, note in payload["notes"] if kind == outcome]
    if outcome == FINE:
        assert payload["notes"] == []
        size = payload["panels"][0]["record"]["size"]
        assert f"{size[0]}x{size[1]}" == text
    else:
        assert any(part in note for note in notes for part in text.split("|")), payload["notes"]
        assert str(demo_server.temp_dir) not in json.dumps(payload)
    if outcome == HANDLED:
        assert payload["panels"]
    assert demo_server.left_behind() == []
    assert demo_server.process.poll() is None


@pytest.mark.parametrize(("name", "change", "text"), SPACES, ids=[entry[0] for entry in SPACES])
def test_label_space(
    client: Any,
    demo_server: Any,
    toy_space: UnifiedLabelSpace,
    tmp_path: Path,
    name: str,
    change: Change | bytes,
    text: str,
) -> None:
    if isinstance(change, bytes):
        content = change
    else:
        content = json.dumps(change(toy_space.to_dict())).encode()
    payload = send(client, content, "label_space.json", "label_space", tmp_path)
    kind, note = payload["notes"][0]
    assert kind == "error"
    assert any(part.replace("\\", "") in note for part in text.split("|")), note
    assert str(demo_server.temp_dir) not in note
    assert demo_server.left_behind() == []


def test_good_label_space_is_used(
    client: Any, toy_space: UnifiedLabelSpace, tmp_path: Path
) -> None:
    data = toy_space.to_dict()
    data["labels"][0]["name"] = "heaven <b>"
    payload = send(client, json.dumps(data).encode(), "mine.json", "label_space", tmp_path)
    assert payload["notes"][0][0] == "info"


def test_mapping_to_an_unseen_dataset_is_used(
    client: Any, demo_server: Any, toy_space: UnifiedLabelSpace, tmp_path: Path
) -> None:
    garden = LabelSpace("garden", ("low", "high"), ((9, 9, 9), (200, 0, 0)))
    ids = torch.arange(19) % 2
    mapping = TransferMapping(garden, "unified", toy_space.names, ids, (1.0,) * 19)
    send(client, png(), "photo.png", "predict", tmp_path)
    content = json.dumps(mapping.to_dict()).encode()
    payload = send(client, content, "mapping.json", "label_space", tmp_path)
    assert "'garden'" in payload["notes"][0][1]
    assert payload["panels"][0]["space"] == "garden"
    (tmp_path / "photo.png").write_bytes(png())
    photo_file = gradio_client.handle_file(str(tmp_path / "photo.png"))
    answer = client.predict(photo_file, "garden", "none", 0, False, api_name="/predict")
    assert json.loads(answer[0])["panels"][0]["space"] == "garden"
    assert demo_server.left_behind() == []


def test_too_large_files_are_refused_at_the_door(demo_server: Any) -> None:
    upload = f"{demo_server.url}/gradio_api/upload"
    files = {"files": ("big.png", bytes(26 * 2**20))}
    assert httpx.post(upload, files=files, timeout=60).status_code in (400, 413, 422, 500)
    assert demo_server.left_behind() == []


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../../etc/passwd",
        "{temp}/../server.log",
        "{root}/pyproject.toml",
        "http://127.0.0.1:9/a.png",
    ],
)
def test_files_of_the_server_cannot_be_read(demo_server: Any, path: str) -> None:
    root = Path(__file__).parents[2]
    filled = path.replace("{temp}", str(demo_server.temp_dir)).replace("{root}", str(root))
    answer = httpx.get(f"{demo_server.url}/gradio_api/file={filled}", timeout=60)
    assert answer.status_code in (403, 404)
    data = {
        "data": [
            {"path": filled, "meta": {"_type": "gradio.FileData"}},
            "unified",
            "none",
            0,
            False,
        ]
    }
    event = httpx.post(f"{demo_server.url}/gradio_api/call/predict", json=data, timeout=60)
    if event.status_code == 200:
        address = f"{demo_server.url}/gradio_api/call/predict/{event.json()['event_id']}"
        text = httpx.get(address, timeout=60).text
        assert "event: error" in text
        assert "root:" not in text
        assert "[project]" not in text
