"""A gradient-free search over the text embedding."""

from __future__ import annotations

dorib_contract = 1
