"""Views of an original: an image is a copy where it is one of any of them.

A picture that shows 70 % of an original is a copy, but one descriptor has to give up detail to see
that, and then takes masses for copies as well. So an original may be described as a whole and in
crops, and the nearest counts. Images that are judged are described as a whole alone: that costs
nothing more, since an original is described once.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from dorib import DoribError, StrictModel, checked

Share: TypeAlias = Annotated[float, Field(gt=0, lt=1)]
Shares: TypeAlias = Annotated[tuple[Share, ...], Field(max_length=8)]


class Views(StrictModel):
    """Crops in which an original is described beside the whole; none by default."""

    corners: Shares = ()
    """Sides of crops in each of the four corners, as shares of the original's."""
    centres: Shares = ()
    """Sides of crops in the middle."""

    def __bool__(self) -> bool:
        return bool(self.corners or self.centres)

    def __str__(self) -> str:
        named = {"corners": self.corners, "centres": self.centres}
        crops = [f"{name} {' '.join(f'{s:g}' for s in sides)}" for name, sides in named.items()]
        return "; ".join(["whole", *(crop for crop in crops if not crop.endswith(" "))])

    def of(self, images: Tensor) -> list[Tensor]:
        """The whole and its crops, each `[B, 3, H, W]` as `images` is; crops are enlarged."""
        height, width = images.shape[-2:]
        places = [(share, top, left) for share in self.corners for top in (0, 1) for left in (0, 1)]
        found = [images]
        for share, top, left in [*places, *((share, 0.5, 0.5) for share in self.centres)]:
            rows, columns = max(1, round(height * share)), max(1, round(width * share))
            y, x = int((height - rows) * top), int((width - columns) * left)
            part = images[..., y : y + rows, x : x + columns]
            found.append(functional.interpolate(part, (height, width), mode="bilinear"))
        return found


def read_views(content: object, where: str) -> Views:
    """The views that a descriptor's configuration names.

    Raises:
        DoribError: they are no such crops; `where` opens the message.
    """
    if not isinstance(content, dict):
        raise DoribError(f"{where}: is no object; name shares, as corners and centres")
    return checked(Views, content, where)
