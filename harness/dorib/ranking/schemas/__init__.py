"""JSON Schemas of what dorib writes: records, entries and leaderboards.

Only generated files live here, and what generates them: `python -m dorib.ranking.schemas`
rewrites them from the pydantic models, and a test compares the two.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from pydantic import BaseModel

from dorib.ranking.entries import Entry
from dorib.ranking.leaderboard import Leaderboard
from dorib.ranking.records import Record

MODELS: dict[str, type[BaseModel]] = {
    "record": Record,
    "entry": Entry,
    "leaderboard": Leaderboard,
}


def generated_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of the model as it is now: what its files look like."""
    schema = MODELS[name].model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def committed_schema(name: str) -> str:
    """The text of the schema file that ships with the package."""
    return (files(__name__) / file_name(name)).read_text(encoding="utf-8")


def file_name(name: str) -> str:
    """The schema file of one of `MODELS`."""
    return f"{name}.schema.json"
