"""How a run reached its machines, as the journal keeps it: what `virtvet undo` needs days later. It holds no secrets,
as no inventory does."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from virtvet.errors import BadInput
from virtvet.inventory import Inventory

_INVENTORY = TypeAdapter(Inventory)


def written(inventory: Inventory) -> dict[str, Any]:
    """The inventory as plain JSON."""
    found: dict[str, Any] = _INVENTORY.dump_python(inventory, mode="json")
    return found


def inventory(reach: dict[str, Any]) -> Inventory:
    """The inventory again. Raises BadInput when a key file or folder it names is gone."""
    try:
        return _INVENTORY.validate_python(reach)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BadInput.one(
            f"how the run reached its hosts no longer works: {place}: {first['msg']}", "give --inventory FILE"
        ) from None
