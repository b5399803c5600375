"""Replays the triggers that another attack found on the unmitigated model."""

from __future__ import annotations

dorib_contract = 1
