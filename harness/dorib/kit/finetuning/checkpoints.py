"""What a killed fit goes on from: whole files in a scratch folder, with the work done so far."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from dorib.contracts.ledger import Ledger

_STATE = "state"
"""Of the tensors in a file, the one that holds what is no tensor: JSON in UTF-8, as bytes."""


@dataclass(frozen=True)
class Checkpoints:
    """Named states of one fit; without a folder nothing is kept."""

    folder: Path | None
    ledger: Ledger

    def load(self, name: str) -> dict[str, Any] | None:
        """The state saved last under `name`, on the CPU; the ledger is set to its work.

        None where there is none, and where the file is damaged, which is warned of: the fit
        then starts from its beginning.
        """
        if self.folder is None or not self._file(name).exists():
            return None
        try:
            content = _read(self._file(name))
            state: dict[str, Any] = content["state"]
            forward, backward = Counter(content["forward"]), Counter(content["backward"])
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            warnings.warn(
                f"{self._file(name)}: damaged ({error}); the fit starts from its beginning",
                stacklevel=2,
            )
            return None
        self.ledger.forward_items, self.ledger.backward_items = forward, backward
        return state

    def save(self, name: str, state: Mapping[str, Any]) -> None:
        """Keep `state` in place of what was saved under `name`, as a whole or not at all.

        It holds numbers, texts, lists, dictionaries and tensors, as deep as need be.
        """
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".writing-{secrets.token_hex(8)}"
        content = {
            "state": state,
            "forward": self.ledger.forward_items,
            "backward": self.ledger.backward_items,
        }
        try:
            _write(temporary, content)
            temporary.replace(self._file(name))
        finally:
            temporary.unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}.safetensors"


def _write(path: Path, content: Mapping[str, Any]) -> None:
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_without_tensors(content, tensors)).encode()
    tensors[_STATE] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    save_file(tensors, path, metadata={"sha256": _sha256(tensors)})
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _read(path: Path) -> Any:
    """Raises ValueError where the content is not what was written."""
    with safe_open(path, framework="pt") as file:
        expected = (file.metadata() or {}).get("sha256")
    tensors = load_file(path)
    if _sha256(tensors) != expected:
        raise ValueError("its sha256 is another")
    return _with_tensors(json.loads(tensors[_STATE].numpy().tobytes()), tensors)


def _sha256(tensors: Mapping[str, Tensor]) -> str:
    """Over names, number formats, shapes and bytes, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _without_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    """`value` in JSON's terms, its tensors put aside; keys of dictionaries may be numbers."""
    if isinstance(value, Tensor):
        name = f"tensor {len(tensors)}"
        # A copy: safetensors takes no two tensors that share memory.
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(value, Mapping):
        pairs = [[key, _without_tensors(item, tensors)] for key, item in value.items()]
        return {"pairs": pairs}
    if isinstance(value, list | tuple):
        return [_without_tensors(item, tensors) for item in value]
    return value


def _with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_with_tensors(item, tensors) for item in value]
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {key: _with_tensors(item, tensors) for key, item in value["pairs"]}
    return value
