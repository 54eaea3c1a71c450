"""One pass of the label graph: ours against the dense square form.

    OMP_NUM_THREADS=1 python benchmarks/graph.py

The reference is PyG's ``DenseGraphConv`` on the square adjacency over all V = C + N nodes, with the
same parameters. Rows: forward time, forward + backward time, the largest differences of the label
embedding and of the gradients (relative to the largest gradient of a parameter).
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from common import Report, compare
from torch import Tensor

from unilabel.core.adjacency import adjacency
from unilabel.core.label_graph import LabelGraph

# Cityscapes, Mapillary, SUN RGB-D, BDD100K, IDD, ADE20K, COCO: the paper's seven datasets.
SEVEN = (19, 64, 37, 19, 26, 150, 133)


def square_form(graph: LabelGraph) -> tuple[Tensor, Tensor]:
    """What ``graph()`` returns, by the formulas of the paper."""
    labels = graph.text_features + graph.dataset_embedding[graph.dataset_of]  # Eq. (1)
    mapping = graph.mapping()
    square = adjacency(mapping)
    x = F.relu(graph.input(torch.cat([labels, graph.unified_features])))
    for layer in graph.layers:
        x = torch.tanh(layer(x, square)[0])  # Eq. (3)
    return graph.output(x[-graph.num_unified :]), mapping


def step(graph: LabelGraph, forward) -> list[Tensor]:
    """Label embedding, and the gradients of a loss that depends on both results."""
    graph.zero_grad(set_to_none=True)
    embedding, mapping = forward(graph)
    (embedding.square().mean() + mapping[:, 0].mean()).backward()
    return [embedding.detach(), *(p.grad for p in graph.parameters())]


@torch.no_grad()
def without_gradient(graph: LabelGraph, forward) -> None:
    """Forward pass only."""
    forward(graph)


def synchronized(device: str, function, *inputs) -> None:
    """Call and wait for the device."""
    function(*inputs)
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> int:
    """Run the benchmark; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=217, help="unified labels")
    parser.add_argument("--t", type=int, default=4096, help="dimension of the text features")
    parser.add_argument("--hidden", type=int, default=2048, help="width of the layers")
    parser.add_argument("--d", type=int, default=512, help="embedding dimension")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="file for the report")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: this machine has no CUDA device")
    torch.manual_seed(0)
    total = sum(SEVEN)
    graph = LabelGraph(
        text_features=F.normalize(torch.randn(total, args.t), dim=1),
        num_classes=SEVEN,
        edge_logits=0.1 * torch.randn(args.n, total),
        embed_dim=args.d,
        hidden_dim=args.hidden,
    ).to(args.device)
    report = Report("graph")
    case = f"C={total}, N={args.n}, T={args.t}, G={args.hidden}"
    ours, dense = step(graph, LabelGraph.__call__), step(graph, square_form)
    difference = float((ours[0] - dense[0]).abs().max())
    report.row(
        case, "difference of X_u", difference, target="<= 1e-6", ok=(exact := difference <= 1e-6)
    )
    relative = max(
        float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, dense, strict=True)
    )
    parity = exact and relative <= 1e-4
    report.row(case, "relative difference of gradients", relative, target="<= 1e-4", ok=parity)
    for metric, function, target in (
        ("forward [s]", without_gradient, None),
        ("forward + backward [s]", step, 1.25),
    ):
        seconds = compare(
            lambda f=function: synchronized(args.device, f, graph, LabelGraph.__call__),
            lambda f=function: synchronized(args.device, f, graph, square_form),
            rounds=args.rounds,
        )
        report.row(case, metric, *seconds, target=target, parity=parity)
    report.print()
    if args.json:
        report.write(args.json)
    return 0 if report.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
