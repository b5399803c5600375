"""FID, CLIP-FID and KID."""

from __future__ import annotations

dorib_contract = 1
