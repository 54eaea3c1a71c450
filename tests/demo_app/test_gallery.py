"""Pictures that fit the model: of its training, of a folder, drawn for the toy world, or none."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("detectron2")

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.data.examples import Example, load_examples, save_examples, spread_out
from unilabel.demo_app import actions
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.gallery import Gallery, find_gallery, what_it_saw
from unilabel.demo_app.images import decode_image
from unilabel.demo_app.pictures import Picture
from unilabel.demo_app.session import Session
from unilabel.predictor import UniLabelPredictor, build_predictor

pytestmark = pytest.mark.d2


@pytest.fixture(scope="module")
def predictor(toy_weights: Path) -> UniLabelPredictor:
    return build_predictor(toy_weights)


@pytest.fixture
def of_photos() -> SimpleNamespace:
    """As much of a model of photos as the gallery asks for."""
    space = LabelSpace("camvid", ("road", "sky"), ((1, 2, 3), (4, 5, 6)), display_name="Cam*Vid")
    return SimpleNamespace(model=SimpleNamespace(label_spaces=LabelSpaceSet([space])))


def pictures_in(folder: Path, count: int) -> list[str]:
    folder.mkdir()
    for number in range(count):
        Image.fromarray(np.full((20, 30, 3), number, np.uint8)).save(folder / f"{number:02}.png")
    return [str(folder / f"{number:02}.png") for number in range(count)]


def test_a_model_of_photos_gets_no_drawings(of_photos: SimpleNamespace) -> None:
    assert find_gallery(of_photos).pictures == ()
    assert "CamVid" in what_it_saw(of_photos)


def test_a_model_of_the_toy_world_gets_drawings(predictor: UniLabelPredictor) -> None:
    assert len(find_gallery(predictor).pictures) == 8
    assert "drawn streets only" in what_it_saw(predictor)


def test_without_examples_the_page_says_so(predictor: UniLabelPredictor) -> None:
    engine = Engine(predictor, gallery=Gallery())
    session = Session.start(engine)
    assert "no example pictures that fit this model" in actions.answer(engine, session, ["unified"])


def test_pictures_of_the_training_come_in_turn(of_photos: SimpleNamespace, tmp_path: Path) -> None:
    paths = {name: pictures_in(tmp_path / name, 6) for name in ("a", "b")}
    examples = [
        Example(name, path, 10.0 + i) for name in paths for i, path in enumerate(paths[name])
    ]
    examples.append(Example("gone", str(tmp_path / "gone.png"), 9.0))
    save_examples(tmp_path / "examples.json", examples)
    assert load_examples(tmp_path / "examples.json") == examples
    found = find_gallery(of_photos, tmp_path / "model_final.pth")
    assert [int(p.pixels[0, 0, 0]) for p in found.pictures] == [0, 0, 1, 1, 2, 2, 3, 3]
    usual = found.familiarity(of_photos)  # from the file: the network is not asked
    assert usual is not None
    assert usual.count == 13


def test_pictures_that_are_not_here_any_more(of_photos: SimpleNamespace, tmp_path: Path) -> None:
    save_examples(tmp_path / "examples.json", [Example("a", str(tmp_path / "a.png"), 1.0)] * 6)
    found = find_gallery(of_photos, tmp_path / "model_final.pth")
    assert found.pictures == []
    assert "not on this machine" in found.note
    assert found.familiarity(of_photos) is not None


def test_a_folder_of_pictures(of_photos: SimpleNamespace, tmp_path: Path) -> None:
    pictures_in(tmp_path / "photos", 20)
    (tmp_path / "photos/damaged.png").write_bytes(b"no picture")
    found = find_gallery(of_photos, None, tmp_path / "photos")
    assert len(found.pictures) == 8
    assert len(found.references) == 20
    with pytest.raises(UniLabelError, match="--examples: no such folder"):
        find_gallery(of_photos, None, tmp_path / "other")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UniLabelError, match=r"no picture in .*empty"):
        find_gallery(of_photos, None, tmp_path / "empty")


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"schema": "unilabel/examples", "pictures": [{"path": 3}]}', "{"]
)
def test_a_damaged_file(content: str, tmp_path: Path) -> None:
    (tmp_path / "examples.json").write_text(content)
    with pytest.raises(UniLabelError, match=r"examples\.json"):
        load_examples(tmp_path / "examples.json")


def test_even_steps() -> None:
    paths = [str(number) for number in range(10)]
    assert spread_out(paths, 3) == ["0", "3", "6"]
    assert spread_out(paths, 99) == paths


def test_a_foreign_picture_is_told_and_an_example_is_not(predictor: UniLabelPredictor) -> None:
    engine = Engine(predictor)
    usual = engine.usual_energy()
    assert usual is not None
    picture = Picture("x", np.zeros((50, 60, 3), np.uint8))
    energy = predictor.energy(engine.encode(picture))
    engine._familiarity = dataclasses.replace(usual, mean=energy + 1, spread=0.1)
    assert "unlike those that the model has seen" in engine.energy_note(picture)
    assert engine.energy_note(engine.examples[0]) == ""
    engine._familiarity = dataclasses.replace(usual, mean=energy - 1, spread=0.1)
    assert engine.energy_note(picture) == ""


def test_heic_and_damaged_avif_are_explained() -> None:
    with pytest.raises(UniLabelError, match=r"a\.avif cannot be decoded as an image"):
        decode_image(b"\x00\x00\x00\x1cftypavif" + bytes(60), "a.avif")
    with pytest.raises(UniLabelError, match=r"b\.heic (is a HEIC picture|cannot be decoded)"):
        decode_image(b"\x00\x00\x00\x1cftypheic" + bytes(60), "b.heic")
    with pytest.raises(UniLabelError, match="open “Short video” below"):
        decode_image(b"anything", "c.mp4")


def test_heic_is_read() -> None:
    heif = pytest.importorskip("pillow_heif")
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[:, 48:] = (200, 30, 30)
    buffer = io.BytesIO()
    heif.from_pillow(Image.fromarray(pixels)).save(buffer, quality=-1)
    read = decode_image(buffer.getvalue(), "photo.heic").pixels
    assert read.shape == (64, 96, 3)
    assert np.abs(read.astype(int) - pixels).max() < 12
