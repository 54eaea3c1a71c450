"""When a pixel is written as void, "none of the scored classes"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unilabel.core.errors import UniLabelError

SYNTAX = "none, or any of: unmapped, threshold=T (0..1), class=DATASET:CLASS"


@dataclass(frozen=True)
class VoidPolicy:
    """Reasons for which a pixel becomes void; each one is enough.

    Attributes:
        unmapped: labels without a class of the benchmark may win a pixel.
        threshold: the probability of the best class is lower than this.
        classes: learned void classes, (dataset, class): labels of the model that stand for one of
            them are void, whatever the mapping says.
    """

    unmapped: bool = True
    threshold: float = 0.0
    classes: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, words: Sequence[str]) -> VoidPolicy:
        """Read the words of ``--void``.

        Raises:
            UniLabelError: a word is unknown or a threshold is out of range.
        """
        if not words:
            raise UniLabelError(f"--void needs at least one word: {SYNTAX}.")
        unmapped, threshold = False, 0.0
        classes: list[tuple[str, str]] = []
        for word in words:
            key, _, value = word.partition("=")
            dataset, colon, name = value.partition(":")
            if word == "none" and len(words) == 1:
                continue
            if word == "unmapped":
                unmapped = True
            elif key == "threshold" and (number := _fraction(value)) is not None:
                threshold = number
            elif key == "class" and colon and dataset and name:
                classes.append((dataset, name))
            else:
                raise UniLabelError(f"--void {word!r} is not understood; expected {SYNTAX}.")
        return cls(unmapped, threshold, tuple(classes))

    def __str__(self) -> str:
        """The words that :meth:`parse` reads."""
        words = ["unmapped"] if self.unmapped else []
        words += [f"threshold={self.threshold:g}"] if self.threshold else []
        words += [f"class={dataset}:{name}" for dataset, name in self.classes]
        return " ".join(words) or "none"


def _fraction(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0.0 <= number <= 1.0 else None
