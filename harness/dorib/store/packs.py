"""Packs: folders of JSON and safetensors files in one safetensors file, to be published.

A tensor of `<item>/<name>.safetensors` is called `<item>/<name>.safetensors/<tensor>`; what the
JSON files hold stands in the pack's metadata by their places, and under `files` the list of all.
Unpacked, every file has the bytes that it was packed with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save, save_file
from torch import Tensor

from dorib.errors import DoribError
from dorib.store.fingerprint import digest

FILES = "files"
"""In a pack's metadata: the places of all files, as a JSON list."""
TENSORS, TEXTS = ".safetensors", ".json"
_PLACE = re.compile(r"(?!\.+/)[\w.-]+(/[a-z]+)?/[a-z]+\.(json|safetensors)", re.ASCII)
"""An item's folder, in it at most one more, and a file: no place leads out of where it is read."""


@dataclass(frozen=True)
class Pack:
    """The files of items, by place: `<item>/<file>` or `<item>/<folder>/<file>`."""

    files: Mapping[str, bytes]

    @property
    def items(self) -> list[str]:
        """In order of their names."""
        return sorted({place.partition("/")[0] for place in self.files})

    def digest(self, item: str) -> str:
        """As `Shelf.digest` has it of the same files."""
        own = f"{item}/"
        files = {k: v for k, v in self.files.items() if k.startswith(own)}
        return digest({k.removeprefix(own): sha256(v).hexdigest() for k, v in files.items()})

    def unpack(self, item: str, folder: Path) -> None:
        """Write the files of one item below `folder`, in a folder of its name.

        Raises:
            OSError: the disk is full or not writable.
        """
        for place, content in self.files.items():
            if place.startswith(f"{item}/"):
                path = folder / place
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


def packed(folders: Mapping[str, Path], files: Iterable[str]) -> Pack:
    """A pack of `files`, by place; the folder of an item lies below `folders[item]`."""
    return Pack({f: (folders[f.partition("/")[0]] / f).read_bytes() for f in sorted(files)})


def write_pack(pack: Pack, path: Path) -> None:
    """Write a pack.

    Raises:
        DoribError: it holds a file that would not come out as it went in.
        OSError, SafetensorError: the disk is full or not writable.
    """
    metadata = {FILES: json.dumps(sorted(pack.files))}
    tensors: dict[str, Tensor] = {}
    for place, content in pack.files.items():
        if not _PLACE.fullmatch(place):
            raise DoribError(f"{path}: {place!r} cannot be packed; rename the sample")
        if place.endswith(TEXTS):
            metadata[place] = content.decode()
            continue
        own = load(content)
        if save(own) != content:
            raise DoribError(f"{path}: {place} is not as this version of safetensors writes it")
        tensors |= {f"{place}/{name}": tensor for name, tensor in own.items()}
    save_file(tensors, path, metadata)


def read_pack(path: Path) -> Pack:
    """Read a pack; runs no code, and takes no place that leads elsewhere.

    Raises:
        DoribError: there is none, or it is damaged or forged.
    """
    metadata, tensors = _content(path)
    places = _places(path, metadata.pop(FILES, None))
    of_file: dict[str, dict[str, Tensor]] = {p: {} for p in places if p.endswith(TENSORS)}
    for name, tensor in tensors.items():
        place, end, own = name.partition(f"{TENSORS}/")
        if not end or place + TENSORS not in of_file:
            raise _forged(path, f"a tensor {name[:80]!r} that is of none of its files")
        of_file[place + TENSORS][own] = tensor
    texts = {place for place in places if place.endswith(TEXTS)}
    if strange := sorted(texts ^ metadata.keys()):
        raise _forged(path, f"{strange[0][:80]!r} is listed, or there, and not both")
    return Pack(
        {
            place: save(of_file[place]) if place in of_file else metadata[place].encode()
            for place in places
        }
    )


def write_table(values: Mapping[str, Tensor], names: Mapping[str, str], path: Path) -> None:
    """Write named tensors, with texts about them.

    Raises:
        OSError, SafetensorError: the disk is full or not writable.
    """
    save_file({name: tensor.contiguous() for name, tensor in values.items()}, path, dict(names))


def read_table(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What `write_table` wrote.

    Raises:
        DoribError: there is none, or it is damaged.
    """
    names, values = _content(path)
    if any(value.dtype != torch.float64 for value in values.values()):
        raise _forged(path, "values that are no float64")
    return values, names


def _content(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file() or path.is_symlink():
        raise DoribError(f"{path}: missing; restore the file, or write the witnesses anew")
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in names}
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise DoribError(f"{path}: no readable safetensors ({error}); restore the file") from error


def _places(path: Path, listed: str | None) -> list[str]:
    try:
        places = json.loads(listed or "null")
    except (ValueError, RecursionError):
        places = None
    if not isinstance(places, list) or not all(isinstance(place, str) for place in places):
        raise _forged(path, "no list of its files")
    for place in places:
        if not _PLACE.fullmatch(place):
            raise _forged(path, f"a file {place[:80]!r}, which is no place in an item's folder")
    if len(set(places)) < len(places):
        raise _forged(path, "a file that is listed twice")
    return places


def _forged(path: Path, what: str) -> DoribError:
    return DoribError(f"{path}: holds {what}; restore the file, or write the witnesses anew")
