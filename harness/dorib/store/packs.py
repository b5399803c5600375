"""Packs: folders of JSON and safetensors files in one safetensors file, to be published.

A tensor of `<item>/<name>.safetensors` is called `<item>/<name>.safetensors/<tensor>`. The pack's
metadata list all files under `files`, as a JSON object: by place what a JSON file holds, and null
for safetensors. Unpacked, every file has the bytes that it was packed with.
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
from dorib.printable import one_line
from dorib.reading import Malformed, parse_json
from dorib.store.fingerprint import digest

BROKEN = (OSError, ValueError, RuntimeError, TypeError, OverflowError)
"""What torch raises of tensors whose shape is none, beside what safetensors does."""
FILES = "files"
"""The one name in a pack's metadata: of several, safetensors keeps no order."""
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
    texts: dict[str, str | None] = {}
    tensors: dict[str, Tensor] = {}
    for place, content in pack.files.items():
        if not _PLACE.fullmatch(place):
            raise DoribError(f"{path}: {place!r} cannot be packed; rename the sample")
        texts[place] = content.decode() if place.endswith(TEXTS) else None
        if place.endswith(TEXTS):
            continue
        own = load(content)
        if save(own) != content:
            raise DoribError(f"{path}: {place} is not as this version of safetensors writes it")
        tensors |= {f"{place}/{name}": tensor for name, tensor in own.items()}
    save_file(tensors, path, {FILES: json.dumps(texts, sort_keys=True)})


def read_pack(path: Path) -> Pack:
    """Read a pack; runs no code, and takes no place that leads elsewhere.

    Raises:
        DoribError: there is none, or it is damaged or forged.
    """
    metadata, tensors = _content(path)
    texts = _texts(path, metadata.get(FILES))
    of_file: dict[str, dict[str, Tensor]] = {p: {} for p in texts if p.endswith(TENSORS)}
    for name, tensor in tensors.items():
        place, end, own = name.partition(f"{TENSORS}/")
        if not end or place + TENSORS not in of_file:
            raise _forged(path, f"a tensor {name[:80]!r} that is of none of its files")
        of_file[place + TENSORS][own] = tensor
    return Pack(
        {
            place: save(of_file[place]) if text is None else text.encode()
            for place, text in texts.items()
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
    except (*BROKEN, SafetensorError) as error:
        raise DoribError(
            f"{path}: no readable safetensors ({one_line(error, 160)}); restore the file"
        ) from error


def _texts(path: Path, listed: str | None) -> dict[str, str | None]:
    try:
        texts = parse_json(listed or "null")
    except Malformed as error:
        raise _forged(path, f"no list of its files ({error})") from error
    if not isinstance(texts, dict):
        raise _forged(path, "no list of its files")
    for place, text in texts.items():
        if not _PLACE.fullmatch(place):
            raise _forged(path, f"a file {place[:80]!r}, which is no place in an item's folder")
        if text is not None if place.endswith(TENSORS) else not isinstance(text, str):
            raise _forged(path, f"a file {place[:80]!r} that is not what its name says")
    return texts


def _forged(path: Path, what: str) -> DoribError:
    return DoribError(f"{path}: holds {what}; restore the file, or write the witnesses anew")
