"""How the page looks: light and dark, narrow, calm, and to those who cannot see it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from hub.testing import LiveHub
from tests.browser.conftest import ANYTHING_GOES, CONFIG, OpenAs
from tests.browser.devtools import Browser, Page
from tests.browser.test_page import ask, clean, said, say
from tests.services.node import Node

HERE = Path(__file__).parent
COLOURS = (
    "[getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.body).color]"
)
CHECK = """
axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })
  .then(({ violations }) => violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target).join(", ")}`))
"""

pytestmark = pytest.mark.timeout(90)


async def brightness(page: Page) -> tuple[float, float]:
    """How bright ground and text are, from 0 to 255."""
    ground, text = (
        [int(part) for part in re.findall(r"\d+", colour)[:3]] for colour in await page.run(COLOURS)
    )
    return sum(ground) / 3, sum(text) / 3


async def with_something_on_it(ann: Page) -> None:
    """Everything that can be on the page: messages of all kinds, an open inbox, a toast."""
    await say(ann, "hello")
    await said(ann, "hello")
    await say(ann, "x" * 4_001)
    await ann.sees(".failure", "Not sent")
    await ann.click("#drop")
    await ann.sees("#outcome", "recovered 3")
    await ask(ann, "subscribe", "chat:lobby", who="ann")
    await ann.sees(".verdict", "allowed")
    await ann.click("#notify")
    await ann.sees(".notifications", "Mark read")
    await ann.until("document.querySelectorAll('.tile .stroke[d^=M]').length", lambda count: count >= 8)


async def test_the_page_is_light_or_dark_as_its_visitor_wishes(open_as: OpenAs, tmp_path: Path) -> None:
    ann = await open_as("ann")
    ground, text = await brightness(ann)
    assert ground - text > 180
    light = await ann.picture(tmp_path / "light.png")
    await ann.looks(colours="dark")
    ground, text = await brightness(ann)
    assert text - ground > 180
    assert await ann.picture(tmp_path / "dark.png") != light
    await ann.click("#theme")
    ground, text = await brightness(ann)
    assert ground > text
    assert "light" in await ann.run("document.querySelector('#theme').ariaLabel")
    await ann.call("Page.reload")
    await ann.sees("#pill", "live")
    ground, text = await brightness(ann)
    assert ground > text


@pytest.mark.parametrize("colours", ["light", "dark"])
async def test_the_page_is_accessible(node: Node, open_as: OpenAs, colours: str) -> None:
    axe = (node.install(HERE) / "axe-core/axe.min.js").read_text()
    ann = await open_as("ann")
    await ann.looks(colours=colours, calm=True)
    await with_something_on_it(ann)
    await ann.run(f"{axe};null")
    assert await ann.run(CHECK) == []
    await ann.click("#bell")
    await ann.until("document.querySelector('#inbox').matches(':popover-open')")
    assert await ann.run(CHECK) == []


async def test_live_regions_are_named_as_such(open_as: OpenAs) -> None:
    ann = await open_as("ann")
    await ann.until("document.querySelector('.scroller').getAttribute('role')", lambda role: role == "log")
    roles = "['#pill', '.tail', '#trouble'].map((one) => document.querySelector(one).getAttribute('role'))"
    assert await ann.run(roles) == ["status", "log", "alert"]
    await ann.click("#notify")
    await ann.until(
        "document.querySelector('.toast')?.getAttribute('role')", lambda role: role in {"alert", "status"}
    )


async def test_nothing_runs_off_the_page_however_narrow_it_is(open_as: OpenAs) -> None:
    ann = await open_as("ann")
    await with_something_on_it(ann)
    for width in (360, 700, 1_000, 1_600):
        await ann.looks(width=width)
        await ann.until(
            "document.documentElement.clientWidth", lambda seen, width=width: width - 20 <= seen <= width
        )
        assert await ann.run("document.documentElement.scrollWidth") <= width
        assert await ann.run("document.querySelector('#say').checkVisibility()")


async def test_nothing_moves_for_those_who_wish_so(hub: LiveHub, open_as: OpenAs) -> None:
    ann = await open_as("ann")
    moving = "document.getAnimations().filter((one) => one.playState === 'running').length"
    await ann.until(moving, within=6)
    await ann.looks(calm=True)
    await with_something_on_it(ann)
    await ann.until(moving, lambda count: count == 0)
    await ann.run("window.most = 0; setInterval(() => (most = Math.max(most, " + moving + ")), 50); null")
    uptime = "document.querySelector('[data-panel=uptime] .figure').textContent"
    before = await ann.run(uptime)
    await ann.until(uptime, lambda found: found != before, within=5)
    assert await ann.run("most") == 0


async def test_a_plugin_that_is_off_says_how_to_switch_it_on(browser: Browser) -> None:
    with LiveHub({"topics": CONFIG["topics"]}, dev_page=True) as bare:
        page = await browser.open(f"{bare.url}/?user=ann")
        await page.sees("#pill", "live")
        for panel, plugin in (("chat", "chat"), ("dashboard", "dashboards"), ("inbox", "notifications")):
            assert f"The plugin “{plugin}” is off" in await page.text(f"#{panel} .instead")
            assert await page.text(f"#{panel} pre") == f"plugins:\n  {plugin}: {{}}"
        assert await page.run("document.querySelector('#notify').disabled")
        await page.click("#drop")  # which then publishes on the topic for first steps
        await page.sees("#outcome", "recovered 3 publications")
        await page.sees(".tail", "3 of 3, said while you were away")
        await clean(page)


async def test_where_topics_are_closed_the_lines_carry_a_token(browser: Browser) -> None:
    closed: dict[str, Any] = {
        "auth": {"anonymous": False},
        "topics": {
            "{topic:rest}": {
                **ANYTHING_GOES,
                "allow": {"subscribe": "authenticated", "publish": "authenticated"},
            }
        },
    }
    with LiveHub(closed, dev_page=True) as hub:
        page = await browser.open(f"{hub.url}/?user=ann")
        await page.sees("#pill", "live")
        await page.sees(".lines", 'Authorization: Bearer $TOKEN" -d')
        assert "TOKEN=ey" in await page.text(".lines")
        await clean(page)


async def test_what_the_rules_forbid_is_said_in_its_place(browser: Browser) -> None:
    nobody = {"allow": {"subscribe": "nobody", "publish": "nobody"}}
    config = {
        "topics": {"lobby": nobody, "chat:{room}": nobody, "notifications:{user:rest}": nobody},
        "plugins": CONFIG["plugins"],
    }
    with LiveHub(config, dev_page=True) as hub:
        page = await browser.open(f"{hub.url}/?user=ann")
        await page.sees("#pill", "live")
        await page.sees(".tail", "The hub does not let you listen to lobby")
        await page.sees(".note[data-kind=bad]", "The hub does not let you in")
        await page.sees(".tile .figure", "")
        assert await page.text("#trouble") == ""


async def test_a_hub_that_signs_no_tokens_says_so(browser: Browser, tmp_path: Path) -> None:
    public = rsa.generate_private_key(65_537, 2_048).public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()
    config = tmp_path / "hub.yaml"
    jwt = {"public_key": pem, "algorithms": ["RS256"]}
    config.write_text(json.dumps({"version": 1, "auth": {"jwt": jwt}, "database": {"url": "sqlite://"}}))
    with LiveHub(config, dev_page=True) as hub:
        page = await browser.open(f"{hub.url}/?user=ann")
        await page.sees("#trouble", "this hub signs no tokens: it has a public key and no secret")
