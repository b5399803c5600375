"""What a killed fit goes on from: whole files in a scratch folder, with the work done so far."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dorib import DoribError, Ledger


@dataclass(frozen=True)
class Checkpoints:
    """Named states of one fit; without a folder nothing is kept."""

    folder: Path | None
    ledger: Ledger

    def load(self, name: str) -> dict[str, Any] | None:
        """The state saved last under `name`, on the CPU; the ledger is set to its work.

        Raises:
            DoribError: the file is damaged.
        """
        if self.folder is None or not self._file(name).exists():
            return None
        try:
            saved = torch.load(self._file(name), map_location="cpu", weights_only=True)
            state: dict[str, Any] = saved["state"]
            forward, backward = Counter(saved["forward"]), Counter(saved["backward"])
        except Exception as error:
            raise DoribError(
                f"{self._file(name)}: damaged ({type(error).__name__}); delete it and run again"
            ) from error
        self.ledger.forward_items, self.ledger.backward_items = forward, backward
        return state

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Keep `state` in place of what was saved under `name`, as a whole or not at all."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self._file(name).with_suffix(".unfinished")
        content = {
            "state": state,
            "forward": dict(self.ledger.forward_items),
            "backward": dict(self.ledger.backward_items),
        }
        torch.save(content, unfinished)
        unfinished.replace(self._file(name))

    def _file(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}.pt"
