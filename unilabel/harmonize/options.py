"""What a person chooses."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.data.sources import SPLITS


@dataclass(frozen=True)
class Options:
    """Choices that the result depends on.

    Attributes:
        splits: of the datasets.
        fill_ignored: pixels that nobody labelled get the best label where its probability is at
            least this; None: they stay ignored.
        void_below: decided pixels of a lower probability are ignored.
        open_background: background classes may be all that no named class of their dataset claims.
        confidence: also write maps of the probabilities.
        tta: average three scales and mirror images.
        short_side: of the images for the network, pixels; None: as the model was tested.
        window: side of windows for large images, pixels; 0: the whole image.
        link: how images get to the output: symlink, hardlink or copy.
    """

    splits: tuple[str, ...] = SPLITS
    fill_ignored: float | None = None
    void_below: float = 0.0
    open_background: bool = False
    confidence: bool = False
    tta: bool = False
    short_side: int | None = None
    window: int = 0
    link: str = "symlink"

    def __post_init__(self) -> None:
        """Check the ranges."""
        for key, value in (("fill_ignored", self.fill_ignored), ("void_below", self.void_below)):
            if value is not None and not 0 <= value <= 1:
                raise UniLabelError(
                    f"--{key.replace('_', '-')} is {value}, expected a probability of 0 to 1."
                )
        wrong = [split for split in self.splits if split not in SPLITS]
        if wrong or not self.splits:
            raise UniLabelError(f"--splits: expected {' and '.join(SPLITS)}, not {wrong}.")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self), "splits": list(self.splits)}
