"""Parameters of a method: declared once, read by the command line, run files and fingerprints."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Params(BaseModel):
    """Base of every method's parameters: immutable, and an unknown name is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
