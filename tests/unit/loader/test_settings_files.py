"""Settings of a plugin that name a YAML file, through the one way that check and serve take."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from pydantic import BaseModel, ValidationError

from hub.loader.blueprint import Blueprint
from hub.loader.compose import compose
from hub.settings.load import load
from hub.settings.problem import ConfigError
from hub.settings.schema import json_schema

PLUGIN = {
    "plugin.yaml": """
        name: menu
        api: 1
        settings: "settings:MenuSettings"
        """,
    "settings.py": """
        from typing import Annotated

        from pydantic import BaseModel, ConfigDict

        from hub.plugin import FromFile

        class Dish(BaseModel):
            model_config = ConfigDict(extra="forbid")
            price: int

        class Menu(BaseModel):
            dishes: dict[str, Dish]

        class MenuSettings(BaseModel):
            menu: Annotated[Menu, FromFile()] | None = None
            tables: int = 4
        """,
}


def composed(folder: Path, settings: str, menu: str | None = None) -> Blueprint:
    plugin = folder / "menu"
    plugin.mkdir()
    for name, text in PLUGIN.items():
        (plugin / name).write_text(dedent(text))
    if menu is not None:
        (folder / "menu.yaml").write_text(dedent(menu))
    (folder / "hub.yaml").write_text(
        f"plugins:\n  menu:\n    use: ./menu\n    settings: {settings}\nauth: {{anonymous: true}}\n"
    )
    return compose(load(folder / "hub.yaml", {}), "dev")


def refused(folder: Path, settings: str, menu: str | None = None) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        composed(folder, settings, menu)
    return [str(problem).replace(f"{folder}/", "") for problem in raised.value.problems]


def test_a_setting_becomes_what_the_file_beside_hub_yaml_says(tmp_path: Path) -> None:
    made = composed(tmp_path, "{menu: menu.yaml}", "dishes: {soup: {price: 4}}")
    plugin = made.plugin("menu")
    assert plugin is not None
    assert plugin.settings.menu.dishes["soup"].price == 4


def test_every_mistake_in_the_file_is_told_at_its_line_and_those_in_hub_yaml_too(tmp_path: Path) -> None:
    menu = """\
        dishes:
          soup: {prise: 4}
          cake: {price: "5", price: 6}
        deserts: {}
        """
    told = refused(tmp_path, "{menu: menu.yaml, tables: many}", menu)
    assert [line.partition(": ")[0] for line in told] == [
        "hub.yaml:4:41 plugins.menu.settings.tables",
        "menu.yaml:2:3 dishes.soup.price",
        "menu.yaml:2:10 dishes.soup.prise",
        "menu.yaml:3:17 dishes.cake.price",
        "menu.yaml:3:22 dishes.cake.price",
        "menu.yaml:4:1 deserts",
    ]
    assert "Did you mean `price`?" in told[2]
    assert told[4].endswith("(E103)")


def test_a_file_that_is_not_there_is_a_mistake_of_the_line_that_names_it(tmp_path: Path) -> None:
    [told] = refused(tmp_path, "{menu: menu.yaml}")
    assert told.startswith("hub.yaml:4:22 plugins.menu.settings.menu:")
    assert "there is no such file" in told


@pytest.mark.parametrize("given", ["{menu: [menu.yaml]}", "{menu: {dishes: {}}}"])
def test_only_a_path_can_stand_in_hub_yaml(tmp_path: Path, given: str) -> None:
    [told] = refused(tmp_path, given, "dishes: {}")
    assert "where text is needed" in told


def test_the_schema_for_editors_asks_for_text(tmp_path: Path) -> None:
    made = composed(tmp_path, "{}")
    schema = json_schema(made.settings_models)
    plugin = schema["properties"]["plugins"]["properties"]["menu"]["anyOf"][0]
    assert {"type": "string"} in plugin["properties"]["settings"]["properties"]["menu"]["anyOf"]


def test_code_gives_an_instance_and_cannot_give_a_path(tmp_path: Path) -> None:
    plugin = composed(tmp_path, "{menu: menu.yaml}", "dishes: {}").plugin("menu")
    assert plugin is not None
    model: type[BaseModel] = type(plugin.settings)
    assert model(menu=plugin.settings.menu) == plugin.settings
    with pytest.raises(ValidationError, match="only from the settings"):
        model(menu="menu.yaml")
