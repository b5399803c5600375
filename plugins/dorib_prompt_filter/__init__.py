"""A filter on known prompts: hides everything, erases nothing."""

from __future__ import annotations

dorib_contract = 1
