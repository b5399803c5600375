"""How long, in words."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Seconds in words: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`."""
    whole = round(seconds)
    if whole < 10:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
