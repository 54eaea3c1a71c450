"""Start of the demo: arguments, temporary folder, server."""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import platform
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.demo_app import children
from unilabel.demo_app.holding import holding_page, port_is_taken
from unilabel.demo_app.weights import find_weights, title_of

MAX_UPLOAD = 25 * 2**20  # bytes of an uploaded file
MAX_VISITORS = 64  # sessions that are remembered
MAX_THREADS = 8  # each keeps buffers of its own; the model answers one request at a time
# mallopt of glibc: number of an option -> value
_MEMORY = {-8: 2, -3: 128 * 2**10, -1: 128 * 2**10}  # M_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD


def parse_arguments(arguments: Sequence[str] | None, description: str | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", metavar="FILE", help="model_final.pth")
    parser.add_argument(
        "--label-space", metavar="FILE", help="edited label_space.json of the model"
    )
    parser.add_argument(
        "--examples",
        metavar="DIR",
        help="pictures to choose from (default: those that the training wrote down)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: reachable from elsewhere")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--text-encoder",
        default="",
        metavar="SPEC",
        help="also finds suspicious links by their texts: minilm, sentence:<folder>",
    )
    parser.add_argument(
        "--datasets",
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="dataset folders whose photos are shown as evidence for links; default: those of the "
        "training, if they are there",
    )
    parser.add_argument(
        "--save-reviews",
        metavar="DIR",
        help="keep all edits of the review below this folder, as they are made",
    )
    parser.add_argument(
        "--share", action="store_true", help="public address through Gradio's servers (not offline)"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, description: str | None = None) -> int:
    """Serve until interrupted; the exit code is 2 after a wrong argument."""
    start = time.perf_counter()
    args = parse_arguments(arguments, description)
    _return_freed_memory()
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="unilabel_demo_") as temp_dir:
        signal.signal(signal.SIGTERM, lambda *_: _stop(temp_dir))
        uploads, work = _folders(temp_dir)
        # read by Gradio when it is imported
        os.environ["GRADIO_TEMP_DIR"] = uploads
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        try:
            return _serve(args, uploads, work, start)
        except UniLabelError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return 0


def _stop(temp_dir: str) -> None:
    """End at once, with a clean folder.

    The server alone would wait for every open page, and Python for threads that predict.
    """
    children.end_all()
    shutil.rmtree(temp_dir, ignore_errors=True)
    os._exit(0)


def _folders(temp_dir: str) -> tuple[str, str]:
    """Where uploads go and where jobs write, both below the folder that goes at the end."""
    uploads, work = Path(temp_dir, "uploads"), Path(temp_dir, "work")
    uploads.mkdir()
    work.mkdir()
    return str(uploads), str(work)


def _return_freed_memory() -> None:
    """Keep the memory of a long-running server flat.

    Left to itself glibc learns to keep blocks of the size of an answer, and scatters them over an
    arena per thread; freed ones then do not go back to the system.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        for option, value in _MEMORY.items():
            library.mallopt(option, value)


def ready_folder(given: str) -> Path:
    """A folder that can be written to; made if needed.

    Raises:
        UniLabelError: it cannot be made or written.
    """
    folder = Path(given)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UniLabelError(
            f"--save-reviews: cannot write in {given} ({error.strerror or error}); name a folder "
            "of yours."
        ) from error
    return folder


def _serve(args: argparse.Namespace, uploads: str, work: str, start: float) -> int:
    weights = find_weights(args.weights)  # a wrong path is told before the slow imports
    if not 1 <= args.port <= 65535:
        raise UniLabelError(f"--port is {args.port}, expected 1 to 65535.")
    print(f"loading the model {title_of(weights)} ...", flush=True)
    with holding_page(args.host, args.port):
        engine, page = _build(args, weights, uploads, work)
    from unilabel.demo_app import components
    from unilabel.demo_app.link_photos import find_sources
    from unilabel.demo_app.page import theme

    try:
        page.launch(
            server_name=args.host,
            server_port=args.port,
            share=args.share,
            theme=theme(),
            css=components.styles(),
            max_file_size=MAX_UPLOAD,
            max_threads=MAX_THREADS,
            state_session_capacity=MAX_VISITORS,
            show_error=False,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            pwa=False,
            ssr_mode=False,
            mcp_server=False,
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError as error:
        raise port_is_taken(args.host, args.port, error) from error
    space = engine.predictor.label_space
    # so that the first visitor with a photo does not wait for it
    threading.Thread(target=engine.usual_energy, daemon=True).start()
    if space is not None:
        folders = list(args.datasets)
        find = partial(find_sources, weights, space, folders, work)
        look = partial(engine.evidence.look, find, engine.make_way)
        threading.Thread(target=look, daemon=True).start()
    seconds = time.perf_counter() - start
    print(f"ready after {seconds:.1f} s: http://{args.host}:{args.port}", flush=True)
    page.block_thread()
    return 0


def _build(args: argparse.Namespace, weights: Path, uploads: str, work: str) -> tuple[Any, Any]:
    """Load the model and lay out the page, engine and page; the imports alone take seconds."""
    from unilabel.demo_app.engine import Engine
    from unilabel.demo_app.gallery import find_gallery
    from unilabel.demo_app.page import build_page
    from unilabel.demo_app.uploads import Inbox
    from unilabel.predictor import build_predictor

    predictor = build_predictor(weights, args.device, args.label_space)
    gallery = find_gallery(predictor, weights, args.examples)
    title = title_of(weights)
    engine = Engine(
        predictor,
        text_encoder=args.text_encoder,
        title=title,
        reviews=None if args.save_reviews is None else ready_folder(args.save_reviews),
        gallery=gallery,
        weights=weights,
    )
    return engine, build_page(engine, Inbox(uploads, work))
