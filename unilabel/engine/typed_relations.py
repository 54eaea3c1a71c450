"""Typed relations of a finished label space: what texts say of classes that it does not link."""

from __future__ import annotations

import logging
from dataclasses import replace

from detectron2.config import CfgNode
from torch import Tensor

from unilabel.core.typed_relations import merged_with
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine.node_selection import texts_of
from unilabel.text.encoders import build_text_encoder
from unilabel.text.typed import find_typed_relations

logger = logging.getLogger(__name__)


def links_relations(cfg: CfgNode) -> bool:
    """Whether unified labels get the links of typed relations: of evidence, and if configured."""
    return cfg.UNIFY.LINK_RELATIONS and cfg.UNIFY.NODES == "fused"


def with_typed_relations(
    cfg: CfgNode, space: UnifiedLabelSpace, cross: Tensor | None = None
) -> UnifiedLabelSpace:
    """The label space with relations of the classes that share no unified label.

    What a person said in ``space`` stays. A run without texts (UNIFY.TEXT_WEIGHT 0, or vectors of
    TEXT.FEATURES without their encoder) finds none.

    Args:
        cfg: TEXT, UNIFY.TEXT_WEIGHT.
        space: of a finished model.
        cross: (C, C) what the first heads answer on each other's pixels, if it is known.
    """
    spaces = space.label_spaces
    if cfg.UNIFY.TEXT_WEIGHT == 0 or cfg.TEXT.FEATURES:
        why = "UNIFY.TEXT_WEIGHT is 0" if cfg.UNIFY.TEXT_WEIGHT == 0 else "TEXT.FEATURES is set"
        logger.info("no typed relations of classes without a common label are sought: %s", why)
        return replace(space, relations=merged_with((), space.relations, spaces))
    encode = build_text_encoder(cfg.TEXT.ENCODER).encode
    linked = space.mapping.links()
    if links_relations(cfg):  # a relation that became a link keeps its type
        linked = space.linked_by("learned", "human")
    found = find_typed_relations(texts_of(cfg, spaces), linked, encode, cross)
    result = replace(space, relations=merged_with(found, space.relations, spaces))
    logger.info(
        "%d typed relations of classes without a common unified label (label_space.json)",
        len(result.beside()),
    )
    return result
