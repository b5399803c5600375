"""Tables as Parquet files, which pandas, DuckDB, R and `datasets` read with their types."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dorib.errors import DoribError


class Picture:
    """The type of a column of files with a picture, which the table holds whole."""


_NAMES = {str: "string", int: "int64", float: "float64", bool: "bool"}
"""Of the types of columns, alike to pyarrow and `datasets`."""


def require_parquet() -> None:
    """Refuse where pyarrow is missing, before anything is written.

    Raises:
        DoribError: it is.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise DoribError(
            'parquet, hf: pyarrow is missing, which writes the files; pip install "dorib[datasets]"'
        ) from error


def write_parquet(path: Path, columns: Mapping[str, type], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table.

    Args:
        path: the file.
        columns: their types: `str`, `int`, `float`, `bool`, or `Picture`.
        rows: a value for each column, or None; a picture's is its `Path`.

    Raises:
        OSError: a picture cannot be read, or the disk is full or not writable.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    types = {
        name: pictures if of is Picture else pa.type_for_alias(_NAMES[of])
        for name, of in columns.items()
    }
    values: list[list[Any]] = [[] for _ in columns]
    for row in rows:
        for column, value in zip(values, row, strict=True):
            column.append(_with_bytes(value) if isinstance(value, Path) else value)
    arrays = [pa.array(own, of) for own, of in zip(values, types.values(), strict=True)]
    schema = pa.schema(types, metadata={"huggingface": _features(columns)})
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path)


def _with_bytes(path: Path) -> dict[str, Any]:
    return {"bytes": path.read_bytes(), "path": path.name}


def _features(columns: Mapping[str, type]) -> str:
    """How `datasets` is told of pictures: by a note in the file's own schema."""
    features = {
        name: {"_type": "Image"} if of is Picture else {"dtype": _NAMES[of], "_type": "Value"}
        for name, of in columns.items()
    }
    return json.dumps({"info": {"features": features}})
