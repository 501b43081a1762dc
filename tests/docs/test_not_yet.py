"""What the README says is not there yet is refused in the way it says; a row that comes true has to go."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from hub.testing import LiveHub
from tests.docs.markdown import ROOT

PROTOBUF_CONNECT = b"\x05\x08\x01\x22\x01\x00"


@pytest.fixture(scope="module")
def hub() -> Iterator[LiveHub]:
    topics = {"lobby": {"allow": {"subscribe": "anyone", "publish": "anyone"}}}
    with LiveHub({"topics": topics}, dev_page=True) as live:
        yield live


def answered(*paths: str) -> Callable[[LiveHub], str]:
    def statuses(hub: LiveHub) -> str:
        found = {httpx2.get(f"{hub.url}{path}").status_code for path in paths}
        found |= {httpx2.post(f"{hub.url}{path}", content="{}").status_code for path in paths}
        return ", ".join(map(str, sorted(found)))

    return statuses


def ended(*frames: str | bytes, protocol: str | None = None) -> Callable[[LiveHub], str]:
    """How the last frame is answered: the number of an error or of a close."""

    def number(hub: LiveHub) -> str:
        url = f"{hub.ws_url}/connection/websocket"
        with connect(url, subprotocols=[protocol] if protocol else None) as socket:  # type: ignore[list-item]
            told: str | bytes = ""
            try:
                for frame in frames:
                    socket.send(frame)
                    told = socket.recv(timeout=5)
            except ConnectionClosed as closed:
                return str(closed.rcvd.code) if closed.rcvd else "lost"
        found = re.search(r'"code":(\d+)', str(told))
        return found[1] if found else str(told)

    return number


CONNECT = '{"id":1,"connect":{}}'
MAP = '{"id":2,"subscribe":{"channel":"lobby","type":1}}'
WAYS = ("sse", "http_stream", "uni_sse", "uni_http_stream")
NOT_YET: dict[str, list[tuple[Callable[[LiveHub], str], str]]] = {
    "over SSE and HTTP streams": [
        (answered("/emulation", *(f"/connection/{way}" for way in WAYS)), "404"),
    ],
    "protobuf": [(ended(PROTOBUF_CONNECT, protocol="centrifuge-protobuf"), "3501")],
    "map subscriptions": [(ended(CONNECT, MAP), "107")],
    "admin page": [(answered("/admin/", "/asyncapi.json"), "404")],
}


def rows() -> list[str]:
    section = (ROOT / "README.md").read_text().partition("## Not yet\n")[2].partition("\n## ")[0]
    return [row for row in re.findall(r"(?m)^\| (.+) \|$", section) if row.strip("| ")][1:]


@pytest.mark.parametrize("what", NOT_YET)
def test_what_is_not_there_yet_is_refused_as_the_readme_says(what: str, hub: LiveHub) -> None:
    (row,) = [row for row in rows() if what in row]
    for ask, answer in NOT_YET[what]:
        assert ask(hub) == answer, f"the README's row on {what!r} no longer holds"
        assert answer in row


def test_no_row_goes_untested() -> None:
    assert [row for row in rows() if not any(what in row for what in NOT_YET)] == []
