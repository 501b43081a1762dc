"""The reference names everything that there is, and nothing that there is not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import hub.plugin
import hub.testing
from hub import metrics
from hub.api.methods import METHODS
from hub.errors import DISCONNECT_CODES, REPLY_CODES, SOCKET_CODES, UNSUBSCRIBE_CODES, Code
from hub.loader.events import PARAMETERS
from hub.manifest import Manifest
from hub.plugin import __doc__ as plugin_doc
from hub.protocol.commands import METHODS as COMMANDS
from hub.settings import shape
from hub.settings.model import Settings
from hub.settings.problem import ConfigCode
from hub.settings.topic import Declarations
from tests.docs.command_pages import COMMON, every_command
from tests.docs.generated import MAKERS
from tests.docs.markdown import PAGES, ROOT, first_cells
from tests.docs.mistakes import codes_in_the_code
from tests.docs.plugin_names import members, promised
from tests.docs.regions import names, renewed

REFERENCE = ROOT / "docs/reference"


def page(name: str) -> str:
    return (REFERENCE / f"{name}.md").read_text()


def headings(text: str, level: int) -> list[str]:
    found = re.findall(rf"(?m)^{'#' * level} (.+)$", text)
    return [heading.replace("`", "") for heading in found]


def paths_of(annotation: object, path: tuple[str, ...] = ()) -> set[str]:
    """The keys of a model, and of all below it, by a walk of its own: `auth.jwt.secret`, `topics.*.history`."""
    found: set[str] = set()
    for key in shape.keys(annotation, path):
        below = (*path, key)
        found.add(".".join(below))
        for deeper in (below, (*below, "*")):
            found |= {f"{'.'.join(deeper)}.{rest}" for rest in _relative(annotation, deeper)}
    return found


def _relative(annotation: object, path: tuple[str, ...]) -> set[str]:
    whole = ".".join(path)
    return {found.removeprefix(f"{whole}.") for found in paths_of(annotation, path)}


def documented(text: str) -> set[str]:
    return {re.sub(r"<\w+>", "*", key) for key in first_cells(text)}


def region(text: str, name: str) -> str:
    return text.partition(f"<!-- made: {name} -->")[2].partition("<!-- end -->")[0]


def prefixes(keys: set[str]) -> set[str]:
    return {".".join(key.split(".")[:end]) for key in keys for end in range(1, key.count(".") + 2)}


def test_every_setting_has_its_row_and_every_row_its_setting() -> None:
    known = paths_of(Settings)
    assert len(known) > 60
    rows = documented(region(page("settings"), "settings"))
    assert known - prefixes(rows) == set()
    assert {key.removesuffix(".*") for key in rows} - known == set()


def test_every_key_of_a_manifest_has_its_row_and_every_row_its_key() -> None:
    own = {key for key in shape.keys(Manifest, ()) if key not in shape.fields(Declarations)}
    assert documented(region(page("manifest"), "manifest")) == own


@pytest.mark.parametrize("key", shape.fields(Declarations))
def test_the_manifest_page_leads_to_what_manifests_share_with_the_configuration(key: str) -> None:
    assert f"(settings.md#{key})" in page("manifest")


def test_every_configuration_error_has_its_heading_and_every_heading_its_error() -> None:
    found = {heading.split()[0] for heading in headings(page("config-errors"), 2) if heading.startswith("E")}
    assert found == codes_in_the_code()
    assert {str(each) for each in ConfigCode} <= found


@pytest.mark.parametrize("codes", [REPLY_CODES, DISCONNECT_CODES, UNSUBSCRIBE_CODES, SOCKET_CODES])
def test_every_code_has_a_row_with_its_name_and_sentence(codes: tuple[Code, ...]) -> None:
    text = page("codes")
    for code in codes:
        assert re.search(
            rf"(?m)^\| {code.number} \| `{code.name}` \| .*{re.escape(code.sentence)} \|", text
        ), code


def test_no_code_is_documented_that_does_not_exist() -> None:
    every = (*REPLY_CODES, *DISCONNECT_CODES, *UNSUBSCRIBE_CODES, *SOCKET_CODES)
    rows = re.findall(r"(?m)^\| (\d+) \| `(\w+)` \|", page("codes"))
    assert sorted((int(number), name) for number, name in rows) == sorted(
        (code.number, code.name) for code in every
    )


def test_every_metric_has_its_row_and_every_row_its_metric() -> None:
    known = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in metrics.REGISTRY.collect()
    }
    text = page("metrics")
    assert set(first_cells(text)) == known
    mentioned = set(re.findall(r"\bhub_[a-z_]+\b", text))
    assert {
        name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in mentioned
    } == known


def test_every_command_has_its_heading_and_every_heading_its_command() -> None:
    typed = dict(every_command())
    found = [heading for heading in headings(page("cli"), 2) if heading.startswith("hub ")]
    assert sorted(found) == sorted(typed)


@pytest.mark.parametrize(("typed", "command"), list(every_command()), ids=str)
def test_every_option_stands_with_its_command(typed: str, command: click.Command) -> None:
    section = re.split(r"(?m)^## ", page("cli").partition(f"## `{typed}`\n")[2])[0]
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or parameter.name in COMMON:
            continue
        for name in (
            [*parameter.opts, *parameter.secondary_opts] if isinstance(parameter, click.Option) else []
        ):
            assert f"`{name}`" in section, f"{typed} {name}"
    told = set(re.findall(r"`(--[\w-]+)`", section))
    real = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    assert told <= real | {name for name in told if f"{name}" in (command.help or "")}


def test_every_handler_event_is_in_the_table_and_every_row_is_an_event() -> None:
    table = region(page("plugin-api"), "handler-events")
    assert sorted(first_cells(table)) == sorted(PARAMETERS)
    for event, parameters in PARAMETERS.items():
        row = re.search(rf"(?m)^\| `{event}` \| `\(([^`]*)\)` ", table)
        assert row is not None, event
        assert tuple(re.findall(r"(\w+)(?:: \w+)?(?:, |$)", row[1])) == parameters, event


@pytest.mark.parametrize("module", [hub.plugin, hub.testing], ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(module: object) -> None:
    text = page("plugin-api")
    shown = set(headings(text, 3)) | set(headings(text, 4)) | set(first_cells(text))
    shown = {name.partition(":")[0] for name in shown}
    for name, value in promised(module).items():  # type: ignore[arg-type]
        assert name in shown, name
        if isinstance(value, type):
            told = [each for each, member in members(value) if not is_told_elsewhere(member)]
            assert not [each for each in told if f"{name}.{each}" not in shown], name


def is_told_elsewhere(member: object) -> bool:
    function = member.fget if isinstance(member, property) else member
    return (getattr(function, "__doc__", "") or "").startswith("See ")


def test_the_reference_names_no_name_that_is_not_public() -> None:
    known = {*hub.plugin.__all__, *hub.testing.__all__}
    shown = {heading for heading in headings(page("plugin-api"), 3) if " " not in heading} - {"Values"}
    assert shown <= known
    for heading in headings(page("plugin-api"), 4):
        owner, _, name = heading.partition(":")[0].partition(".")
        found = getattr(hub.plugin, owner, None) or getattr(hub.testing, owner)
        assert hasattr(found, name), heading


def test_every_method_of_the_server_api_is_on_its_page_and_no_other() -> None:
    table = page("http").partition("### Methods")[2].partition("\n## ")[0]
    assert sorted(first_cells(table)) == sorted(METHODS)


def test_every_command_of_the_client_protocol_is_on_its_page_and_no_other() -> None:
    spoken = headings(page("protocol"), 3)
    assert sorted(name for heading in spoken for name in heading.split(", ")) == sorted(COMMANDS)


def test_the_docstring_of_the_plugin_api_says_what_the_loader_does() -> None:
    assert plugin_doc is not None
    for event in PARAMETERS:
        assert re.search(rf"(?m)^\w*.*\b{event}\b", plugin_doc), event


@pytest.mark.timeout(120)
def test_everything_made_from_the_code_is_what_the_code_makes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.generated", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"run scripts/generate: {done.stdout}{done.stderr}"


def test_every_maker_is_used_by_one_page() -> None:
    used = [name for path in PAGES for name in names(path.read_text())]
    assert sorted(used) == sorted(MAKERS)


def test_a_region_is_made_anew_and_what_people_wrote_is_kept() -> None:
    text = "before\n<!-- made: x -->\nold\n<!-- end -->\nafter\n"
    assert renewed(text, {"x": lambda: "new"}) == "before\n<!-- made: x -->\n\nnew\n\n<!-- end -->\nafter\n"
    with pytest.raises(KeyError):
        renewed(text, {})


def test_reference_pages_are_reached_from_the_map() -> None:
    readme = (ROOT / "README.md").read_text()
    linked = set(re.findall(r"\((docs/[\w./-]+\.md)\)", readme))
    every = {str(path.relative_to(ROOT)) for path in PAGES if path.name != "README.md"}
    assert every - linked == set()


def test_pages_begin_with_something_to_run() -> None:
    late = [str(path.relative_to(ROOT)) for path in PAGES if lines_before_the_first_block(path) > 30]
    assert late == []


def lines_before_the_first_block(path: Path) -> int:
    before, fence, _ = path.read_text().partition("\n```")
    exempt = "design" in path.parts or path.name in {"glossary.md", "performance.md"}
    return 0 if exempt else before.count("\n") if fence else 1_000
