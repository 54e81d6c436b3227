"""The base of every model people write: strict, closed, immutable."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Wants(BaseModel):
    """Unknown keys are mistakes; strings are not numbers; nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)
