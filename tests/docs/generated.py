"""The files that are made from the code; run as a module, it writes them."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from hub.loader.compose import compose
from hub.settings.example import example_yaml
from hub.settings.load import load
from hub.settings.schema import json_schema

CONFIG = Path(__file__).parents[2] / "config"
EXAMPLE = CONFIG / "hub.yaml"
SCHEMA = CONFIG / "hub.schema.json"


def schema_json() -> str:
    """The schema for the plugins that config/hub.yaml switches on."""
    loaded = load(EXAMPLE, {"HUB_JWT_SECRET": secrets.token_urlsafe(48)})
    return json.dumps(json_schema(compose(loaded, "check").settings_models), indent=2) + "\n"


if __name__ == "__main__":
    EXAMPLE.write_text(example_yaml())
    SCHEMA.write_text(schema_json())
