"""Adversarial fine-tuning (Kowalczuk et al. 2025): train away what a search still finds."""

from __future__ import annotations

dorib_contract = 1
