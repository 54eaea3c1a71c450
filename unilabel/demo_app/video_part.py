"""The part of the page that predicts short videos."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from unilabel.demo_app import components, video
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.events import started
from unilabel.demo_app.images import VIDEO_SUFFIXES
from unilabel.demo_app.session import Session
from unilabel.demo_app.uploads import Inbox


def video_part(engine: Engine, state: gr.State, inbox: Inbox, space: gr.Dropdown) -> None:
    """Upload, progress and result."""
    gr.Markdown(
        f"At most {video.MAX_SECONDS:.0f} seconds; {video.FRAMES_PER_SECOND:.0f} frames of every "
        "second are predicted in the label space above."
    )
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            upload = components.upload("Video", VIDEO_SUFFIXES, 130, "video-file")
            cancel = gr.Button("Cancel", size="sm")
        with gr.Column(scale=3, min_width=300):
            result = components.video("video")

    def run(session: Session | None, path: str | None, name: str) -> Iterator[tuple[Any, ...]]:
        session = started(engine, session)
        for status in video.predict_video(engine, session, inbox, path, name, 0.6):
            yield session, status, None

    job = upload.upload(
        run,
        [state, upload, space],
        [state, result, upload],
        concurrency_id="video",
        concurrency_limit=1,
        show_progress="hidden",
        api_visibility="private",
    )
    cancel.click(
        lambda: video.video_status("Cancelled."),
        outputs=result,
        cancels=[job],
        queue=False,
        api_visibility="private",
    )
