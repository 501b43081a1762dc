"""Webhooks in the place of functions: what the handler table calls, and how all of them begin and end together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Final

from hub import metrics
from hub.egress.client import Egress
from hub.errors import INTERNAL, Disconnect, ReplyError
from hub.plugin import Context
from hub.tasks import Tasks
from hub.webhooks.answers import BadAnswer, take
from hub.webhooks.endpoint import Endpoint, Terms, Unanswered
from hub.webhooks.notices import Notices
from hub.webhooks.questions import Shown, question

NOTIFIED: Final = frozenset({"disconnect", "unsubscribe"})
"""Events of which webhooks are told when they are over, and whose answers nobody reads."""
_FAREWELL_SECONDS: Final = 2.0

Function = Callable[..., Awaitable[Any]]


class Webhooks:
    """All webhooks of a node. Made with the configuration; nothing is sent before a handler is called."""

    def __init__(self, terms: Terms, egress: Egress, shown: Shown) -> None:
        self.node = ""
        """The id of the node, set by the application before the first call."""
        self.shown = shown
        self._terms = terms
        self._egress = egress
        self._tasks = Tasks()
        self._endpoints: dict[str, tuple[Endpoint, Notices]] = {}

    @property
    def signed(self) -> bool:
        """Whether there is a secret to sign with."""
        return self._terms.signer.ready

    @property
    def timeout(self) -> float:
        """Seconds that a call takes at most."""
        return self._terms.timeout

    def handler(self, url: str, event: str) -> tuple[str, Function]:
        """A name for logs, without the URL's query, and what to call; raises ValueError for a URL that is refused."""
        endpoint, notices = self._endpoint(url)
        if event in NOTIFIED:
            return endpoint.target.label, _Told(self, event, notices)
        return endpoint.target.label, _Asked(self, event, endpoint)

    def _endpoint(self, url: str) -> tuple[Endpoint, Notices]:
        if url not in self._endpoints:
            endpoint = Endpoint(self._egress.target(url), self._terms, self._egress)
            self._endpoints[url] = endpoint, Notices(endpoint, self._tasks, self._terms.concurrency)
        return self._endpoints[url]

    async def close(self) -> None:
        """Gives notices a moment to be sent, and ends what is left."""
        await self._tasks.settle(_FAREWELL_SECONDS)
        for _, notices in self._endpoints.values():
            notices.give_up()
        await self._tasks.cancel()


class _Asked:
    """A webhook whose answer counts."""

    def __init__(self, hooks: Webhooks, event: str, endpoint: Endpoint) -> None:
        self._hooks = hooks
        self._event = event
        self._endpoint = endpoint

    async def __call__(self, ctx: Context[Any], *arguments: Any) -> Any:
        """What it answers, as a function would return it; raises ReplyError and Disconnect, nothing else."""
        body = question(self._event, self._hooks.node, ctx, arguments, self._hooks.shown)
        started = monotonic()
        outcome = "cancelled"
        try:
            answer = await self._answer(body, ctx, arguments)
        except (ReplyError, Disconnect):
            outcome = "refusal"
            raise
        except Unanswered as failure:
            outcome = failure.kind
            self._endpoint.tell(self._event, failure)
            raise ReplyError(INTERNAL) from None
        else:
            outcome = "ok"
            return answer
        finally:
            metrics.WEBHOOKS.labels(self._event, outcome).inc()
            metrics.WEBHOOK_SECONDS.observe(monotonic() - started)

    async def _answer(self, body: bytes, ctx: Context[Any], arguments: tuple[Any, ...]) -> Any:
        raw = await self._endpoint.ask(body, int(ctx.now()))
        try:
            return take(self._event, raw, ctx, arguments)
        except BadAnswer as error:
            raise Unanswered("answer", f"its answer cannot be taken: {error}") from None


class _Told:
    """A webhook that learns what has happened."""

    def __init__(self, hooks: Webhooks, event: str, notices: Notices) -> None:
        self._hooks = hooks
        self._event = event
        self._notices = notices

    async def __call__(self, ctx: Context[Any]) -> None:
        """Returns at once."""
        body = question(self._event, self._hooks.node, ctx, (), self._hooks.shown)
        self._notices.add(self._event, body, int(ctx.now()))
