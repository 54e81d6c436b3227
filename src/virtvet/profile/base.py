"""The base of every model people write: strict, closed, immutable."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from virtvet.units import as_written


class Wants(BaseModel):
    """Unknown keys are mistakes; strings are not numbers; nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


def worded(right: str) -> WrapValidator:
    """Says what would be right of a text that does not match its pattern, instead of the pattern."""

    def checked(written: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            return handler(written)
        except ValidationError:
            if not isinstance(written, str):
                raise
            raise ValueError(f"{as_written(written)} is no {right}") from None

    return WrapValidator(checked)
