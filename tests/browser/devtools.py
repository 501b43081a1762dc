"""A real Chromium, driven over its DevTools protocol: pages are opened, clicked, typed into and looked at."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import httpx2
from websockets.asyncio.client import ClientConnection, connect

_LARGEST = 64 * 2**20
_REPORT_VIOLATIONS = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) =>
  violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""
# The middle of the part of an element that can be seen, once it is there and stands still.
_MIDDLE = """
(async () => {
  const find = () => document.querySelector(%s);
  for (let tries = 0; tries < 300 && !(find()?.checkVisibility() && !find().disabled); tries++)
    await new Promise((done) => setTimeout(done, 20));
  const node = find();
  if (!node) throw new Error("there is no " + %s);
  const middle = () => {
    find()?.scrollIntoView({ block: "nearest", behavior: "instant" });
    const { x, y, width, height } = (find() ?? node).getBoundingClientRect();
    return [x + width / 2, y + height / 2];
  };
  let at = middle();
  for (let tries = 0; tries < 100; tries++) { // until it lies still and nothing lies over it
    await new Promise((done) => setTimeout(done, 20));
    const [before, hit] = [at, document.elementFromPoint(...(at = middle()))];
    if (`${before}` === `${at}` && hit && find()?.contains(hit)) break;
  }
  return at;
})()
"""


class PageError(Exception):
    """A script on the page threw."""


class Page:
    """One page of the browser. `complaints` are errors and warnings of its console, and what threw."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.complaints: list[str] = []
        self.requests: dict[str, int] = {}
        self._urls: dict[str, str] = {}

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol on this page."""
        return await self._browser.call(method, session=self._session, **params)

    async def run(self, script: str) -> Any:
        """What an expression of JavaScript comes to, awaited; raises PageError."""
        params = {"awaitPromise": True, "returnByValue": True, "userGesture": True}
        answer = await self.call("Runtime.evaluate", expression=script, **params)
        if "exceptionDetails" in answer:
            raise PageError(answer["exceptionDetails"]["exception"].get("description", answer))
        return answer["result"].get("value")

    async def until(self, script: str, is_so: Callable[[Any], bool] = bool, within: float = 10) -> Any:
        """The expression's value once it is so; fails with the last value when that never comes."""
        deadline = time.monotonic() + within
        while not is_so(value := await self.run(script)):
            assert time.monotonic() < deadline, f"{script} is still {value!r} after {within} s"
            await asyncio.sleep(0.05)
        return value

    async def text(self, selector: str) -> str:
        """The text of the first element that a selector finds, "" without one."""
        return str(await self.run(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''"))

    async def sees(self, selector: str, text: str, within: float = 10) -> str:
        """The text of the first element once it holds another text."""
        script = f"document.querySelector({json.dumps(selector)})?.textContent ?? ''"
        return str(await self.until(script, lambda found: text in found, within))

    async def click(self, selector: str) -> None:
        """Clicks where a visitor would."""
        x, y = await self.run(_MIDDLE % (json.dumps(selector), json.dumps(selector)))
        for kind in ("mousePressed", "mouseReleased"):
            params = {"x": x, "y": y, "button": "left", "clickCount": 1}
            await self.call("Input.dispatchMouseEvent", type=kind, **params)

    async def write(self, selector: str, text: str) -> None:
        """Types a text into a field."""
        await self.click(selector)
        await self.call("Input.insertText", text=text)

    async def press(self, key: str, code: int, *, text: str = "", shift: bool = False) -> None:
        """Presses and releases a key; `code` is the browser's number of it."""
        params = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        await self.call(
            "Input.dispatchKeyEvent", type="keyDown", **params, **({"text": text} if text else {})
        )
        await self.call("Input.dispatchKeyEvent", type="keyUp", **params)

    async def enter(self) -> None:
        """Presses Enter."""
        await self.press("Enter", 13, text="\r")

    async def violations(self) -> list[str]:
        """What the content security policy forbade since the page was opened."""
        found: list[str] = await self.run("window.violations")
        return found

    async def looks(
        self, *, colours: str = "light", width: int = 1280, height: int = 860, calm: bool = False
    ) -> None:
        """Gives the page a size, and its visitor a wish for colours and for little motion."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self.call("Emulation.setDeviceMetricsOverride", **size)
        wishes = {
            "prefers-color-scheme": colours,
            "prefers-reduced-motion": "reduce" if calm else "no-preference",
        }
        features = [{"name": name, "value": value} for name, value in wishes.items()]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def picture(self, path: Path, *, whole: bool = False) -> bytes:
        """A PNG of what is seen, kept at `path`."""
        shot = await self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        image = base64.b64decode(shot["data"])
        await asyncio.to_thread(path.write_bytes, image)
        return image

    async def begin(self, url: str) -> None:
        """Opens the address and waits until it has loaded."""
        for domain in ("Runtime", "Log", "Page", "Network"):
            await self.call(f"{domain}.enable")
        await self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        await self.call("Page.addScriptToEvaluateOnNewDocument", source=_REPORT_VIOLATIONS)
        await self.looks()
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState", lambda state: state == "complete")

    def hear(self, method: str, params: dict[str, Any]) -> None:
        """Notes an event of the page."""
        if method == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning", "assert"}:
            self.complaints.append(" ".join(str(one.get("value", one)) for one in params["args"]))
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self._urls[params["requestId"]] = params["request"]["url"]
        elif method == "Network.loadingFinished" and params["requestId"] in self._urls:
            self.requests[self._urls[params["requestId"]]] = int(params["encodedDataLength"])


class Browser:
    """A line to a running Chromium. Its pages share nothing with those of another."""

    def __init__(self, line: ClientConnection) -> None:
        self._line = line
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}
        self._context = ""

    @classmethod
    @asynccontextmanager
    async def at(cls, devtools_url: str) -> AsyncIterator[Self]:
        """The browser at this address, with a profile of its own for as long as it is used."""
        address = httpx2.get(f"{devtools_url}/json/version").json()["webSocketDebuggerUrl"]
        async with connect(address, max_size=_LARGEST, ping_interval=None) as line:
            browser = cls(line)
            listening = asyncio.create_task(browser._listen())
            browser._context = (await browser.call("Target.createBrowserContext"))["browserContextId"]
            try:
                yield browser
            finally:
                await browser.call("Target.disposeBrowserContext", browserContextId=browser._context)
                listening.cancel()

    async def call(self, method: str, *, session: str = "", **params: Any) -> dict[str, Any]:
        """A command of the protocol; raises PageError when the browser refuses it."""
        number = next(self._ids)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        command = {"id": number, "method": method, "params": params}
        await self._line.send(json.dumps({**command, "sessionId": session} if session else command))
        answer = await asyncio.wait_for(waiting, 20)
        if "error" in answer:
            raise PageError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def open(self, url: str) -> Page:
        """A new page in a window of its own."""
        new: dict[str, Any] = {"url": "about:blank", "browserContextId": self._context, "newWindow": True}
        target = (await self.call("Target.createTarget", **new))["targetId"]
        session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = self._pages[session] = Page(self, session)
        await page.begin(url)
        return page

    async def _listen(self) -> None:
        async for text in self._line:
            message = json.loads(text)
            waiting = self._waiting.pop(message.get("id", 0), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)
            elif message.get("sessionId") in self._pages and "method" in message:
                self._pages[message["sessionId"]].hear(message["method"], message["params"])
