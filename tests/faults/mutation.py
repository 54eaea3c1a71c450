"""Random damage to valid files: bytes, and values and keys of JSON trees."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

STRANGE: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 7, 254, 255, 256, 2**31, 2**63, 2**64, -(2**63), 10**30,
    0.5, -0.0, 1e308, float("nan"), float("inf"), float("-inf"),
    "", " ", "0", "-1", "nan", "None", "../x", "/etc/passwd", "a" * 3000, "\x00", "\x1b[31m",
    "\u202e", "\ud800", "<script>", "é", "日本", "road", "city", "{}", "%s%n", "[1]",
    [], {}, [[]], [None], [[[[[[]]]]]], {"a": 1}, {"": None}, [1, 2], [1, 2, 3], [-1, 256, 0.5],
    {"class": "road"}, {"dataset": "city", "label": "road"}, ["road", 3], [["GNN", 1]],
]  # fmt: skip
KEYS = [
    "",
    "id",
    "name",
    "classes",
    "color",
    "links",
    "class",
    "weight",
    "a",
    "b",
    "type",
    "x" * 99,
]
WORDS = [
    b"NaN", b"Infinity", b"1e999", b"9" * 400, b"[" * 60, b"{", b"}", b'"', b"\\u0000", b"\\",
    b"null", b"\xff\xfe", b"\xef\xbb\xbf", b"\0", b"-", b",,", b": ", b"!!python/name:os.system",
    b"&a", b"*a", b"\n", b"\t", b"- ", b"<<: *a", b"\x89PNG", b"\xff\xd8", b"IEND",
]  # fmt: skip


def _nodes(tree: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """(parent, key or index) of every value below ``tree``."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        found.append((tree, key))
        if isinstance(value, dict | list):
            _nodes(value, found)
    return found


def mutate_tree(tree: Any, source: random.Random) -> Any:
    """A copy of a JSON tree with one to four changes."""
    box = [copy.deepcopy(tree)]
    for _ in range(source.choice((1, 1, 1, 2, 3, 4))):
        parent, key = source.choice(_nodes(box, []))
        value = parent[key]
        action = source.randrange(6)
        if action == 0 and parent is not box:
            del parent[key]
        elif action == 1 and isinstance(parent, dict):
            parent[source.choice(KEYS)] = parent.pop(key)
        elif action == 2 and isinstance(parent, list) and parent is not box:
            parent.insert(source.randrange(len(parent) + 1), copy.deepcopy(value))
        elif action == 3 and isinstance(value, str) and value:
            position = source.randrange(len(value))
            parent[key] = (
                value[:position] + source.choice(("", "\x07", "x", "/")) + value[position:]
            )
        elif action == 4:
            other, place = source.choice(_nodes(box, []))
            parent[key] = copy.deepcopy(other[place])  # a value from elsewhere
        else:
            parent[key] = copy.deepcopy(source.choice(STRANGE))
    return box[0]


def to_text(tree: Any) -> bytes:
    """JSON with NaN and lone surrogates, as a careless program writes it."""
    return json.dumps(tree).encode()


def mutate_bytes(data: bytes, source: random.Random) -> bytes:
    """A copy with one to six changes: bits, bytes, cuts, copies, inserted words."""
    result = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 3, 6))):
        place = source.randrange(len(result)) if result else 0
        action = source.randrange(6)
        if action == 0 and result:
            result[place] ^= 1 << source.randrange(8)
        elif action == 1 and result:
            result[place] = source.randrange(256)
        elif action == 2:
            end = len(result) if source.random() < 0.3 else place + 9
            del result[place:end]
        elif action == 3:
            result[place:place] = source.choice(WORDS)
        elif action == 4 and result:
            other = source.randrange(len(result))
            result[place:place] = result[other : other + source.randrange(1, 40)]
        elif result:
            result[place : place + 8] = source.randbytes(8)
    return bytes(result)
