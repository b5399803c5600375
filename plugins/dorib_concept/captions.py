"""Which captions stand for what: those that memorized ones are read as, and those that stay."""

from __future__ import annotations

import torch

from dorib import DefenderView, DoribError, Seeds


def anchors(kind: str, view: DefenderView, seeds: Seeds) -> list[str]:
    """For each memorized caption the one that takes its place: empty, or general by its own lot.

    Raises:
        DoribError: general ones are asked for and there are none.
    """
    if kind == "empty":
        return [""] * len(view.memorized)
    general = general_captions(view, "anchor=empty")
    lots = [seeds.generator("anchor", target.sample) for target in view.memorized]
    return [general[int(torch.randint(len(general), (), generator=lot))] for lot in lots]


def preserved(count: int, view: DefenderView, seeds: Seeds) -> list[str]:
    """At most `count` general captions, by lot.

    Raises:
        DoribError: some are asked for and there are none.
    """
    if not count:
        return []
    general = general_captions(view, "preserve=0")
    lot = torch.randperm(len(general), generator=seeds.generator("preserved"))
    return [general[place] for place in lot[:count].tolist()]


def general_captions(view: DefenderView, mend: str) -> list[str]:
    """The general captions that are no memorized ones.

    Raises:
        DoribError: there are none; `mend` says what does without.
    """
    memorized = {target.caption for target in view.memorized}
    found = [caption for caption in view.general_captions if caption not in memorized]
    if not found:
        raise DoribError(
            f"mitigation concept: the suite has no general captions; add some, or set {mend}"
        )
    return found
