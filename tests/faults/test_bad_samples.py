"""Every kind of bad sample is named, and with ``skip`` replaced; none trains in silence."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("detectron2")

import bad_files
import breakable
import numpy as np
import torch
from bad_files import FORMS, KINDS, Kind

from unilabel.config import load_config
from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpace
from unilabel.data.bad_samples import FAULTS, BadSampleCounter
from unilabel.data.build import TrainDataset, build_train_loader, check_first_samples
from unilabel.data.images import read_image
from unilabel.data.samplers import Draw
from unilabel.data.sources import DatasetSource, Sample

pytestmark = [pytest.mark.d2, pytest.mark.faults]

SPACE = LabelSpace("streets", ("road", "car", "sky"), ((1, 0, 0), (2, 0, 0), (3, 0, 0)))


def config(**values):
    return load_config(breakable.QUICK, breakable.overrides([], Path("none"), **values, TOY=True))


def make(folder: Path, kind: Kind, count: int = 3) -> tuple[DatasetSource, bad_files.Spot]:
    """A dataset whose first sample is broken."""
    spots = bad_files.write_dataset(folder, kind.form, count)
    _, _, decoder = FORMS[kind.form]
    samples = [Sample(str(s.image), str(s.label)) for s in spots]
    decode = decoder or bad_files.folder_decoder(folder, SPACE.class_names)
    source = DatasetSource(SPACE, lambda split: samples, decode, str(folder))
    for index in range(count):  # all are good before
        item = dataset(source)[Draw(0, index, (0, 0, index))]
        assert item["file_name"] == samples[index].image
        assert FAULTS not in item
    kind.damage(spots[0])
    return source, spots[0]


def dataset(source: DatasetSource, policy: str = "error") -> TrainDataset:
    options = ["DATASETS.ON_BAD_SAMPLE", policy, "INPUT.CROP_SIZE", "[16,16]"]
    return TrainDataset(load_config(breakable.QUICK, options), [source])


def test_there_are_enough_kinds() -> None:
    assert len(KINDS) >= 40
    assert {k.form for k in KINDS.values()} == set(FORMS)


@pytest.mark.parametrize("name", KINDS)
def test_bad_sample(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    source, spot = make(tmp_path, kind)
    draw = Draw(0, 0, (0, 0, 0))
    counter = BadSampleCounter({"streets": 3}, 0.5)
    if name == "label is void":  # does no harm, so that it stops a run only if there are many
        message = dataset(source)[draw][FAULTS][0][1]
    else:
        with pytest.raises(UniLabelError) as caught:
            dataset(source)[draw]
        message = str(caught.value)
    assert str(getattr(spot, kind.part)) in message
    for pattern in kind.message:
        assert re.search(pattern, message), f"{pattern!r} not in: {message}"
    assert "Traceback" not in message
    assert len(message) < 600
    # skipped: another sample, always the same one, and it is told
    items = [dataset(source, "skip")[draw] for _ in range(2)]
    assert items[0]["file_name"] == items[1]["file_name"] != str(spot.image)
    assert torch.equal(items[0]["image"], items[1]["image"])
    index, told = items[0][FAULTS][0]
    assert (index, told) == (0, message)
    counter.add(items)
    assert counter.counts() == {"streets": 1}


def test_unreadable_files_are_named() -> None:
    """As a user who may not read them."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        spots = bad_files.write_dataset(folder, "folder")
        for path in (spots[0].image, spots[1].label):
            path.chmod(0)
        context = breakable.server()
        receive, send = context.Pipe(duplex=False)
        paths = [str(spots[0].image), str(spots[1].label)]
        process = context.Process(target=breakable.read_as_nobody, args=(paths, send))
        process.start()
        send.close()
        messages = receive.recv()
        assert breakable.finish(process) == 0
    finally:
        shutil.rmtree(folder)
    for message, path in zip(messages, paths, strict=True):
        assert message == f"cannot read {path}: Permission denied; make it readable (chmod a+r)."


# --- the policy ---


def test_message_is_the_same_from_a_worker(tmp_path: Path) -> None:
    source, spot = make(tmp_path, KINDS["image png cut in half"])
    messages = []
    for workers in (0, 1):
        cfg = load_config(breakable.QUICK, ["DATALOADER.NUM_WORKERS", str(workers)])
        with pytest.raises(UniLabelError) as caught:
            for _ in build_train_loader(cfg, [source], 0, 3, 0, 1):
                pass
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert str(spot.image) in messages[0]


def test_replacement_depends_on_seed_and_position_alone(tmp_path: Path) -> None:
    source, _ = make(tmp_path, KINDS["image is empty"], count=12)
    names = []
    for workers, start in ((0, 0), (2, 0), (0, 3)):
        options = ["DATASETS.ON_BAD_SAMPLE", "skip", "DATALOADER.NUM_WORKERS", str(workers)]
        cfg = load_config(breakable.QUICK, options)
        batches = list(build_train_loader(cfg, [source], start, 12, 0, 1))
        names.append([[i["file_name"] for i in b] for b in batches])
    assert names[0] == names[1]
    assert names[0][3:] == names[2]
    flat = [n for batch in names[0] for n in batch]
    assert len(set(flat)) == 11
    assert not any(n.endswith("s0.png") for n in flat)


def test_too_many_bad_samples_stop_the_run(tmp_path: Path, caplog) -> None:
    source, spot = make(tmp_path, KINDS["image is empty"], count=20)
    second = Path(source.samples("train")[1].image)
    second.write_bytes(b"")
    items = [dataset(source, "skip")[Draw(0, i, (0, 0, i))] for i in (0, 0, 1)]
    counter = BadSampleCounter({"streets": 20}, 0.05)
    with caplog.at_level(logging.WARNING):
        counter.add(items[:2])
    assert caplog.text.count("bad sample 1 (of 20 in the dataset) of 'streets'") == 1  # once
    assert str(spot.image) in caplog.text
    message = (
        r"dataset 'streets': 2 of 20 training samples are bad, more than DATASETS\.MAX_BAD_SHARE "
        r"0\.05; check them all with tools/check_dataset\.py\. The last one: .*s1\.png cannot be"
    )
    with pytest.raises(UniLabelError, match=message):
        counter.add(items[2:])
    again = BadSampleCounter({"streets": 20}, 0.05)
    again.merge({"streets": [0]})  # seen before the run was interrupted
    again.add(items[:2])
    with pytest.raises(UniLabelError, match="2 of 20"):
        again.add(items[2:])


def test_dataset_of_bad_samples_only_ends(tmp_path: Path) -> None:
    source, _ = make(tmp_path, KINDS["image is empty"])
    for sample in source.samples("train"):
        Path(sample.image).write_bytes(b"")
    with pytest.raises(UniLabelError, match=r"11 samples drawn in a row are bad .* The first: .*s"):
        dataset(source, "skip")[Draw(0, 1, (0, 0, 1))]


def test_bad_validation_sample_is_never_left_out(tmp_path: Path, caplog) -> None:
    """It would change the score."""
    source, spot = make(tmp_path, KINDS["image is empty"])
    with pytest.raises(UniLabelError, match=r"s0\.png cannot be decoded"):
        check_first_samples([source], skip=True)  # train and val are the same files here
    assert f"bad sample: {spot.image}" in caplog.text  # the training sample is only told


def test_greyscale_and_palette_images_are_fine(tmp_path: Path) -> None:
    from PIL import Image

    for mode in ("L", "P", "RGB", "RGBA", "1"):
        path = tmp_path / f"{mode}.png"
        Image.new(mode, (5, 4), 1).save(path)
        assert read_image(str(path)).shape == (4, 5, 3)
        assert read_image(str(path)).dtype == np.uint8
