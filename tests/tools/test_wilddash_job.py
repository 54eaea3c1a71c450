"""Frames are listed, predicted and packed by a job that can be interrupted."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from wilddash_frames import WILDDASH, label, make_archive, official_stems, write_frames

from unilabel.core.errors import UniLabelError
from unilabel.data.shards import Shard
from unilabel.submission.formats import get_benchmark
from unilabel.submission.frames import Frame, frame_notes, list_frames
from unilabel.submission.job import SubmissionJob
from unilabel.submission.label_png import encode_png


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    folder = tmp_path_factory.mktemp("benchmark") / "images"
    return list_frames(write_frames(folder, official_stems()[:20]), WILDDASH)


def test_an_interrupted_job_goes_on(benchmark: list[Frame], tmp_path: Path) -> None:
    frames = benchmark[:20]
    whole = make_archive(tmp_path / "whole.zip", frames).read_bytes()
    output = tmp_path / "submission.zip"
    seen = []
    for stop in (7, 12, None):
        job = SubmissionJob(output, frames, WILDDASH, {"model": 1})
        seen.append(job.start(resume=bool(seen)))
        for number, _ in enumerate(job.predict(label), start=seen[-1] + 1):
            if number == stop:
                break
        # what a kill in the middle of a write leaves
        (job.work / "frames" / ".wd0000_100000.png.1.tmp").write_bytes(b"half")
    assert seen == [0, 7, 12]
    job.finish({}, allow_missing=False)
    assert output.read_bytes() == whole
    assert not job.work.exists()


def test_shards_make_the_same_archive(benchmark: list[Frame], tmp_path: Path) -> None:
    frames = benchmark[:10]
    whole = make_archive(tmp_path / "whole.zip", frames).read_bytes()
    output = tmp_path / "submission.zip"

    def job(number: int = 1, count: int = 1) -> SubmissionJob:
        return SubmissionJob(output, frames, WILDDASH, {"model": 1}, shard=Shard(number, count))

    with job(3, 3) as third, job(1, 3) as first:  # beside each other
        assert third.start(resume=False) == first.start(resume=False) == 0
        assert [len(list(j.predict(label))) for j in (first, third)] == [4, 3]
        with pytest.raises(UniLabelError, match="working on this output"), job():
            pass  # the whole waits for its parts
    last = job()
    assert last.start(resume=True) == 7
    with pytest.raises(UniLabelError, match=r"3 of 10 frames have no .*--shard I/N"):
        last.require_all(allow_missing=False)
    with last, pytest.raises(UniLabelError, match="working on this output"), job(2, 3):
        pass  # a part does not join while all of it is being made
    with job(2, 3) as second:
        assert second.start(resume=False) == 0
        assert len(list(second.predict(label))) == 3
    last.require_all(allow_missing=False)
    last.finish({}, allow_missing=False)
    assert output.read_bytes() == whole
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "submission.json", "submission.zip", "whole.json", "whole.zip"
    ]  # fmt: skip


def test_killed_after_the_archive_was_put_in_place(benchmark: list[Frame], tmp_path: Path) -> None:
    output = make_archive(tmp_path / "submission.zip", benchmark[:4])
    job = SubmissionJob(output, benchmark[:4], WILDDASH, {"model": 1})
    job.work.mkdir()
    (job.work / "job.json").write_text("{}")
    assert job.finished()
    assert not job.work.exists()
    assert not SubmissionJob(output, benchmark[:4], WILDDASH, {"model": 2}).finished()
    assert not SubmissionJob(output, benchmark[:5], WILDDASH, {"model": 1}).finished()
    output.write_bytes(output.read_bytes() + b"x")
    assert not job.finished()


def test_other_settings_do_not_mix(benchmark: list[Frame], tmp_path: Path) -> None:
    output = tmp_path / "submission.zip"
    job = SubmissionJob(output, benchmark[:4], WILDDASH, {"model": 1, "void": "none"})
    job.start(resume=False)
    next(iter(job.predict(label)))
    with pytest.raises(UniLabelError, match="--resume"):
        SubmissionJob(output, benchmark[:4], WILDDASH, {"model": 1}).start(resume=False)
    other = SubmissionJob(output, benchmark[:4], WILDDASH, {"model": 2, "void": "none"})
    with pytest.raises(UniLabelError, match=r"other settings \(model\)"):
        other.start(resume=True)
    with pytest.raises(UniLabelError, match=r"\(images\)"):
        SubmissionJob(output, benchmark[:3], WILDDASH, {"model": 1, "void": "none"}).start(True)
    done = make_archive(tmp_path / "done.zip", benchmark[:4])
    with pytest.raises(UniLabelError, match="not this job"):
        SubmissionJob(done, benchmark[:4], WILDDASH, {"model": 3}).start(resume=True)


def test_a_replaced_image_is_predicted_again(tmp_path: Path) -> None:
    """Also one of equal length: its content decides."""
    stems = [f"wd{i:04d}_100000" for i in range(3)]
    folder = tmp_path / "images"
    folder.mkdir()
    for stem in stems:
        Image.new("RGB", (8, 8), (200, 0, 0)).save(folder / f"{stem}.bmp")
    folder = folder.rename(tmp_path / "moved")
    for stem in stems:
        Image.open(folder / f"{stem}.bmp").save(folder / f"{stem}.png", compress_level=0)
        (folder / f"{stem}.bmp").unlink()
    output = tmp_path / "out.zip"
    job = SubmissionJob(output, list_frames(folder, WILDDASH), WILDDASH, {})
    job.start(resume=False)
    list(job.predict(label))
    before = (folder / f"{stems[1]}.png").stat().st_size
    Image.new("RGB", (8, 8), (0, 0, 0)).save(folder / f"{stems[1]}.png", compress_level=0)
    assert (folder / f"{stems[1]}.png").stat().st_size == before
    for expected in ([stems[1]], []):  # once only
        job = SubmissionJob(output, list_frames(folder, WILDDASH), WILDDASH, {})
        assert job.start(resume=True) == 3 - len(expected)
        assert job.replaced == expected
        assert [done.frame.stem for done in job.predict(label)] == expected
    job.finish({}, allow_missing=False)
    with zipfile.ZipFile(output) as file:
        values = [cv2.imdecode(np.frombuffer(file.read(f"{s}.png"), np.uint8), -1) for s in stems]
    assert [int(v[0, 0]) for v in values] == [7, 23, 7]
    assert job.finished()
    Image.new("RGB", (8, 8), (200, 0, 0)).save(folder / f"{stems[1]}.png", compress_level=0)
    assert not SubmissionJob(output, list_frames(folder, WILDDASH), WILDDASH, {}).finished()


def test_a_mended_frame_goes_into_the_resumed_archive(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "images", ["wd0000_100000", "wd0001_100000"])
    bad = folder / "wd0001_100000.jpg"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:-200])
    output = tmp_path / "out.zip"
    job = SubmissionJob(output, list_frames(folder, WILDDASH), WILDDASH, {})
    job.start(resume=False)
    list(job.predict(label))
    with pytest.raises(UniLabelError, match="Mend them and run again with --resume"):
        job.finish({}, allow_missing=False)
    bad.write_bytes(whole)
    job = SubmissionJob(output, list_frames(folder, WILDDASH), WILDDASH, {})
    assert job.start(resume=True) == 1
    assert [done.problem for done in job.predict(label)] == [None]
    assert job.finish({}, allow_missing=False).files == 2


@pytest.mark.parametrize("state", ["[]", "{}", '{"settings": 1, "images": {}}'])
def test_a_strange_state_is_refused(benchmark: list[Frame], state: str, tmp_path: Path) -> None:
    job = SubmissionJob(tmp_path / "out.zip", benchmark[:2], WILDDASH, {})
    job.start(resume=False)
    (job.work / "job.json").write_text(state)
    with pytest.raises(UniLabelError, match=r"job\.json is no job of this program; remove"):
        job.start(resume=True)


def test_a_bad_frame_is_named_and_stops_the_archive(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "images", [f"wd{i:04d}_100000" for i in range(5)])
    bad = folder / "wd0002_100000.jpg"
    whole = bad.read_bytes()
    bad.write_bytes(whole[: len(whole) // 2])
    frames = list_frames(folder, WILDDASH)
    output = tmp_path / "submission.zip"
    job = SubmissionJob(output, frames, WILDDASH, {})
    job.start(resume=False)
    problems = [done.problem for done in job.predict(label) if done.problem]
    assert len(problems) == 1
    assert "wd0002_100000.jpg" in problems[0]
    with pytest.raises(UniLabelError, match=r"1 of 5 frames.*wd0002_100000\.jpg"):
        job.finish({}, allow_missing=False)
    assert not output.exists()
    report = job.finish({}, allow_missing=True)
    assert [f.kind for f in report.faults] == ["missing"]
    assert json.loads(output.with_suffix(".json").read_text())["missing"] == ["wd0002_100000"]
    with zipfile.ZipFile(output) as file:
        assert len(file.namelist()) == 4


def test_frames_are_listed_strictly(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "images", ["wd0000_100000", "wd0001_100000"])
    (folder / ".hidden.jpg").write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    assert [f.stem for f in list_frames(folder, WILDDASH)] == ["wd0000_100000", "wd0001_100000"]
    assert [f.stem for f in list_frames(folder, WILDDASH, ["wd0001_100000"])] == ["wd0001_100000"]
    with pytest.raises(UniLabelError, match="'wd0009_100000'"):
        list_frames(folder, WILDDASH, ["wd0009_100000"])
    Image.new("RGB", (4, 4)).save(folder / "wd0001_100000.png")
    with pytest.raises(UniLabelError, match="both have the result"):
        list_frames(folder, WILDDASH)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UniLabelError, match="no image"):
        list_frames(tmp_path / "empty", WILDDASH)
    with pytest.raises(UniLabelError, match="no such folder"):
        list_frames(tmp_path / "nowhere", WILDDASH)


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    """rvc_devkit's rvc_uint8/ has its image folders as links; a link upwards is no endless way."""
    real = write_frames(tmp_path / "disk", ["wd0000_100000"])
    folder = write_frames(tmp_path / "images", ["wd0001_100000"])
    (folder / "more").symlink_to(real, target_is_directory=True)
    (folder / "again").symlink_to(folder, target_is_directory=True)
    (real / "up").symlink_to(tmp_path / "images", target_is_directory=True)
    stems = [f.stem for f in list_frames(folder, WILDDASH)]
    assert stems == ["wd0000_100000", "wd0001_100000"]


def test_turned_photos_keep_their_shown_size(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (30, 20), (200, 0, 0)).save(folder / "wd0000_100000.jpg", exif=exif)
    frames = list_frames(folder, WILDDASH)
    path = make_archive(tmp_path / "turned.zip", frames)
    with zipfile.ZipFile(path) as file:
        ids = cv2.imdecode(np.frombuffer(file.read("wd0000_100000.png"), np.uint8), -1)
    assert ids.shape == (30, 20)


def test_other_benchmarks_name_their_results(tmp_path: Path) -> None:
    cases = {
        "cityscapes": ("berlin/berlin_000000_000019_leftImg8bit.png",) * 1,
        "kitti": ("image_2/000007_10.png",),
        "scannet20": ("scene0707_00/color/000100.jpg",),
        "viper": ("img/001/001_00010.jpg",),
        "ade20k150": ("testing/ADE_test_00000001.jpg",),
    }
    expected = {
        "cityscapes": "berlin_000000_000019_leftImg8bit",
        "kitti": "000007_10",
        "scannet20": "scene0707_00_000100",
        "viper": "001_00010",
        "ade20k150": "ADE_test_00000001",
    }
    for name, paths in cases.items():
        for path in paths:
            file = tmp_path / name / path
            file.parent.mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(file)
        benchmark = get_benchmark(name)
        frames = list_frames(tmp_path / name, benchmark)
        assert [f.stem for f in frames] == [expected[name]]
        assert not any("names are none" in note for note in frame_notes(frames, benchmark))


def test_ids_of_other_benchmarks() -> None:
    assert get_benchmark("cityscapes").ids["bicycle"] == 33
    assert get_benchmark("mapillary").ids["Bird"] == 1
    assert get_benchmark("mapillary").ids["Ego Vehicle"] == 65
    assert 0 not in get_benchmark("mapillary").allowed
    assert get_benchmark("ade20k150").ids["flag"] == 150
    assert get_benchmark("scannet20").ids["otherfurniture"] == 39
    assert get_benchmark("viper").ids["truck"] == 27
    assert get_benchmark("kitti").folder == "semantic"
    # two readings: the devkit's note about the panoptic task, and its ss_mapping.csv (bird = 0)
    assert get_benchmark("mapillary", "1-65").ids == get_benchmark("mapillary").ids
    assert get_benchmark("mapillary", "0-64").ids["Bird"] == 0
    assert get_benchmark("mapillary", "0-64").ids["Ego Vehicle"] == 64
    with pytest.raises(UniLabelError, match=r"--values 0-65: mapillary has the readings: 1-65, 0"):
        get_benchmark("mapillary", "0-65")
    with pytest.raises(UniLabelError, match="viper has the readings: none"):
        get_benchmark("viper", "0-65")
    with pytest.raises(UniLabelError, match="'coco'"):
        get_benchmark("coco")


def test_a_result_is_eight_bits_and_grey() -> None:
    with pytest.raises(UniLabelError, match="uint8"):
        encode_png(np.zeros((3, 3), np.int16))
    with pytest.raises(UniLabelError, match="uint8"):
        encode_png(np.zeros((3, 3, 3), np.uint8))
