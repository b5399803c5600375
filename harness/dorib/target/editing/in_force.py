"""The edits in force, and the items of the U-Net call under way that they act on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dorib.contracts.edits import Edit
from dorib.contracts.methods import InFlight, Rule
from dorib.target.editing.installing import UNET, installed
from dorib.target.editing.rules import RulesInForce

if TYPE_CHECKING:
    from dorib.target.counting import WorkCounter


class EditsInForce:
    """What is installed at present: the innermost edit acts on top of the others."""

    def __init__(self, work: WorkCounter) -> None:
        self.rules = RulesInForce(work)
        self.in_flight: InFlight | None = None
        """None between calls, and where the U-Net is called around the target model."""
        self._lengths: Tensor | None = None
        self._per_sample: list[tuple[Edit, Tensor | None]] = []

    @contextmanager
    def installed(
        self,
        components: Mapping[str, nn.Module],
        edit: Edit,
        rows: Tensor | None,
        rules: Sequence[Rule[Any]],
    ) -> Iterator[None]:
        """Run under `edit`; `rows[i]` is its row for sample index i, `rules` are those it names.

        Raises:
            DoribError: the edit does not fit the model.
        """

        def own_rows() -> Tensor:
            samples = self._now().samples
            return samples if rows is None else rows[samples]

        with ExitStack() as stack:
            stack.enter_context(installed(components, edit, own_rows))
            for rule in rules:
                stack.enter_context(self.rules.installed(rule, components[UNET], self._now))
            if edit.scope == "per_sample":
                self._per_sample.append((edit, rows))
                stack.callback(self._per_sample.pop)
            yield

    def require_rows(self, samples: Tensor) -> None:
        """See that each per-sample edit has a row for each of `samples`.

        Raises:
            ValueError: one has not. A negative index would pick a row from the end: another
                sample's edit.
        """
        for edit, own in self._per_sample:
            rows = len(edit.samples if own is None else own)
            if bool(((samples < 0) | (samples >= rows)).any()):
                raise ValueError(
                    f"samples {samples.tolist()}: the per-sample edit has rows 0 to {rows - 1}"
                )

    @contextmanager
    def flying(self, in_flight: InFlight | None) -> Iterator[None]:
        """Say which items the U-Net computes for inside."""
        before, self.in_flight = self.in_flight, in_flight
        try:
            yield
        finally:
            self.in_flight = before

    @contextmanager
    def lengths_known(self, lengths: Tensor | None) -> Iterator[None]:
        """Say how many tokens the prompt of each item has, int64 `[B]`, while it is sampled."""
        before, self._lengths = self._lengths, lengths
        try:
            yield
        finally:
            self._lengths = before

    def lengths(self, items: int, halves: int, device: torch.device) -> Tensor | None:
        """Those of a call of `items`; None where they are not known, or it is of other items."""
        known = self._lengths
        if known is None or len(known) * halves != items:
            return None
        return known.to(device).repeat(halves)

    def _now(self) -> InFlight:
        assert self.in_flight is not None
        return self.in_flight
