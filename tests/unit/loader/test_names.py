from __future__ import annotations

import os.path
import sys
from pathlib import Path

import pytest

from hub.loader.names import BrokenModuleError, Names, UnresolvedNameError, open_path
from hub.loader.package import package_for
from hub.settings.problem import Fault
from tests.unit.loader.conftest import Files


def plugin(files: Files, **modules: str) -> Names:
    folder = files({f"polls/{name}.py": text for name, text in modules.items()}) / "polls"
    return Names(package_for("polls", folder), folder)


def fault(names: Names, name: str) -> Fault:
    with pytest.raises(UnresolvedNameError) as raised:
        names.find(name)
    return raised.value.fault


def test_attributes_of_attributes_are_found(files: Files) -> None:
    names = plugin(files, rooms="class Rooms:\n    size = 3\n")
    assert names.find("rooms:Rooms.size") == 3
    assert fault(names, "rooms:Rooms.siez").message == "`Rooms` has no `siez`"
    assert fault(names, "rooms:Rooms.siez").remedy == "Did you mean `size`?"


def test_a_plugin_may_name_a_function_of_a_library(files: Files) -> None:
    assert plugin(files, a="").find("os.path:join") is os.path.join


def test_a_plugin_does_not_take_the_operators_module_for_its_own(files: Files) -> None:
    names = plugin(files, handlers="")
    files({"rules.py": "async def check(ctx): ...\n"})
    open_path([names.folder.parent])
    assert fault(names, "rules:check").message == "the plugin has no module `rules`"


def test_a_plugin_without_modules_is_told_where_they_were_looked_for(files: Files) -> None:
    folder = files({"bare/plugin.yaml": ""}) / "bare"
    assert fault(Names(package_for("bare", folder), folder), "a:b").remedy == f"{folder} holds no module."


def test_a_missing_module_of_a_package_is_told_with_the_package(files: Files) -> None:
    folder = files({"newsroom/__init__.py": ""})
    open_path([folder])
    names = Names(None, folder)
    assert (
        fault(names, "newsroom.rules:check").message == "there is no module `rules` in the package `newsroom`"
    )
    assert fault(names, "newsrom.rules:check").message == "there is no module `newsrom`"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("import sys\nsys.exit('bye')\n", 2, "SystemExit: bye"),
        ("\n\nraise ValueError('first\\nsecond')\n", 3, "ValueError: first second"),
        ("import json\njson.loads('{')\n", 2, "JSONDecodeError"),
        ("from hub.plugin import Contxt\n", 1, "ImportError: cannot import name 'Contxt' from 'hub.plugin'"),
        ("def broken(:\n", 1, "SyntaxError"),
        ("import others\n", 1, "ModuleNotFoundError: No module named 'others'"),
    ],
)
def test_a_module_that_fails_is_told_with_its_own_line(files: Files, text: str, line: int, said: str) -> None:
    names = plugin(files, handlers=text)
    with pytest.raises(BrokenModuleError) as raised:
        names.find("handlers:reply")
    message = raised.value.fault.message
    assert message.startswith(f"the module `handlers` fails at {names.folder.resolve()}/handlers.py:{line}: ")
    assert said in message


def test_a_fault_behind_an_import_of_a_sibling_is_told_where_it_is(files: Files) -> None:
    names = plugin(files, handlers="import texts\n", texts="\nWORD = undefined\n")
    assert "texts.py:2: NameError: name 'undefined' is not defined" in fault(names, "handlers:reply").message


def test_installed_modules_come_before_those_in_the_folders(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", ["/installed", str(tmp_path / "b")])
    open_path([tmp_path / "a", tmp_path / "b"])
    assert sys.path == ["/installed", str(tmp_path / "b"), str(tmp_path / "a")]
