"""The page of `hub dev` in a real Chromium, used as a visitor uses it."""

from __future__ import annotations

import shlex
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx2
import pytest

from hub.testing import LiveHub
from tests.browser.conftest import CONFIG, OpenAs
from tests.browser.devtools import Browser, Page

HEAVIEST = 200_000
"""Bytes of the first visit, headers included."""
SAID = "[...document.querySelectorAll('.message .said p')].map((one) => one.textContent)"
PENDING = "document.querySelectorAll('.message[data-state]').length"
FIGURE = "document.querySelector('[data-panel={}] .figure').textContent"
BADGE = "document.querySelector('#unread').hidden ? 0 : Number(document.querySelector('#unread').textContent)"
MARKUP = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>"

pytestmark = pytest.mark.timeout(90)


async def say(page: Page, text: str) -> None:
    await page.write("#say", text)
    await page.enter()


async def said(page: Page, *texts: str) -> None:
    """Waits until the room's log holds these messages at its end, each stored."""
    await page.until(SAID, lambda found: tuple(found[-len(texts) :]) == texts)
    await page.until(PENDING, lambda count: count == 0)


async def clean(page: Page) -> None:
    assert page.complaints == []
    assert await page.violations() == []


async def test_the_page_loads_from_the_hub_alone_and_complains_of_nothing(
    hub: LiveHub, open_as: OpenAs
) -> None:
    ann = await open_as("ann")
    await ann.until("document.querySelectorAll('.tile').length", lambda count: count == 10)
    await ann.sees("#outcome", "Cut your own socket")
    await clean(ann)
    assert {urlsplit(url).netloc for url in ann.requests} == {urlsplit(hub.url).netloc}
    assert 100_000 < sum(ann.requests.values()) < HEAVIEST, sum(ann.requests.values())


async def test_what_one_tab_says_the_other_hears(open_as: OpenAs) -> None:
    ann, bob = await open_as("ann"), await open_as("bob")
    await ann.sees(".people", "bob")
    await ann.sees(".note", "bob joined")
    await say(ann, "hello bob")
    await said(bob, "hello bob")
    assert await bob.run("document.querySelector('.message').classList.contains('mine')") is False
    assert await ann.run("document.querySelector('.message').classList.contains('mine')") is True
    await bob.write("#say", "hel")
    await ann.sees(".typing", "bob is typing…")
    await bob.enter()
    await said(ann, "hello bob", "hel")
    await ann.until("document.querySelector('.typing').textContent", lambda text: text == "")
    for page in (ann, bob):
        await clean(page)


async def test_messages_are_still_there_after_a_reload(open_as: OpenAs) -> None:
    ann = await open_as("ann")
    await say(ann, "one")
    await say(ann, "two")
    await said(ann, "one", "two")
    await ann.call("Page.reload")
    await said(ann, "one", "two")
    await ann.sees("[data-day] .said", "one")


async def test_a_long_room_is_read_page_by_page(hub: LiveHub, open_as: OpenAs) -> None:
    with httpx2.Client(base_url=hub.url, headers={"Authorization": f"Bearer {hub.token('bob')}"}) as bob:
        for number in range(60):
            bob.post("/api/chat/rooms/lobby/messages", json={"text": f"n{number}"}).raise_for_status()
    ann = await open_as("ann")
    await ann.until(SAID, lambda found: found == [f"n{number}" for number in range(10, 60)])
    await ann.run("document.querySelector('.scroller').scrollTop = 0")
    await ann.click(".older")
    await ann.until(SAID, lambda found: found == [f"n{number}" for number in range(60)])
    assert await ann.run("document.querySelector('.older').checkVisibility()") is False


async def test_rooms_are_created_and_count_what_is_unread(open_as: OpenAs) -> None:
    ann, bob = await open_as("ann"), await open_as("bob")
    for page in (ann, bob):
        await page.write(".new-room input", "den")
        await page.enter()
        await page.sees("#chat-topic", "chat:den")
    await ann.click(".rooms li:first-child button")
    await ann.sees("#chat-topic", "chat:lobby")
    await say(bob, "in the den")
    await ann.sees(".rooms li:last-child .badge", "1")
    await ann.click(".rooms li:last-child button")
    await said(ann, "in the den")
    assert await ann.text(".rooms .badge") == ""
    await clean(bob)


async def test_what_users_write_is_shown_as_text_wherever_it_is_shown(hub: LiveHub, browser: Browser) -> None:
    eve = await browser.open(f"{hub.url}/?user={quote(MARKUP)}")
    await eve.sees("#pill", "live")
    await eve.sees(".people", f"{MARKUP} (you)")
    await say(eve, MARKUP)
    await said(eve, MARKUP)
    headers = {"X-API-Key": hub.api_key}
    notification = {"user": MARKUP, "title": MARKUP, "body": MARKUP, "tags": [MARKUP[:40]], "priority": 5}
    httpx2.post(f"{hub.url}/api/notifications", headers=headers, json=notification).raise_for_status()
    await eve.sees(".toast", MARKUP)
    httpx2.post(f"{hub.url}/api/topics/lobby", content=MARKUP).raise_for_status()
    await eve.sees(".tail", MARKUP)
    await eve.click("#bell")
    await eve.sees(".notifications", MARKUP)
    assert await eve.run("window.hacked ?? null") is None
    assert (
        await eve.run("document.querySelectorAll('main img, main script, .inbox img, .toasts img').length")
        == 0
    )
    await clean(eve)


async def test_the_dashboard_moves(open_as: OpenAs) -> None:
    ann = await open_as("ann")
    await ann.sees("#fresh", "updated")
    await ann.until(FIGURE.format("uptime"), lambda found: found != "")
    before = await ann.run(FIGURE.format("uptime"))
    await ann.until(FIGURE.format("uptime"), lambda found: found != before, within=5)
    await ann.until(FIGURE.format("clients"), lambda found: found == "1", within=5)
    await open_as("bob")
    await ann.until(FIGURE.format("clients"), lambda found: found == "2", within=5)
    line = await ann.run("document.querySelector('[data-panel=cpu] .stroke').getAttribute('d')")
    assert line.startswith("M")
    assert line.count("L") >= 2


async def test_a_notification_rings_and_reading_it_stops_the_bell_on_every_device(open_as: OpenAs) -> None:
    here, there = await open_as("ann"), await open_as("ann")
    for count in (1, 2, 3):
        await here.click("#notify")
        await here.until(BADGE, lambda found, count=count: found == count)
    await there.until(BADGE, lambda found: found == 3)
    assert await here.run("document.querySelectorAll('.toast').length") == 3
    await here.click("#bell")
    await here.click(".notifications li:last-child button")
    for page in (here, there):
        await page.until(BADGE, lambda found: found == 2)
    await here.click("#read-all")
    for page in (here, there):
        await page.until(BADGE, lambda found: found == 0)
    await there.call("Page.reload")
    await there.sees("#pill", "live")
    await there.until("document.querySelectorAll('.notifications li').length", lambda count: count == 3)
    assert await there.run(BADGE) == 0
    await clean(here)


async def test_a_dropped_connection_comes_back_with_what_it_missed(open_as: OpenAs) -> None:
    ann = await open_as("ann")
    await say(ann, "before")
    await said(ann, "before")
    await ann.run("import('/web/js/main.js').then((page) => (window.hub = page.connection, null))")
    await ann.until("hub.client._client", bool)
    before = await ann.run("hub.client._client")
    await ann.click("#drop")
    await ann.sees("#pill", "cut")
    await ann.sees("#outcome", "recovered 3 publications, in order, none twice")
    assert await ann.text("#pill-text") == "live · recovered 3"
    assert await ann.run("hub.client._client") != before
    away = [f"{number} of 3, said while you were away" for number in (1, 2, 3)]
    assert await ann.run(SAID) == ["before", *away]
    await ann.sees(".note[data-kind=good]", "recovered 3 publications")
    await clean(ann)


async def test_a_connection_that_the_network_cuts_comes_back_too(hub: LiveHub, open_as: OpenAs) -> None:
    ann = await open_as("ann")
    hub.cut_all()
    await ann.sees("#outcome", "recovered 0 publications")
    await say(ann, "still here")
    await said(ann, "still here")


async def test_after_a_restart_the_page_says_what_may_be_missing_and_reads_it(
    browser: Browser, tmp_path: Path
) -> None:
    config = {**CONFIG, "database": {"url": f"sqlite:///{tmp_path / 'hub.db'}"}}
    with LiveHub(config, dev_page=True) as hub:
        ann = await browser.open(f"{hub.url}/?user=ann")
        await ann.sees(".people", "ann (you)")
        await say(ann, "before")
        await said(ann, "before")
    await ann.sees("#pill", "reconnecting")
    with LiveHub(config, port=hub.port, dev_page=True) as again:
        headers = {"Authorization": f"Bearer {again.token('bob')}"}
        room = f"{again.url}/api/chat/rooms/lobby/messages"
        httpx2.post(room, headers=headers, json={"text": "meanwhile"}).raise_for_status()
        await ann.sees("#pill", "not recovered", within=20)
        assert "chat:lobby" in await ann.text("#outcome")
        await said(ann, "before", "meanwhile")


async def test_a_message_that_failed_says_so_and_goes_through_at_the_second_attempt(open_as: OpenAs) -> None:
    ann, bob = await open_as("ann"), await open_as("bob")
    await ann.run("import('/web/js/main.js').then((page) => (window.hub = page.connection, null))")
    await ann.run("window.mend = hub.cut(); null")
    await ann.until("hub.client.state", lambda state: state == "connecting")
    await say(ann, "can you hear me?")
    await ann.until(PENDING, lambda count: count == 1)
    await ann.sees(".failure", "Not sent: timeout")
    await ann.sees("#fresh", "no update for")  # and the dashboard does not pretend
    assert await ann.run("getComputedStyle(document.querySelector('.tile')).opacity") == "0.45"
    await ann.run("mend()")
    await ann.sees("#pill", "live")
    await ann.click(".retry")
    await said(bob, "can you hear me?")
    await said(ann, "can you hear me?")
    assert await ann.text(".failure") == ""


async def test_a_message_that_the_hub_refuses_says_why(open_as: OpenAs) -> None:
    ann = await open_as("ann")
    await say(ann, "x" * 4_001)
    await ann.sees(".failure", "has 4001 characters, 4000 at most")


async def test_another_user_is_one_field_away(open_as: OpenAs) -> None:
    ann = await open_as("ann")
    await ann.click("#user")
    await ann.run("document.querySelector('#user').select()")
    await ann.call("Input.insertText", text="zoe")
    await ann.enter()
    await ann.sees(".people", "zoe (you)")
    assert await ann.run("document.querySelector('#second').href") != await ann.run("location.href")


async def test_tabs_that_name_nobody_are_different_users(hub: LiveHub, browser: Browser) -> None:
    pages = [await browser.open(f"{hub.url}/") for _ in range(2)]
    names = [await page.until("document.querySelector('#user').value") for page in pages]
    assert len(set(names)) == 2
    await pages[0].call("Page.reload")
    await pages[0].sees(".people", f"{names[0]} (you)")


async def test_the_lines_to_copy_do_what_they_say(open_as: OpenAs) -> None:
    ann = await open_as("ann")
    await ann.sees(".lines", "Publish")
    lines = await ann.run(
        "Object.fromEntries([...document.querySelectorAll('.line-to-copy')].map((one) => "
        "[one.querySelector('.what').textContent, one.querySelector('code').textContent]))"
    )
    await ann.run(
        f"window.heard = []; console.log = (text) => heard.push(text); window.socket = {lines['In a page']}"
    )
    _, flag, body, address = shlex.split(lines["Publish"])
    assert flag == "-d"
    _, flag, stream = shlex.split(lines["Listen"])
    assert flag == "-N"
    async with httpx2.AsyncClient() as client, client.stream("GET", stream) as events:
        assert (await client.post(address, content=body)).status_code == 200
        await ann.sees(".tail", body)
        async for line in events.aiter_lines():
            if line.startswith("data:"):
                assert line == f"data: {body}"
                break
    await ann.until("heard", lambda heard: heard == [body])


async def test_keys_are_enough(open_as: OpenAs) -> None:
    ann = await open_as("ann")
    await ann.press("Tab", 9)
    assert await ann.run("document.activeElement.textContent") == "Skip to the chat"
    await ann.write("#say", "two")
    await ann.press("Enter", 13, text="\r", shift=True)
    await ann.call("Input.insertText", text="lines")
    await ann.enter()
    await said(ann, "two\nlines")
    await ann.run("document.querySelector('#bell').focus()")
    await ann.enter()
    await ann.until("document.querySelector('#inbox').matches(':popover-open')")
    await ann.press("Escape", 27)
    await ann.until("!document.querySelector('#inbox').matches(':popover-open')")


@pytest.mark.parametrize("user", ["", "a\u202eb", "x" * 101])
async def test_what_cannot_be_a_user_is_said_once_and_in_words(
    hub: LiveHub, browser: Browser, user: str
) -> None:
    page = await browser.open(f"{hub.url}/?user={quote(user)}")
    if user:
        await page.sees("#trouble", "bad request")
    else:
        await page.sees("#pill", "live")


async def ask(page: Page, action: str, topic: str, **fields: str) -> None:
    """Fills the form of "Who may what" in as a visitor does, and sends it off."""
    for field, text in {"who": "", "roles": "", "token": "", **fields, "topic": topic}.items():
        await page.click(f"#may-{field}")
        await page.run(f"document.querySelector('#may-{field}').select()")
        await (page.call("Input.insertText", text=text) if text else page.press("Backspace", 8))
    await page.run(f"document.querySelector('#may-do').value = '{action}'; null")
    await page.click("#explain button")


async def test_the_page_says_who_may_what_and_by_which_rule(browser: Browser) -> None:
    config = {
        **CONFIG,
        "topics": {
            **CONFIG["topics"],
            "ops:{user}": {"allow": {"subscribe": ["role:boss", "user:{user}", "token"]}},
        },
    }
    with LiveHub(config, dev_page=True) as hub:
        page = await browser.open(f"{hub.url}/?user=ann")
        await page.sees("#pill", "live")
        await ask(page, "subscribe", "ops:ann", who="ann")
        await page.sees(".verdict[data-allowed=yes]", "allowed: the rule `user:{user}` admits: {user} is ann")
        assert "ops:{user}" in await page.text(".answer dl")
        await ask(page, "subscribe", "ops:ann", who="bob")
        await page.sees(".verdict[data-allowed=no]", "refused: none of the rules for subscribe admits (103)")
        assert "{user} is ann, and the user is bob" in await page.text(".answer")
        await ask(page, "subscribe", "ops:ann", who="bob", roles="cook, boss")
        await page.sees(".verdict[data-allowed=yes]", "the rule `role:boss` admits")
        await ask(page, "subscribe", "ops:ann", token=hub.token("eve", topics=["ops:*"]))
        await page.sees(".verdict[data-allowed=yes]", "`ops:*` in the token's `topics` covers it")
        await ask(page, "publish", "ops:ann", token="nonsense")
        await page.sees(".verdict[data-allowed=no]", "the token is refused")
        await ask(page, "subscribe", "ops:ann")
        await page.sees(".answer", "anonymous")
        await ask(page, "history", MARKUP, who=MARKUP[:90])
        await page.sees(".verdict", "allowed")
        assert await page.run("window.hacked") is None
        await clean(page)
        await ask(page, "history", "a\u202eb", who="ann")
        await page.sees(".verdict[data-allowed=no]", "must not hold U+202E")
