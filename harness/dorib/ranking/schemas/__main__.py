"""Rewrites the schema files from the models: `python -m dorib.schemas`."""

from __future__ import annotations

from pathlib import Path

from dorib.schemas import MODELS, file_name, generated_schema
from dorib.store import write_json

for name in MODELS:
    write_json(Path(__file__).parent / file_name(name), generated_schema(name))
