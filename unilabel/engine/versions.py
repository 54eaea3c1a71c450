"""States of interrupted runs of earlier versions, in the present form."""

from __future__ import annotations

import logging
from typing import Any

from unilabel.core.stages import Stage

logger = logging.getLogger(__name__)


def current_state(state: dict[str, Any]) -> dict[str, Any]:
    """A state as the trainer saves it now, from one of now or of before.

    Before, the parts of ``unifier`` stood in the state itself, a reviewed file was not kept, every
    stage began with an optimizer of its own, and heads could train on beside the unified labels
    (LOSS.HEADS_WEIGHT): they are left out.
    """
    if "last_optimizer" not in state:
        logger.warning(
            "checkpoint of an earlier version: stages that come later begin with a new optimizer, "
            "without a warm-up of their own."
        )
        state = {"last_optimizer": None, **state}
    state = dict(state)
    if "unifier" not in state:
        state["unifier"] = _gathered(state)
    unified = state["num_unified"] is not None
    network_stage = state["optimizer"] is not None
    heads = [key for key in state["model"] if key.startswith("multi_head.")]
    if unified and network_stage and heads:
        logger.warning(
            "checkpoint of an earlier version: heads that trained beside the unified labels "
            "(LOSS.HEADS_WEIGHT) are left out; the optimizer begins anew at iteration %d.",
            state["iteration"],
        )
        state["model"] = {k: v for k, v in state["model"].items() if k not in heads}
        state["optimizer"] = None  # it holds moments of the heads among the others
    return state


def _gathered(state: dict[str, Any]) -> dict[str, Any]:
    """What the unifier of an earlier version's run knew."""
    if (state["proposal"] or {}).get("source") == "human":
        logger.warning(
            "checkpoint of an earlier version: names, colours and checks of MODEL.LABEL_SPACE were "
            "not kept in it; the finished label space gets default ones."
        )
    return {
        "proposal": state["proposal"],
        "graph": state["graph"],
        "learner": state["learner"],
        "rows": rows_of(state),
        "marginals": state["marginals"],
        "text_features": state["text_features"],
        "link_scores": state.get("link_scores", []),
    }


def rows_of(state: dict[str, Any]) -> dict[str, Any]:
    """State of :class:`unilabel.engine.label_rows.LabelRows` out of a run's, of any version."""
    if "unifier" in state:
        return state["unifier"]["rows"]
    done = [record["name"] for record in state.get("records", [])]
    return {
        "edge_weights": state.get("edge_weights"),
        "human_links": state.get("human_links"),
        "reviewed": None,
        "origin": None,
        "learned": Stage.GNN.value in done,
    }
