#!/usr/bin/env python
r"""Train or evaluate unilabel.

Examples:
  python train_net.py --config-file configs/toy.yaml
  python train_net.py --config-file configs/7ds.yaml --num-gpus 4
  python train_net.py --config-file configs/toy.yaml --resume
  python train_net.py --config-file configs/toy.yaml --eval-only \
      MODEL.WEIGHTS output/toy/model_final.pth
  python train_net.py --config-file configs/mini.yaml OUTPUT_DIR output/mini_seed1 SEED 1
  torchrun --nproc_per_node 2 train_net.py --config-file configs/toy.yaml   (CPU processes)

KEY VALUE pairs at the end override the configuration; unilabel/config.py explains every key.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings

# Threads that wait must not spin: beside other programs on the same cores that slows training
# several times. Has to be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="YAML of configs/")
    parser.add_argument(
        "--resume", action="store_true", help="continue from the last checkpoint in OUTPUT_DIR"
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS")
    parser.add_argument("--num-gpus", type=int, default=1, help="GPUs of each machine (default 1)")
    parser.add_argument("--num-machines", type=int, default=1)
    parser.add_argument("--machine-rank", type=int, default=0, help="number of this machine")
    parser.add_argument(
        "--dist-url", default="auto", help="address of machine 0, tcp://host:port (default: local)"
    )
    parser.add_argument(
        "opts",
        nargs=argparse.REMAINDER,
        metavar="KEY VALUE",
        help="overrides, see unilabel/config.py",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    parse_arguments()  # --help and wrong options are answered before the slow imports

warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

import torch  # noqa: E402
from detectron2.config import CfgNode  # noqa: E402
from detectron2.engine import launch  # noqa: E402
from detectron2.utils import comm  # noqa: E402
from detectron2.utils.logger import setup_logger  # noqa: E402

import unilabel.modeling  # noqa: E402, F401  registers backbone and meta-architecture
from unilabel.config import load_config  # noqa: E402
from unilabel.core.errors import UniLabelError  # noqa: E402
from unilabel.core.io import atomic_path  # noqa: E402
from unilabel.engine import run  # noqa: E402
from unilabel.engine.distributed import init_from_environment  # noqa: E402
from unilabel.engine.segmentor import device_of  # noqa: E402

logger = logging.getLogger("unilabel")


def setup(args: argparse.Namespace) -> CfgNode:
    """Read the configuration, start logging, keep the resolved configuration."""
    cfg = load_config(args.config_file, args.opts)
    device = device_of(cfg.MODEL.DEVICE)
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    cfg.freeze()
    if comm.is_main_process():
        name = "config_eval.yaml" if args.eval_only else "config.yaml"
        with atomic_path(f"{cfg.OUTPUT_DIR}/{name}") as temporary:
            temporary.write_text(cfg.dump(), encoding="utf-8")
    comm.synchronize()  # the folder is there
    for name in ("unilabel", "detectron2", "fvcore"):
        setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name=name)
    # Detectron2 reports seconds per batch of every pass; our own lines say which dataset it is.
    logging.getLogger("detectron2.evaluation.evaluator").setLevel(logging.WARNING)
    if cfg.MODEL.DEVICE == "auto" and device.type == "cpu":
        logger.info("MODEL.DEVICE auto: no CUDA device is there, the run uses the CPU")
    return cfg


def report_error(error: UniLabelError) -> None:
    """Say an error once on the terminal, and keep it in log.txt where that is open already."""
    for handler in list(logger.handlers):
        if getattr(handler, "stream", None) in (sys.stdout, sys.stderr):
            logger.removeHandler(handler)
    if logger.handlers:
        logger.error("%s", error)
    print(f"error: {error}", file=sys.stderr)


def main(args: argparse.Namespace) -> int:
    """One process of a run; returns the exit code."""
    try:
        init_from_environment()
        cfg = setup(args)
        if args.eval_only:
            results = run.evaluate(cfg, args.config_file)
        else:
            results = run.train(cfg, args.config_file, args.resume)
    except UniLabelError as error:
        report_error(error)
        raise SystemExit(2) from None
    if comm.is_main_process():
        print(run.report(results))
    return 0


if __name__ == "__main__":
    parsed = parse_arguments()
    if parsed.num_gpus > max(1, torch.cuda.device_count()):
        report_error(
            UniLabelError(
                f"--num-gpus is {parsed.num_gpus}, but there are {torch.cuda.device_count()} GPUs "
                "here. For several processes on CPUs: torchrun --nproc_per_node N train_net.py ..."
            )
        )
        sys.exit(2)
    launch(
        main,
        parsed.num_gpus,
        num_machines=parsed.num_machines,
        machine_rank=parsed.machine_rank,
        dist_url=parsed.dist_url,
        args=(parsed,),
    )
