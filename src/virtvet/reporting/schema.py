"""run.json's JSON Schema. `python -m virtvet.reporting.schema reports/run.schema.json` writes the committed one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from virtvet.reporting.run import Run


def schema() -> str:
    """The schema as the committed file holds it."""
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Run.model_json_schema(mode="serialization")
    return json.dumps(made, indent=1) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(schema(), encoding="utf-8")
