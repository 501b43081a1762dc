"""What the bundled plugins' READMEs say is what their manifests, settings and routes hold."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

PLUGINS = Path(__file__).parents[2] / "plugins"
DOCUMENTED = ("hub_chat", "hub_notifications")


def manifest(package: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((PLUGINS / package / "plugin.yaml").read_text())
    return found


def named(package: str, key: str) -> Any:
    module, _, name = manifest(package)[key].partition(":")
    return getattr(import_module(f"{package}.{module}"), name)


@pytest.mark.parametrize("package", DOCUMENTED)
def test_every_setting_stands_in_the_readme_with_its_default(package: str) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (PLUGINS / package / "README.md").read_text(), re.DOTALL)
    plugin = package.removeprefix("hub_")
    told = [
        (block.get("plugins", {}).get(plugin) or {}).get("settings")
        for block in map(yaml.safe_load, blocks)
        if isinstance(block, dict)
    ]
    assert named(package, "settings")().model_dump() in told


@pytest.mark.parametrize("package", DOCUMENTED)
def test_every_topic_method_and_route_stands_in_the_readme(package: str) -> None:
    text = (PLUGINS / package / "README.md").read_text()
    declared = manifest(package)
    names = [*declared.get("topics", {}), *declared.get("rpc", {})]
    names += [
        route.path.replace(":int", "").replace(":path", "").rstrip("/") for route in named(package, "routes")
    ]
    missing = [name for name in names if name.replace(":rest", "") not in text]
    assert not missing
