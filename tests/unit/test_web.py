"""What a browser gets: vendored libraries are what they say, and our own files keep to the policy."""

from __future__ import annotations

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hub.api.pages import WEB

VENDOR = WEB / "vendor"
MANIFEST = json.loads((VENDOR / "manifest.json").read_text())
OWN = sorted(path for path in WEB.rglob("*") if path.is_file() and VENDOR not in path.parents)
SCRIPTS = [path for path in OWN if path.suffix == ".js"]
MARKUP_FROM_TEXT = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|parseFromString|setHTMLUnsafe|createContextualFragment"
    r"|srcdoc|\beval\b|new Function|setTimeout\(\s*[\"'`]"
)


class Tags(HTMLParser):
    """Every tag of a page with its attributes, and the text inside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside in {"script", "style"}:
            self.inline += data.strip()


def test_vendored_files_are_the_ones_of_the_manifest() -> None:
    named = {name: digest for library in MANIFEST for name, digest in library["files"].items()}
    there = {path.name: path for path in VENDOR.iterdir() if path.name != "manifest.json"}
    assert named.keys() == there.keys()
    for name, digest in named.items():
        assert hashlib.sha256(there[name].read_bytes()).hexdigest() == digest, name


def test_vendored_libraries_name_version_and_licence() -> None:
    for library in MANIFEST:
        assert re.fullmatch(r"\d+\.\d+\.\d+", library["version"])
        assert library["version"] in library["from"]
        (licence,) = [name for name in library["files"] if "LICENSE" in name]
        assert library["licence"] in (VENDOR / licence).read_text()


def test_the_vendored_client_is_the_one_the_hub_is_tested_with() -> None:
    lock = json.loads((Path(__file__).parents[1] / "conformance/package-lock.json").read_text())
    (centrifuge,) = [library for library in MANIFEST if library["name"] == "centrifuge"]
    assert lock["packages"]["node_modules/centrifuge"]["version"] == centrifuge["version"]


def test_the_page_has_nothing_inline_and_loads_from_the_hub_alone() -> None:
    page = Tags((WEB / "index.html").read_text())
    assert page.inline == ""
    for tag, attributes in page.found:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (
            tag,
            attributes,
        )
        for name in ("src", "href"):
            address = attributes.get(name) or "#"
            assert address[0] == "#" or (address.startswith("/web/") and (WEB / address[5:]).is_file()), (
                address
            )


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_make_no_markup_of_text_and_import_one_another_only(path: Path) -> None:
    text = path.read_text()
    assert MARKUP_FROM_TEXT.search(text) is None
    for module in re.findall(r"^(?:import|export).*?[\"']([^\"']+)[\"'];$", text, re.MULTILINE):
        assert (path.parent / module).is_file(), module
    assert re.findall(r"https?://[\w.]+", text.replace("http://www.w3.org", "")) == []


@pytest.mark.parametrize("path", [path for path in OWN if path.suffix == ".css"], ids=lambda path: path.name)
def test_styles_fetch_nothing(path: Path) -> None:
    assert re.search(r"url\(|@import|image-set", path.read_text()) is None


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_files_of_the_page_are_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 200
