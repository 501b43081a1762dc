"""The files of the page: those of one folder, and none outside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.types import Message, Scope

from hub.api.pages import HEADERS, PageFiles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("not for you")
    inside = tmp_path / "web"
    inside.mkdir()
    (inside / "page.js").write_text("1")
    (inside / "link.js").symlink_to(tmp_path / "secret.txt")
    return inside


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "/../secret.txt",
        "a/../../secret.txt",
        "..\\secret.txt",
        "....//secret.txt",
        "link.js",
        "\0",
        ".",
    ],
)
async def test_nothing_outside_the_folder_is_given(folder: Path, path: str) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    # Straight to the application: clients and servers tidy paths up on the way, and an attacker does not.
    scope: Scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": f"/{path}",
        "raw_path": b"",
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "server": ("hub", 80),
        "client": ("9.9.9.9", 1),
        "scheme": "http",
    }
    app = Starlette(routes=[Mount("/", PageFiles(folder))])
    await app(scope, receive, send)
    assert sent[0]["status"] == 404
    assert b"not for you" not in b"".join(message.get("body", b"") for message in sent)


def test_what_is_there_comes_with_the_policy(folder: Path) -> None:
    answer = TestClient(Starlette(routes=[Mount("/", PageFiles(folder))])).get("/page.js")
    assert answer.text == "1"
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
