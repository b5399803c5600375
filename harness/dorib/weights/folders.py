"""The files of a model's folder that may be read: its own, plain, and none that names code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dorib.errors import DoribError
from dorib.weights.files import TensorFile

ATTENTION = ("eager", "sdpa")
"""Implementations of attention that are torch's own; any other may be fetched and run."""

CODE = ("auto_map", "custom_pipelines", "trust_remote_code")
"""Entries of a configuration by which libraries import a module or fetch one."""

VARIANTS = (None, "fp16", "bf16")
"""Suffixes of weights files, in the order in which they are looked for."""

_SHARD = re.compile(r"\w[\w.-]*\.safetensors")
"""No hidden file: a model's digest passes over those."""
_LARGEST_CONFIGURATION = 2**24


@dataclass(frozen=True)
class ModelFolder:
    """The folder of one module: `config.json`, and weights in safetensors."""

    path: Path
    root: Path
    """What no file may lead out of: the folder itself, or the pipeline's that it is part of."""
    what: str
    """How messages call it."""

    def file(self, name: str) -> Path:
        """A plain file of the folder.

        Raises:
            DoribError: it is missing, is none, or is a link that leads out of the folder.
        """
        return own_file(self.path / name, self.root, self.what)

    def configuration(self, name: str = "config.json") -> dict[str, Any]:
        """A configuration that names no code.

        Raises:
            DoribError: it is missing, is no JSON object, or names code.
        """
        content = read_json(self.file(name), self.what)
        refuse_code(content, f"{self.what}: {name}")
        return content

    def check(self, *names: str) -> None:
        """See that those configurations that are there name no code, and that no adapter is there.

        Raises:
            DoribError: one does, or the folder is missing or a link.
        """
        _refuse_linked_folders(self.path, self.root, self.what)
        if not self.path.is_dir():
            raise DoribError(f"{self.what}: the folder {self.path} is missing; restore it")
        for name in names:
            if _is_there(self.path / name):
                self.configuration(name)
        if _is_there(self.path / "adapter_config.json"):
            # transformers would load the model that it names, from wherever that is.
            raise DoribError(
                f"{self.what}: holds an adapter (adapter_config.json), not a whole model; fuse it "
                "into the model that it was made for, and save that"
            )

    def weights(self, stem: str) -> Weights:
        """Its weights: `stem`.safetensors, or the shards of an index, of one variant.

        Raises:
            DoribError: there are none, or too many; a file cannot be read; the index names what
                is no shard in this folder, or a tensor that is not where it says.
        """
        for variant in VARIANTS:
            part = f".{variant}" if variant else ""
            single, index = f"{stem}{part}.safetensors", f"{stem}.safetensors.index{part}.json"
            found = [name for name in (single, index) if _is_there(self.path / name)]
            if len(found) == 2:
                raise DoribError(
                    f"{self.what}: holds both {single} and {index}; remove the wrong one"
                )
            if found:
                files = self._shards(index) if found == [index] else (self.file(single),)
                return Weights(files, variant, _tensors(files, self.what))
        raise DoribError(
            f"{self.what}: {self.path / stem}.safetensors is missing, and so are shards of it; "
            "weights are read from safetensors alone: restore them, or save the model as such"
        )

    def _shards(self, index: str) -> tuple[Path, ...]:
        where = f"{self.what}: {index}"
        places = read_json(self.file(index), self.what).get("weight_map")
        if not isinstance(places, dict) or not places:
            raise DoribError(f"{where}: names no shard; restore the file")
        files: dict[str, Path] = {}
        for name in places.values():
            if not (isinstance(name, str) and _SHARD.fullmatch(name)):
                raise DoribError(
                    f"{where}: names {str(name)[:80]!r}, which is no safetensors file of this "
                    "folder; weights are read from nowhere else"
                )
            files.setdefault(name, self.file(name))
        held = {n: set(TensorFile.open(file, self.what).names) for n, file in files.items()}
        astray = [tensor for tensor, name in places.items() if tensor not in held[name]]
        if astray:
            raise DoribError(
                f"{where}: {len(astray)} tensors are not where it says, {astray[0]} among them; "
                "restore the shards"
            )
        return tuple(files.values())


@dataclass(frozen=True)
class Weights:
    """The weights files of one module."""

    files: tuple[Path, ...]
    variant: str | None
    tensors: frozenset[str]
    """Their names."""


def own_file(path: Path, root: Path, what: str) -> Path:
    """`path`, if it is a plain file and its content lies below `root`.

    The links of a snapshot in the hub's cache lead to that model's blobs, which are its own.

    Raises:
        DoribError: it is missing, is none, or is a link that leads elsewhere.
    """
    try:
        real, top = path.resolve(), root.resolve()
    except (OSError, RuntimeError):
        raise DoribError(f"{what}: {path} is a link to itself; restore the file") from None
    blobs = top.parents[1] / "blobs" if top.parent.name == "snapshots" else None
    if not (real.is_relative_to(top) or (blobs and real.is_relative_to(blobs))):
        raise DoribError(
            f"{what}: {path.name} is a link that leads out of {root}; put the file itself there"
        )
    _refuse_linked_folders(path.parent, root, what)
    if not real.exists():
        raise DoribError(f"{what}: {path} is missing; restore the file")
    if not real.is_file():
        raise DoribError(f"{what}: {path} is no plain file; restore the file")
    return path


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        DoribError: it cannot be read, or is none.
    """
    try:
        if path.stat().st_size > _LARGEST_CONFIGURATION:
            raise ValueError("it is far too large")
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DoribError(f"{what}: {path} is not readable as JSON ({reason}); restore it") from None
    return content


def refuse_code(content: object, where: str) -> None:
    """See that a configuration names no code and nothing that would have to be fetched.

    Raises:
        DoribError: it does, at any depth.
    """
    for key, value in _entries(content):
        if key in CODE and value:
            raise DoribError(
                f"{where}: asks for custom code ({key}); a model is run by the code of diffusers "
                "and transformers alone: remove the entry, or give another model"
            )
        if key.strip("_").startswith("attn_implementation") and not _is_known_attention(value):
            raise DoribError(
                f"{where}: asks for the attention {str(value)[:80]!r}, which would be fetched and "
                f"run; remove the entry, or give one of: {', '.join(ATTENTION)}"
            )
        if key == "quantization_config" and value:
            raise DoribError(
                f"{where}: asks for quantized weights; give the weights as they were before"
            )


def _is_known_attention(value: object) -> bool:
    if isinstance(value, dict):
        return all(_is_known_attention(part) for part in value.values())
    return value is None or isinstance(value, bool) or value in ATTENTION


def _entries(content: object) -> Iterator[tuple[str, object]]:
    waiting = [content]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield from one.items()
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _refuse_linked_folders(folder: Path, root: Path, what: str) -> None:
    """A folder's digest, by which results are kept, does not see through links to folders."""
    while folder != root and folder != folder.parent:
        if folder.is_symlink():
            raise DoribError(f"{what}: {folder} is a link; put the folder itself there")
        folder = folder.parent


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _tensors(files: tuple[Path, ...], what: str) -> frozenset[str]:
    names = [name for file in files for name in TensorFile.open(file, what).names]
    if len(names) != len(set(names)):
        twice = next(name for name in names if names.count(name) > 1)
        raise DoribError(f"{what}: {twice} stands in two of its shards; restore the shards")
    return frozenset(names)
