#!/usr/bin/env python
r"""Show a learned label space: unified labels, and how the classes of the datasets relate.

Examples:
  python tools/inspect_label_space.py output/toy/model_final.pth
  python tools/inspect_label_space.py output/toy/label_space.json --dataset toy_idd
  python tools/inspect_label_space.py output/toy/label_space.json --json relations.json \
      --graph graph.svg --page graph.html
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", metavar="MODEL.pth|label_space.json")
    parser.add_argument("--dataset", metavar="NAME", help="only links and relations of a dataset")
    parser.add_argument("--json", metavar="FILE", help="write the same content as JSON")
    parser.add_argument("--graph", metavar="FILE", help="draw the graph, .png .svg or .pdf")
    parser.add_argument("--page", metavar="FILE", help="write the interactive graph, .html")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    parse_arguments()  # --help and wrong options are answered before the slow imports

warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

from unilabel.core.errors import UniLabelError  # noqa: E402
from unilabel.core.io import write_json  # noqa: E402
from unilabel.core.relations import WORDS  # noqa: E402
from unilabel.core.unified_space import UnifiedLabelSpace, class_relations  # noqa: E402
from unilabel.visual.graph_page import write_graph_page  # noqa: E402

_FLIPPED = {"equal": "equal", "subset": "superset", "superset": "subset", "overlap": "overlap"}
_WIDEST = 36  # characters of a column


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; the exit code is 2 after a wrong argument or file."""
    args = parse_arguments(arguments)
    try:
        space = read_label_space(args.file)
        if args.dataset:
            space.label_spaces.get(args.dataset)
        report = describe(space, args.dataset)
        if args.json:
            write_json(args.json, report)
        if args.graph:
            from unilabel.visual.label_graph import draw_label_graph  # Matplotlib is slow

            draw_label_graph(space, args.graph, Path(args.file).name)
        if args.page:
            write_graph_page(space, args.page, Path(args.file).name)
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print_report(report)
    for written in filter(None, (args.json, args.graph, args.page)):
        print(f"wrote {written}")
    return 0


def read_label_space(path: str) -> UnifiedLabelSpace:
    """The label space of a JSON file, or inside a model file.

    Raises:
        UniLabelError: neither, or a model without unified labels.
    """
    if Path(path).suffix.lower() == ".json":
        return UnifiedLabelSpace.load(path)
    from unilabel.engine.checkpoint import load_file

    content = load_file(path)
    if content.get("label_space") is None:
        raise UniLabelError(f"{path} has no unified labels: one head per dataset, or not finished.")
    return UnifiedLabelSpace.from_dict(content["label_space"], path)


def describe(space: UnifiedLabelSpace, dataset: str | None = None) -> dict[str, Any]:
    """Unified labels with their links, and the relations of classes, as plain values.

    Args:
        space: the label space.
        dataset: keep the unified labels linked to this dataset, and its relations, read from it.
    """
    labels = []
    for entry in space.to_dict()["labels"]:
        links = {name: link for name, link in entry["links"].items() if link is not None}
        if dataset is None or dataset in links:
            labels.append({**entry, "links": links})
    relations = class_relations(space.mapping)
    beside = list(space.beside())
    if dataset is not None:
        beside = [r.seen_from(dataset) for r in beside if dataset in (r.a[0], r.b[0])]
        relations = [seen_from(r, dataset) for r in relations if dataset in _datasets(r)]
    return {
        "datasets": [
            {"name": s.name, "display_name": s.display_name, "classes": s.num_classes}
            for s in space.label_spaces
        ],
        "checksum": space.mapping.checksum(),
        "labels": labels,
        "relations": relations,
        "counts": dict(Counter(r["type"] for r in relations)),
        "beside": [relation.to_dict() for relation in beside],
    }


def _datasets(relation: dict[str, Any]) -> tuple[str, str]:
    return relation["a"]["dataset"], relation["b"]["dataset"]


def seen_from(relation: dict[str, Any], dataset: str) -> dict[str, Any]:
    """The relation with the class of ``dataset`` as a."""
    if relation["a"]["dataset"] == dataset:
        return relation
    turned = {"a": relation["b"], "b": relation["a"], "type": _FLIPPED[relation["type"]]}
    return {**relation, **turned}


def print_report(report: dict[str, Any]) -> None:
    """Both tables, with a line of numbers above each."""
    datasets = [d["name"] for d in report["datasets"]]
    sizes = ", ".join(f"{d['name']} ({d['classes']})" for d in report["datasets"])
    labels, relations = report["labels"], report["relations"]
    active = sum(entry["active"] for entry in labels)
    print(f"datasets: {sizes}\n{len(labels)} unified labels, {active} in use\n")
    rows = [["id", "unified label", *datasets]]
    for entry in labels:
        mark = " *" if entry["checked"] else ""
        cells = [_link(entry["links"].get(name)) for name in datasets]
        rows.append([str(entry["id"]), entry["name"] + mark, *cells])
    _print_table(rows)
    print("\nclass weight, with the source where it is not learned; * checked by a person\n")
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(report["counts"].items()))
    print(f"{len(relations)} relations of classes: {kinds or 'none'}\n")
    rows = [["class", "is", "class", "unified labels in common"]]
    for relation in relations:
        a, b = (f"{relation[x]['dataset']}:{relation[x]['label']}" for x in "ab")
        kind = WORDS[relation["type"]]
        rows.append([a, kind, b, str(relation["shared"])])
    _print_table(rows)
    _print_beside(report["beside"])


def _print_beside(relations: list[dict[str, Any]]) -> None:
    """Typed relations of classes that share no unified label."""
    if not relations:
        return
    print(f"\n{len(relations)} relations more of classes without a unified label in common\n")
    rows = [["class", "is", "class", "why", "confidence", "pixels", "source"]]
    for relation in relations:
        a, b = (f"{relation[x]['dataset']}:{relation[x]['label']}" for x in "ab")
        pixels = " ".join(f"{share:.2f}" for share in relation.get("pixels", ())) or "-"
        kind = WORDS[relation["type"]]
        weight = f"{relation['weight']:.2f}"
        rows.append([a, kind, b, relation["why"] or "-", weight, pixels, relation["source"]])
    _print_table(rows)
    print(
        "\npixels: what the first networks answer there and back; the head asks for none of these"
    )


def _link(link: dict[str, Any] | None) -> str:
    if link is None:
        return "-"
    source = "" if link["source"] == "learned" else f" {link['source']}"
    return f"{link['class']} {link['weight']:.2f}{source}"


def _print_table(rows: list[list[str]]) -> None:
    cut = [[c if len(c) <= _WIDEST else c[: _WIDEST - 1] + "…" for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cut, strict=True)]
    for row in cut:
        line = "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True))
        print(line.rstrip())


if __name__ == "__main__":
    sys.exit(main())
