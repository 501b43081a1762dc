"""The files that are made from the code, whole or in part; run as a module, it writes them.

With `--check` it writes nothing, names the files that are not what the code makes, and ends with 1 if there are any.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hub.loader.compose import compose
from hub.settings.example import example_yaml
from hub.settings.load import load
from hub.settings.schema import json_schema
from tests.docs import code_tables, command_pages, mistakes, plugin_names, settings_tables
from tests.docs.markdown import PAGES, ROOT
from tests.docs.regions import Maker, renewed
from tests.helm import generated

CONFIG = ROOT / "config"
EXAMPLE = CONFIG / "hub.yaml"
SCHEMA = CONFIG / "hub.schema.json"
MAKERS: Final[Mapping[str, Maker]] = {
    "settings": settings_tables.settings_sections,
    "topic-defaults": settings_tables.topic_defaults,
    "manifest": settings_tables.manifest_keys,
    "mistakes": mistakes.mistake_sections,
    "reply-codes": code_tables.reply_codes,
    "disconnect-codes": code_tables.disconnect_codes,
    "unsubscribe-codes": code_tables.unsubscribe_codes,
    "socket-codes": code_tables.socket_codes,
    "metrics": code_tables.metric_names,
    "command-list": command_pages.command_list,
    "commands": command_pages.command_sections,
    "handler-events": plugin_names.handler_events,
    "plugin-names": plugin_names.plugin_names,
    "testing-names": plugin_names.testing_names,
}
"""What stands between `<!-- made: name -->` and `<!-- end -->` on the pages."""


def schema_json() -> str:
    """The schema for the plugins that config/hub.yaml switches on."""
    loaded = load(EXAMPLE, {"HUB_JWT_SECRET": secrets.token_urlsafe(48)})
    return json.dumps(json_schema(compose(loaded, "check").settings_models), indent=2) + "\n"


def made() -> dict[Path, str]:
    """Every such file with the text that it should have."""
    pages = {page: renewed(page.read_text(), MAKERS) for page in PAGES}
    schema = schema_json()
    return {EXAMPLE: example_yaml(), SCHEMA: schema, **pages, **generated.made(schema)}


def main(*, check: bool) -> int:
    """Writes the files that are not what they should be, or only names them; returns the exit status."""
    stale = {path: text for path, text in made().items() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        print(path.relative_to(ROOT))
        if not check:
            path.write_text(text)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv))
