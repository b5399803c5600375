"""MS-SSIM and pixel distance to the original."""

from __future__ import annotations

dorib_contract = 1
