from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

from hub.loader.package import package_for
from tests.unit.loader.conftest import Files


def test_all_ways_to_a_sibling_lead_to_one_module(files: Files) -> None:
    folder = files(
        {
            "polls/handlers.py": (
                "import texts\nimport polls.texts\nfrom polls import texts as named\nfrom . import texts as relative\n"
                "from texts import WORD\nimport deep.down\nfrom deep import down\nfrom deep.down import LOW\n"
                "import polls\n"
            ),
            "polls/texts.py": "WORD = 'hello'\n",
            "polls/deep/__init__.py": "from texts import WORD\n",
            "polls/deep/down.py": "from . import WORD\nLOW = WORD.lower()\n",
        }
    )
    package = package_for("polls", folder / "polls")
    assert package.startswith("hub_plugin_polls")
    module = import_module(f"{package}.handlers")
    assert module.texts is module.named is module.relative is sys.modules[f"{package}.texts"]
    assert module.deep.down is module.down is sys.modules[f"{package}.deep.down"]
    assert module.polls.texts is module.texts
    assert module.LOW == "hello"
    assert "texts" not in sys.modules


def test_two_plugins_may_have_modules_of_one_name(files: Files) -> None:
    folder = files(
        {
            "one/handlers.py": "import texts\nfrom texts import WORD\n",
            "one/texts.py": "WORD = 1\n",
            "two/handlers.py": "import texts\nfrom texts import WORD\n",
            "two/texts.py": "WORD = 2\n",
        }
    )
    words = [import_module(f"{package_for(name, folder / name)}.handlers").WORD for name in ("one", "two")]
    assert words == [1, 2]


def test_two_folders_of_one_name_are_two_packages(files: Files) -> None:
    folder = files({"a/polls/texts.py": "WORD = 'a'\n", "b/polls/texts.py": "WORD = 'b'\n"})
    names = [package_for("polls", folder / where / "polls") for where in ("a", "b", "a")]
    assert names[0] == names[2] != names[1]
    assert [import_module(f"{name}.texts").WORD for name in names] == ["a", "b", "a"]


def test_the_standard_library_and_the_hub_come_before_the_plugins_own(files: Files) -> None:
    folder = files(
        {
            "own/handlers.py": "import json\nimport hub.plugin\nJSON, HUB = json.dumps, hub.plugin.Context\n",
            "own/json.py": "raise RuntimeError\n",
            "own/hub.py": "raise RuntimeError\n",
        }
    )
    module = import_module(f"{package_for('own', folder / 'own')}.handlers")
    assert (module.JSON([1]), module.HUB.__name__) == ("[1]", "Context")


def test_the_packages_own_start_is_run_once(files: Files) -> None:
    folder = files(
        {"starts/__init__.py": "COUNT = []\n", "starts/a.py": "import starts\nstarts.COUNT.append(1)\n"}
    )
    package = package_for("starts", folder / "starts")
    import_module(f"{package}.a")
    import_module(f"{package}.a")
    assert import_module(package).COUNT == [1]


def test_what_is_not_there_is_not_found(files: Files) -> None:
    folder = files({"lacks/handlers.py": "import textss\n"})
    with pytest.raises(ModuleNotFoundError, match="No module named 'textss'"):
        import_module(f"{package_for('lacks', folder / 'lacks')}.handlers")


def test_imports_inside_functions_work_later_too(files: Files) -> None:
    folder = files(
        {
            "late/handlers.py": "def word():\n    from texts import WORD\n    return WORD\n",
            "late/texts.py": "WORD = 3\n",
        }
    )
    assert import_module(f"{package_for('late', folder / 'late')}.handlers").word() == 3


def test_the_working_directory_does_not_matter(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = files({"home/greets/texts.py": "WORD = 'home'\n", "away/texts.py": "WORD = 'away'\n"})
    monkeypatch.chdir(folder / "home")
    package = package_for("greets", Path("greets"))
    monkeypatch.chdir(folder / "away")
    assert import_module(f"{package}.texts").WORD == "home"
