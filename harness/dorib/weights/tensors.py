"""Complete and finite: what is asked of tensors before anything is computed with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from dorib.errors import DoribError


def require_complete(
    missing: Iterable[str], unexpected: Iterable[str], mismatched: Iterable[str], what: str
) -> None:
    """See that the files hold the tensors that a module takes, all of them and no other.

    Raises:
        DoribError: a tensor is missing, too much or of another shape; names the first.
    """
    for names, problem in (
        (missing, "lacks {} of the tensors that its configuration asks for, {}; restore its files"),
        (mismatched, "has {} tensors of another shape than its configuration says, {}; restore it"),
        (
            unexpected,
            "holds {} tensors that no layer of it takes, {}; fuse an adapter (LoRA) into the "
            "weights, or remove what does not belong there",
        ),
    ):
        found = sorted(names)
        if found:
            first = found[0] + (" among them" if len(found) > 1 else "")
            raise DoribError(f"{what}: {problem.format(len(found), first)}")


def require_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """See that there is no NaN and no infinity in `tensors`, by name.

    Raises:
        DoribError: there is, or a tensor has no values at all; names the first.
    """
    absent = [name for name, tensor in tensors.items() if tensor.is_meta]
    require_complete(absent, (), (), what)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            count = int((~torch.isfinite(tensor)).sum())
            raise DoribError(
                f"{what}: {name} is not finite in {str(tensor.dtype).removeprefix('torch.')} "
                f"({count} of {tensor.numel()} numbers are NaN or infinite); restore its files"
            )
