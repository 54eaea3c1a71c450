"""The methods that benchmarks/compare.py trains, as changes of a configuration."""

from __future__ import annotations

# The paper's text and the authors' code as overrides of our defaults (configs/baselines).
PAPER = {
    "MODEL.MAPPING_MODE": "logit_sum",
    "MODEL.DATASET_BIAS": "False",
    "MODEL.DATASET_SHIFT": "False",
    "LOSS.CLASS_WEIGHT_POWER": "0.0",
    "LOSS.ORTH_WEIGHT": "1.0",
    "TEXT.MODE": "prompt+description",
    "UNIFY.NODES": "ilp",
    "UNIFY.MERGE_SCORE": "iou",
    "UNIFY.TAU": "-1.0",
    "UNIFY.SOLVER": "uot",
    "UNIFY.UOT_REG_M": "5.0",
    "UNIFY.UOT_PRUNE_RATIO": "0.0",
    "UNIFY.CONFIRM_SHARE": "0.0",
    "UNIFY.COMPLETE_PURITY": "2.0",
    "UNIFY.FIT_ITERATIONS": "0",
    "GRAPH.ALLOW_NULL": "False",
    "GRAPH.SOFT_START": "False",
    "GRAPH.HARD_SHARE": "0.0",
    "GRAPH.EDGE_LR": "0.01",
    "SOLVER.REFIT": "False",
}
REFERENCE = {
    **PAPER,
    "MODEL.NORMALIZE_EMBEDDING": "True",
    "LOSS.OHEM_THRESHOLD": "0.7",
    "LOSS.ORTH_WEIGHT": "10.0",
    "LOSS.ORTH_FORM": "entropy",
    "UNIFY.MERGE_SCORE": "recall",
    "UNIFY.TAU": "0.4",
    "UNIFY.UOT_PRUNE_RATIO": "1.0",
    "UNIFY.UOT_ASCENDING": "True",
    "GRAPH.HARD_SHARE": "0.75",
    "GRAPH.DROPOUT": "0.5",
    "GRAPH.DATASET_EMBEDDING": "False",
}

# Without the parts of ours: what others' label spaces give with a plain training.
PLAIN = {"MODEL.DATASET_BIAS": "False", "SOLVER.REFIT": "False"}

# method -> (schedule kind, overrides); the order is that of the table.
METHODS: dict[str, tuple[str, dict[str, str]]] = {
    "single": ("heads", {"SINGLE_DATASET_MODELS": "True", "SOLVER.REFIT": "False"}),
    "multi_head": ("heads", {"SOLVER.REFIT": "False"}),
    "multi_head_refit": ("heads", {"SOLVER.REFIT": "True"}),
    "concat": ("fixed", {"UNIFY.NODES": "concat", **PLAIN}),
    "names": ("fixed", {"UNIFY.NODES": "names", **PLAIN}),
    "text_cluster": ("fixed", {"UNIFY.NODES": "text_cluster", **PLAIN}),
    "no_gnn": ("fixed", {"UNIFY.NODES": "ilp", "MODEL.MAPPING_MODE": "logit_sum", **PLAIN}),
    "paper": ("learned", PAPER),
    "reference": ("learned", REFERENCE),
    "ours": ("learned", {}),
    "human": ("fixed", {"UNIFY.NODES": "relations"}),
    "concat_trained_as_ours": ("fixed", {"UNIFY.NODES": "concat"}),
    "names_trained_as_ours": ("fixed", {"UNIFY.NODES": "names"}),
    "text_cluster_trained_as_ours": ("fixed", {"UNIFY.NODES": "text_cluster"}),
    "ours_names_only": ("learned", {"TEXT.MODE": "name"}),
    "ours_no_text": ("learned", {"UNIFY.TEXT_WEIGHT": "0.0"}),
    "ours_no_gnn": ("fixed", {}),
    "ours_logit_sum": ("learned", {"MODEL.MAPPING_MODE": "logit_sum"}),
    "ours_unconfirmed": ("learned", {"UNIFY.CONFIRM_SHARE": "0.0"}),
    "ours_ilp_nodes": ("learned", {"UNIFY.NODES": "ilp"}),
    "ours_no_refit": ("learned", {"SOLVER.REFIT": "False"}),
    "ours_no_fit": ("learned", {"UNIFY.FIT_ITERATIONS": "0"}),
    "ours_no_shift": ("learned", {"MODEL.DATASET_SHIFT": "False"}),
    "ours_incomplete": ("learned", {"UNIFY.COMPLETE_PURITY": "2.0"}),
    "ours_unrelated": ("learned", {"UNIFY.LINK_RELATIONS": "False"}),
    "ours_no_bias": ("learned", {"MODEL.DATASET_BIAS": "False"}),
    "ours_no_class_weights": ("learned", {"LOSS.CLASS_WEIGHT_POWER": "0.0"}),
    "multi_head_no_class_weights": (
        "heads",
        {"LOSS.CLASS_WEIGHT_POWER": "0.0", "SOLVER.REFIT": "False"},
    ),
}
# Methods that differ from another one only after the last iteration go on from its end.
CONTINUES = {
    "multi_head_refit": "multi_head",
    "ours_no_refit": "ours",
    "ours_unrelated": "ours",
}
