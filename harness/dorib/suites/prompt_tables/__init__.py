"""Prompt tables as published: NeMo's and MemBench's CSV, Wen's JSONL, a `datasets` folder.

Here lives what turns such a table into the rows of a suite's sample table, and refuses broken
copies by row. It knows nothing of suites beyond the names of a sample's fields.
"""

from __future__ import annotations

from dorib.suites.prompt_tables.rows import read_rows
from dorib.suites.prompt_tables.samples import read_controls, read_prompt_table
from dorib.suites.prompt_tables.table import Memorization, PromptTable

__all__ = ["Memorization", "PromptTable", "read_controls", "read_prompt_table", "read_rows"]
