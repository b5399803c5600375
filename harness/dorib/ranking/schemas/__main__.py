"""Rewrites the schema files from the models: `python -m dorib.ranking.schemas`."""

from __future__ import annotations

from pathlib import Path

from dorib.ranking.schemas import MODELS, file_name, generated_schema
from dorib.store.files import write_json

for name in MODELS:
    write_json(Path(__file__).parent / file_name(name), generated_schema(name))
