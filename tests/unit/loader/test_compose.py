from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hub.loader.blueprint import Blueprint
from hub.loader.compose import compose
from hub.settings.load import load
from hub.settings.problem import ConfigError
from hub.testing import InProcessHub
from hub.webhooks.signing import new_secret
from tests.unit.loader.conftest import Compose, Files

MANIFEST = """\
name: greeter                            # equals the folder's or entry point's name
api: 1
topics:
  "greet:{who}":
    allow: {subscribe: anyone, publish: anyone}
    handlers: {publish: "handlers:reply"}
"""
HANDLERS = """\
from hub.plugin import Context, Publication

async def reply(ctx: Context, pub: Publication) -> None:
    await ctx.publish("greetings:all", {"hello": ctx.params["who"]})
"""
GREETINGS = 'topics: {"greetings:{whom}": {allow: {subscribe: anyone}}}\n'
IN_FOLDER = {
    "plugins/greeter/plugin.yaml": MANIFEST,
    "plugins/greeter/handlers.py": HANDLERS,
    "hub.yaml": "plugins: {greeter: {use: ./plugins/greeter}}\n" + GREETINGS,
}
INSTALLED = {
    "site/acme_greeter/__init__.py": "",
    "site/acme_greeter/plugin.yaml": MANIFEST,
    "site/acme_greeter/handlers.py": HANDLERS,
    "site/acme_greeter-1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: acme-greeter\nVersion: 1.2\n",
    "site/acme_greeter-1.2.dist-info/entry_points.txt": "[hub.plugins]\ngreeter = acme_greeter\n",
    "hub.yaml": "plugins: {greeter: {}}\n" + GREETINGS,
}


def reply_name(blueprint: Blueprint) -> tuple[str, str]:
    rule, params = blueprint.table.find("greet:ann") or pytest.fail("no rule")
    (handler,) = rule.publish
    assert (params, handler.plugin, rule.options.owner) == ({"who": "ann"}, "greeter", "greeter")
    return handler.name, handler.function.__module__


def test_a_plugin_in_a_folder_is_loaded_by_one_line(composed: Compose, tmp_path: Path) -> None:
    blueprint = composed(IN_FOLDER)
    (plugin,) = blueprint.plugins
    assert reply_name(blueprint) == ("greeter:handlers:reply", f"{plugin.package}.handlers")
    assert (plugin.name, plugin.folder, plugin.version) == ("greeter", tmp_path / "plugins/greeter", "")
    assert (plugin.routes, plugin.models, plugin.migrations, plugin.pages) == ((), None, None, None)


def test_an_installed_plugin_is_loaded_by_its_name(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path / "site")
    blueprint = composed(INSTALLED)
    assert reply_name(blueprint) == ("greeter:handlers:reply", "acme_greeter.handlers")
    (plugin,) = blueprint.plugins
    assert (plugin.source, plugin.version, plugin.package) == ("acme-greeter 1.2", "1.2", "acme_greeter")
    assert plugin.folder == tmp_path / "site/acme_greeter"


def test_a_plugin_may_name_a_webhook_which_the_operators_settings_hold_for(composed: Compose) -> None:
    texts = {
        **IN_FOLDER,
        "plugins/greeter/plugin.yaml": MANIFEST.replace(
            "handlers:reply", "https://hooks.example/reply?key=a"
        ),
    }
    with pytest.raises(ConfigError, match=r"plugin\.yaml:.*needs webhooks\.secrets"):
        composed(texts)
    secret = f"webhooks: {{secrets: {new_secret()}, timeout: 3s}}\n"
    blueprint = composed(texts | {"hub.yaml": texts["hub.yaml"] + secret})
    (handler,) = (blueprint.table.find("greet:ann") or pytest.fail("no rule"))[0].publish
    assert (handler.name, handler.plugin) == ("greeter:https://hooks.example/reply", "greeter")
    assert handler.timeout > 3, "the webhook gives up by itself, and knows why"


@pytest.mark.parametrize("texts", [IN_FOLDER, INSTALLED], ids=["folder", "installed"])
async def test_the_greeter_greets(
    texts: dict[str, str], files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = files({**texts, "hub.yaml": texts["hub.yaml"] + "auth: {anonymous: true}\n"})
    monkeypatch.syspath_prepend(folder / "site")
    async with InProcessHub(folder / "hub.yaml") as hub:
        ann = await hub.connect()
        await ann.subscribe("greetings:all")
        await ann.publish("greet:bob", {})
        assert await ann.expect_publication("greetings:all") == {"hello": "bob"}


def test_an_entry_point_that_leads_nowhere_is_told(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = "[hub.plugins]\nlost = acme_lost\nbare = acme_greeter\n"
    folder = files({**INSTALLED, "site/acme_greeter-1.2.dist-info/entry_points.txt": points})
    (folder / "site/acme_greeter/plugin.yaml").unlink()
    monkeypatch.syspath_prepend(folder / "site")
    with pytest.raises(ConfigError) as raised:
        compose(
            load(None, {}, overlay={"plugins": {"lost": {}, "bare": {}}, "auth": {"anonymous": True}}),
            "serve",
        )
    lost, bare = map(str, raised.value.problems)
    assert "its entry point in acme-greeter 1.2 names the package `acme_lost`, which cannot be found" in lost
    assert "the package `acme_greeter` of acme-greeter 1.2 holds no plugin.yaml" in bare


def test_a_name_that_two_installed_packages_offer_is_refused(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {name.replace("acme", "other").replace("1.2", "3.4"): text for name, text in INSTALLED.items()}
    other["site/other_greeter-3.4.dist-info/METADATA"] = (
        "Metadata-Version: 2.1\nName: other-greeter\nVersion: 3.4\n"
    )
    monkeypatch.syspath_prepend(files({**other, **INSTALLED}) / "site")
    with pytest.raises(
        ConfigError, match=r"two installed packages offer it: .*acme-greeter.* and .*other-greeter"
    ):
        compose(load(None, {}, overlay={"plugins": {"greeter": {}}, "auth": {"anonymous": True}}), "serve")


def test_a_mistake_in_an_installed_manifest_is_told_at_its_place(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(ConfigError) as raised:
        composed({**INSTALLED, "site/acme_greeter/plugin.yaml": MANIFEST + "runs: 3\n"})
    (problem,) = raised.value.problems
    assert str(problem.place) == f"{tmp_path}/site/acme_greeter/plugin.yaml:7:1"
    assert problem.code == "E171"


def test_mistakes_of_all_kinds_are_told_together(composed: Compose) -> None:
    with pytest.raises(ConfigError) as raised:
        composed(
            {
                **IN_FOLDER,
                "plugins/greeter/plugin.yaml": MANIFEST.replace("reply", "replly"),
                "hub.yaml": IN_FOLDER["hub.yaml"]
                + "server: {port: x, workers: 2, hots: y}\nlog: {level: no}\n",
            }
        )
    assert {str(problem.code) for problem in raised.value.problems} == {
        "E101",
        "E102",
        "E106",
        "E120",
        "E150",
    }


def test_a_file_that_cannot_be_read_to_its_end_is_the_only_problem(composed: Compose) -> None:
    with pytest.raises(ConfigError, match="1 problem found"):
        composed({"hub.yaml": "plugins: {none: {}}\nserver: {workers: 3\n"})


def test_an_override_with_no_section_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"HUB_SERVR__PORT.*Did you mean HUB_SERVER__PORT\?.*E109"):
        compose(load(None, {"HUB_SERVR__PORT": "1"}, overlay={"auth": {"anonymous": True}}), "serve")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"none\.yaml: the file cannot be used: there is no such file.*E108"
    ):
        compose(load(tmp_path / "none.yaml", {}), "serve")


def test_the_parts_of_a_plugin_are_resolved(composed: Compose, tmp_path: Path) -> None:
    manifest = (
        "name: full\napi: 1\nversion: 2.0.1\ndescription: All parts.\nsettings: 'parts:Options'\n"
        "routes: 'parts:routes'\nmodels: tables\nmigrations: migrations\npages: web\n"
        "rpc: {sum: 'parts:add'}\nschedule: {tick: {every: 500ms, run: 'parts:tick'}}\n"
        "handlers: {start: 'parts:tick', message: 'parts:add'}\n"
    )
    parts = (
        "from pydantic import BaseModel\nfrom starlette.routing import Route\n"
        "class Options(BaseModel):\n    size: int = 3\n    name: str\n"
        "async def page(request): ...\nroutes = [Route('/', page)]\n"
        "async def add(ctx, data): ...\nasync def tick(ctx): ...\n"
    )
    blueprint = composed(
        {
            "full/plugin.yaml": manifest,
            "full/parts.py": parts,
            "full/tables.py": "TABLES = 1\n",
            "full/migrations/m0001_first.py": "",
            "full/web/index.html": "",
            "hub.yaml": "plugins: {full: {use: full, settings: {name: x}}}\n",
        }
    )
    plugin = blueprint.plugin("full")
    assert plugin is not None
    assert (plugin.version, plugin.description, len(plugin.routes)) == ("2.0.1", "All parts.", 1)
    assert (plugin.settings.size, plugin.settings.name) == (3, "x")
    assert plugin.models == f"{plugin.package}.tables"
    assert sys.modules[plugin.models].TABLES == 1
    assert (plugin.migrations, plugin.pages) == (tmp_path / "full/migrations", tmp_path / "full/web")
    table = blueprint.table
    assert table.rpc["sum"].settings is plugin.settings
    assert [(one.name, one.every, one.topic) for one in table.schedules] == [("full:tick", 0.5, None)]
    assert [handler.name for handler in (*table.start, *table.message)] == [
        "full:parts:tick",
        "full:parts:add",
    ]
    assert blueprint.settings_models["full"] is type(plugin.settings)


def test_plugins_start_after_what_they_require_and_stop_in_reverse(composed: Compose) -> None:
    texts = {"a.py": "async def go(ctx): ...\n"}
    config = "handlers: {start: 'a:go', stop: 'a:go', connect: 'a:go'}\nplugins:\n"
    for name, requires in {"c": "[b]", "a": "[]", "b": "[a]"}.items():
        handlers = "handlers: {start: 'h:go', stop: 'h:go', connect: 'h:go'}\n"
        texts[f"{name}/plugin.yaml"] = f"name: {name}\napi: 1\nrequires: {requires}\n{handlers}"
        texts[f"{name}/h.py"] = "async def go(ctx): ...\n"
        config += f"  {name}: {{use: {name}}}\n"
    blueprint = composed({**texts, "hub.yaml": config})
    assert [plugin.name for plugin in blueprint.plugins] == ["a", "b", "c"]
    table = blueprint.table
    assert [handler.plugin for handler in table.start] == ["a", "b", "c", ""]
    assert [handler.plugin for handler in table.stop] == ["", "c", "b", "a"]
    assert [handler.plugin for handler in table.connect] == ["", "a", "b", "c"]


def test_the_operators_rpc_takes_the_place_of_a_plugins(composed: Compose) -> None:
    blueprint = composed(
        {
            "p/plugin.yaml": "name: p\napi: 1\nrpc: {one: 'h:go', two: 'h:go'}\n",
            "p/h.py": "async def go(ctx, data): ...\n",
            "mine.py": "async def go(ctx, data): ...\n",
            "hub.yaml": "plugins: {p: {use: p}}\nrpc: {one: 'mine:go'}\n",
        }
    )
    assert {name: handler.name for name, handler in blueprint.table.rpc.items()} == {
        "one": "mine:go",
        "two": "p:h:go",
    }


def test_a_method_has_rules_and_the_place_where_they_stand(composed: Compose) -> None:
    table = composed(
        {
            "mine.py": "async def go(ctx, data): ...\n",
            "hub.yaml": "rpc:\n  all: 'mine:go'\n  few: {run: 'mine:go', allow: 'role:boss'}\n"
            "  none: {run: 'mine:go', allow: [nobody]}\n",
        }
    ).table
    found = {name: handler.allow for name, handler in table.rpc.items()}
    assert found == {"all": None, "few": ("role:boss",), "none": ("nobody",)}
    assert table.rpc["few"].origin.endswith("hub.yaml:3:3")


@pytest.mark.parametrize("rule", ["token", "handler", "user:{user}", "everyone", "role:", "[]"])
def test_a_method_has_no_topic_for_its_rules_to_ask_about(composed: Compose, rule: str) -> None:
    texts = {"mine.py": "async def go(ctx, data): ...\n"}
    with pytest.raises(ConfigError, match=r"rpc\.few\.allow"):
        composed({**texts, "hub.yaml": f"rpc: {{few: {{run: 'mine:go', allow: {rule!r}}}}}\n"})


def test_where_options_stand_is_known_and_the_operators_word_counts(composed: Compose) -> None:
    table = composed(
        {
            "p/plugin.yaml": "name: p\napi: 1\ntopics:\n  'a:{x}':\n    allow: {subscribe: anyone, publish: anyone}\n",
            "p/__init__.py": "",
            "hub.yaml": "plugins: {p: {use: p}}\ntopics:\n  'a:{x}': {allow: {publish: nobody}}\n",
        }
    ).table
    found = table.find("a:1")
    assert found is not None
    origins = found[0].origins
    assert origins[""].endswith("plugin.yaml:4:3")
    assert origins["allow.subscribe"].endswith("plugin.yaml:5:13")
    assert origins["allow.publish"].endswith("hub.yaml:3:21")


def test_sockets_come_as_the_file_has_them(composed: Compose) -> None:
    blueprint = composed(
        {
            "hub.yaml": "topics: {'echo:{c}': {}}\n"
            "sockets: {/ws: {topic: 'echo:{connection}'}, /x: {topic: 'echo:{user}'}}\n"
        }
    )
    assert blueprint.sockets == {"/ws": "echo:{connection}", "/x": "echo:{user}"}


def test_settings_of_a_plugin_that_is_off_do_not_matter(composed: Compose) -> None:
    assert composed({"hub.yaml": "plugins: {gone: {enabled: false, settings: {a: 1}}}\n"}).plugins == ()


def test_a_hub_without_plugins_is_composed_without_importing_anything_heavy() -> None:
    code = (
        "import sys\nfrom hub.loader.compose import compose\nfrom hub.settings.load import load\n"
        "compose(load(None, {}, overlay={'auth': {'anonymous': True}}), 'serve')\n"
        "heavy = 'sqlmodel sqlalchemy alembic redis nats asyncpg starlette uvicorn jose cryptography broadcaster'\n"
        "print(*(name for name in heavy.split() if name in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
