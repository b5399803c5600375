"""NeMo (Hintersdorf et al. 2024): block the neurons that carry a memorized prompt."""

from __future__ import annotations

dorib_contract = 1
