"""Short videos, frame by frame."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from unilabel.core.errors import UniLabelError
from unilabel.demo_app.actions import BASE, NONE
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.images import VIDEO_SUFFIXES
from unilabel.demo_app.jobs import JobFile, job_status
from unilabel.demo_app.payloads import file_stem
from unilabel.demo_app.session import Session
from unilabel.demo_app.uploads import Inbox
from unilabel.visual.overlay import overlay

MAX_SECONDS = 15.0
MAX_FRAMES = 120
FRAMES_PER_SECOND = 8.0  # fewer frames are taken from faster videos
MAX_SIDE = 640  # pixels of the result
MAX_SOURCE_PIXELS = 4096 * 2304


def predict_video(
    engine: Engine, session: Session, inbox: Inbox, path: str | None, space: str, opacity: float
) -> Iterator[str]:
    """Predict a video and yield the progress, at the end the result.

    Nothing stays on the disk, also when the visitor cancels.
    """
    if space == NONE:
        yield job_status(["Choose a label space."], None, "error")
        return
    try:
        name, data = inbox.take(path, engine.limits.max_bytes)
        with tempfile.TemporaryDirectory(dir=inbox.work) as folder:
            source, result = Path(folder, "source"), Path(folder, "result.webm")
            source.write_bytes(data)
            rate, frames = read_frames(source, name)
            predictor = session.predictor(engine, edited=not space.startswith(BASE))
            height, width = frames[0].shape[:2]
            code = cv2.VideoWriter.fourcc(*"VP80")
            writer = cv2.VideoWriter(str(result), code, rate, (width, height))
            if not writer.isOpened():
                raise UniLabelError("this server cannot write WebM videos.")
            for index, frame in enumerate(frames):
                encoded = predictor.encode(frame, session.short_side)
                answer = predictor.predict(encoded, space.removeprefix(BASE), confidence=False)
                picture = overlay(frame, answer.labels, answer.colors, opacity)
                writer.write(np.ascontiguousarray(picture[..., ::-1]))
                share = (index + 1) / len(frames)
                yield job_status([f"Frame {index + 1} of {len(frames)}"], min(share, 0.99))
            writer.release()
            file = JobFile(f"{file_stem(name)}_labels.webm", result.read_bytes(), "video/webm")
        yield job_status([f"{len(frames)} frames, {rate:.0f} per second."], None, "info", file)
    except UniLabelError as error:
        yield job_status([str(error)], None, "error")


def read_frames(file: Path, name: str) -> tuple[float, list[NDArray[np.uint8]]]:
    """Frames per second and (H, W, 3) RGB frames, reduced in number and size.

    Args:
        file: where it lies.
        name: its name, for the suffix and for messages.

    Raises:
        UniLabelError: it is no video, or too long or too large.
    """
    if Path(name).suffix.lower() not in VIDEO_SUFFIXES:
        raise UniLabelError(f"{name} is no video; accepted are {', '.join(VIDEO_SUFFIXES)}.")
    capture = cv2.VideoCapture(str(file), cv2.CAP_FFMPEG)
    try:
        rate = capture.get(cv2.CAP_PROP_FPS)
        width = capture.get(cv2.CAP_PROP_FRAME_WIDTH)
        height = capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if not capture.isOpened() or not 0 < rate <= 1000 or width < 1 or height < 1:
            raise UniLabelError(f"{name} is no video that can be read.")
        if width * height > MAX_SOURCE_PIXELS:
            raise UniLabelError(f"{name} has {width:.0f} x {height:.0f} pixels; that is too many.")
        step = max(1, round(rate / FRAMES_PER_SECOND))
        frames = []
        for index in range(round(MAX_SECONDS * rate) + 1):
            if not capture.grab():
                break
            if index % step:
                continue
            if len(frames) == MAX_FRAMES:
                raise _too_long(name)
            done, frame = capture.retrieve()
            if done:
                frames.append(_shrink(frame))
        else:
            raise _too_long(name)
    finally:
        capture.release()
    if not frames:
        raise UniLabelError(f"{name} has no frame that can be read.")
    return rate / step, frames


def _too_long(name: str) -> UniLabelError:
    return UniLabelError(f"{name} is longer than {MAX_SECONDS:.0f} seconds; cut it first.")


def _shrink(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """BGR frame to RGB of even sides, at most MAX_SIDE."""
    height, width = frame.shape[:2]
    scale = min(1.0, MAX_SIDE / max(height, width))
    size = (max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2))
    if size != (width, height):
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(frame[..., ::-1])
