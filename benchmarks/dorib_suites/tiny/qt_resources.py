"""`python -m dorib_suites.tiny.qt_resources FILE.rcc... --into DIR`: unpack Qt resource archives.

Debian's `gcompris-qt-data` keeps its photographs in such archives. Qt's own `rcc --reverse` does
the same; this spares installing Qt. Source of the format: Qt's `qresource.cpp` (versions 1 to 3).
"""

from __future__ import annotations

import argparse
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"qres"
COMPRESSED, FOLDER, ZSTANDARD = 1, 2, 4
NODE_BYTES = {1: 14, 2: 22, 3: 22}
"""Length of a tree node by version of the format: later ones end in a time of change."""


@dataclass(frozen=True)
class _Archive:
    data: bytes
    tree: int
    contents: int
    names: int
    node_bytes: int

    def files(self, node: int = 0, above: str = "") -> Iterator[tuple[str, bytes]]:
        """Path and content of each file under a node."""
        place = self.tree + node * self.node_bytes
        name_at, flags = struct.unpack_from(">IH", self.data, place)
        name = above + (self._name(name_at) if node else "")
        if flags & FOLDER:
            count, first = struct.unpack_from(">II", self.data, place + 6)
            for child in range(first, first + count):
                yield from self.files(child, f"{name}/" if name else "")
        elif not flags & ZSTANDARD:
            (start,) = struct.unpack_from(">I", self.data, place + 10)
            yield name, self._content(self.contents + start, flags)

    def _name(self, offset: int) -> str:
        (length,) = struct.unpack_from(">H", self.data, self.names + offset)
        start = self.names + offset + 6
        return self.data[start : start + 2 * length].decode("utf-16-be")

    def _content(self, start: int, flags: int) -> bytes:
        (length,) = struct.unpack_from(">I", self.data, start)
        content = self.data[start + 4 : start + 4 + length]
        # qCompress puts the uncompressed length, 4 bytes, before the stream of zlib.
        return zlib.decompress(content[4:]) if flags & COMPRESSED else content


def files_in(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Path and content of each file; those compressed by Zstandard are left out.

    Raises:
        ValueError: `archive` is no Qt resource file of a known version.
    """
    data = archive.read_bytes()
    version, tree, contents, names = struct.unpack_from(">IIII", data, 4)
    if data[:4] != MAGIC or version not in NODE_BYTES:
        raise ValueError(f"{archive}: not a Qt resource file of version 1, 2 or 3")
    yield from _Archive(data, tree, contents, names, NODE_BYTES[version]).files()


def main() -> None:
    """Unpack from the command line."""
    parser = argparse.ArgumentParser(description="Unpack Qt resource archives.")
    parser.add_argument("archives", type=Path, nargs="+")
    parser.add_argument("--into", type=Path, required=True)
    options = parser.parse_args()
    for archive in options.archives:
        for name, content in files_in(archive):
            target = options.into / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


if __name__ == "__main__":
    main()
