"""A part of many files for each of several machines: ``--shard I/N``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from unilabel.core.errors import UniLabelError

Item = TypeVar("Item")
SHARD_HELP = "only every N-th of the images from the I-th on (1/N to N/N)"


@dataclass(frozen=True)
class Shard:
    """Every ``count``-th item from the ``number``-th on; all parts together are the whole.

    Attributes:
        number: which part, from 1.
        count: how many there are.
    """

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str | None) -> Shard:
        """The part that ``--shard`` names; None: the whole.

        Raises:
            UniLabelError: it has not the form I/N.
        """
        if text is None:
            return cls()
        first, slash, count = text.partition("/")
        if slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count):
            return cls(int(first), int(count))
        raise UniLabelError(f"--shard is {text!r}, expected I/N with I from 1 to N, such as 1/4.")

    def of(self, items: Sequence[Item]) -> list[Item]:
        """The items of this part, in their order."""
        return list(items[self.number - 1 :: self.count])

    def __str__(self) -> str:
        """As on the command line."""
        return f"{self.number}/{self.count}"
