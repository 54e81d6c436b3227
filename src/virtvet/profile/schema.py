"""JSON Schemas of profile and inventory, for editors and CI: `python -m virtvet.profile.schema` writes them anew."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import WithDefaultSchema

from virtvet.inventory import InventoryFile
from virtvet.profile.load import shipped_dir
from virtvet.profile.model import Profile

MODELS: Mapping[str, type[BaseModel]] = {"profile": Profile, "inventory": InventoryFile}


class Schema(GenerateJsonSchema):
    """Without what says nothing (titles made of keys, absence as a default), and with defaults as people write them."""

    def field_title_should_be_set(self, schema: object) -> bool:
        """Never: keys are their own titles."""
        return False

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        """The default of a mode is written as one: 420 -> "0644"."""
        made = super().default_schema(schema)
        default = made.get("default")
        if default is None or isinstance(default, dict):
            made.pop("default", None)
        elif isinstance(default, int) and made.get("type") == "string":
            made["default"] = f"{default:04o}"
        return made


def files() -> dict[str, str]:
    """Name and text of each schema's file."""
    return {f"{name}.schema.json": _text(name, model) for name, model in MODELS.items()}


def _text(name: str, model: type[BaseModel]) -> str:
    made = model.model_json_schema(schema_generator=Schema)
    head = {"$schema": Schema.schema_dialect, "title": f"virtvet {name}", "description": made["description"]}
    return json.dumps(head | made | head, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for file, text in files().items():
        (shipped_dir() / file).write_text(text, encoding="utf-8")
