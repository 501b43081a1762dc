"""The composition root: builds every part from a blueprint, wires them, gives them their order of start and stop."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount, WebSocketRoute

from hub import __version__, metrics
from hub.admission import Addresses, Admission
from hub.api.dev import DevDesk, Signer, dev_routes
from hub.api.front import FrontedApp, api_routes
from hub.api.health import Check, Figures, health_routes
from hub.api.openapi import Offer, openapi_route
from hub.api.pages import PageFiles, dev_page_routes
from hub.api.plugin_routes import PluginSeat, mount
from hub.api.server import ApiMethod, server_api
from hub.api.tickets import ticket_routes
from hub.api.topics import topic_routes
from hub.attendance import Attendance
from hub.auth.api_keys import ApiKeys
from hub.auth.revocations import Revocations
from hub.broker.broadcast import Bridge
from hub.broker.factory import make_broker
from hub.cluster import Cluster
from hub.errors import SHUTDOWN, TopicError
from hub.handlers import Call, HandlerTable
from hub.leases.base import TERM_SECONDS, LeaseStore
from hub.leases.factory import make_lease_store
from hub.leases.held import steady
from hub.leases.keeper import Leases
from hub.loader.blueprint import Blueprint
from hub.model import HistoryOptions
from hub.node import Limits, Node
from hub.outbox import Tick
from hub.presence.amends import Amends
from hub.presence.factory import make_presence
from hub.presence.keeper import PresenceKeeper
from hub.revoking import Revoking
from hub.router import Router
from hub.schedules import Scheduler
from hub.services import NodeServices
from hub.settings.model import Settings
from hub.settings.verification import make_verifier
from hub.store.engine import Database
from hub.store.migrator import Migrator
from hub.store.owners import Owner, core
from hub.store.revocations import RevocationTable
from hub.tasks import Tasks
from hub.topics import check_topic
from hub.transports.admitting import Admit
from hub.transports.handshake import upgrade_routes
from hub.transports.one_way_socket import OneWaySocket
from hub.transports.requests import CountRequests
from hub.transports.sse import sse_routes
from hub.transports.topic_socket import TopicSocket
from hub.transports.websocket import ClientSocket
from hub.wheel import TimerWheel

_log = logging.getLogger("hub.app")
LINGER_SECONDS = 2.0
"""How long a topic without subscribers stays subscribed at the broker, for those who reload a page."""


class Hub:
    """All parts of one running node. `start` and `stop` are called by the application's lifespan."""

    def __init__(
        self,
        blueprint: Blueprint,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        migrate: bool = False,
    ) -> None:
        """`clock` gives seconds since 1970; `migrate` brings the database up to date, else see `Migrator.open`."""
        settings = blueprint.settings
        self.blueprint = blueprint
        self.tasks = Tasks()
        self._upkeep = Tasks()
        self.tick = Tick(lambda call: asyncio.get_running_loop().call_soon(call))
        self.wheel = TimerWheel(monotonic)
        self.database = Database(settings.database.url)
        self.migrator = Migrator(self.database, owners(blueprint))
        self.broker = make_broker(settings.broker.url, prefix=settings.broker.prefix)
        self.broker.history_of = partial(_history_of, blueprint.table)
        node_id = str(uuid.uuid4())
        self.presence = Amends(
            make_presence(settings.broker.url[0], prefix=settings.broker.prefix, node=node_id)
        )
        self.router = Router(
            blueprint.table,
            self.tick,
            self.tasks,
            recovery_limit=settings.client.recovery_page,
            recovery_bytes=settings.client.queue_bytes // 2,
        )
        self.attendance = Attendance(
            self.router.announce,
            self.router.subscribers,
            table=blueprint.table,
            tick=self.tick,
            wheel=self.wheel,
            ready=lambda: self.bridge.ready,
            mended=self._mended,
        )
        self.cluster = Cluster(node_id, self._control, self.tasks, monotonic)
        self.revoking = self._revoking(settings, clock)
        self.node = Node(
            router=self.router,
            attendance=self.attendance,
            presence=self.presence,
            verifier=make_verifier(
                settings.auth, clock=clock, monotonic=monotonic, longest_life=settings.limits.token_life
            ),
            anonymous=settings.auth.anonymous,
            limits=_limits(settings),
            cluster=self.cluster,
            revoking=self.revoking,
            tasks=self.tasks,
            wheel=self.wheel,
            clock=clock,
        )
        self.published = self.node.verifier.ring.published if self.node.verifier else None
        self.admission = Admission(
            connections=settings.limits.connections,
            per_address=settings.limits.connections_per_ip,
            handshakes=settings.limits.handshakes,
            addresses=Addresses(settings.server.trusted_proxies),
            refusals=self.node.refusals,
            clock=monotonic,
        )
        self.bridge = Bridge(self.broker, self.router, node=self.node.id, linger=LINGER_SECONDS)
        self.router.attach(self.bridge)
        self.presence_keeper = PresenceKeeper(
            self.presence,
            clients=self.node.present,
            left=self.attendance.left_many,
            joined=self.attendance.joined_many,
            mended=self._mended,
            clock=monotonic,
        )
        self.leases = Leases(_lease_store(settings, node_id))
        blueprint.table.services = NodeServices(self.node, self.database, self.leases, blueprint.egress)
        blueprint.webhooks.node = node_id
        self.checks: dict[str, Check] = {
            "broker": lambda: self.bridge.ready,
            "database": self.check_database,
            "accepting": lambda: not self.node.draining,
        }
        if (published := self.published) is not None:
            self.checks["keys"] = lambda: published.usable
        self.figures: Figures = _own_figures
        """The metrics as text: those of this process, unless whoever runs several has others."""
        self.scheduler = Scheduler(blueprint.table, self.tasks, self.router.subscribers, self.leases)
        self._migrate = migrate
        self._started = AsyncExitStack()

    async def start(self) -> None:
        """Database, broker, presence, clock, leases, plugins, schedules: in this order.

        Raises HubError when one refuses; those before it have then been stopped.
        """
        metrics.BUILD.labels(__version__).set(1)
        metrics.WORKERS.set(1)
        metrics.BROKER_UP.set_function(lambda: float(self.bridge.ready))
        metrics.QUEUED.set_function(lambda: float(self.node.budget.total))
        async with AsyncExitStack() as stack:
            for name, start, stop in self._parts():
                # Pushed first: a part whose start was cut short may have begun something.
                stack.push_async_callback(_quietly, name, stop)
                await start()
            self._started = stack.pop_all()

    async def stop(self) -> None:
        """Everything that `start` began, in the reverse order; whatever one part does, the others are stopped."""
        await self._started.aclose()

    def _parts(self) -> list[tuple[str, _Step, _Step]]:
        """What has to be started and stopped, by name, in the order of start."""
        table = self.blueprint.table
        published = self.published
        return [
            *([("published keys", published.start, published.stop)] if published else ()),
            ("database", self._start_database, self.database.close),
            ("broker", self._start_broker, self.bridge.stop),
            ("presence", self.presence.start, self.presence.stop),
            ("cluster", self._start_cluster, self.cluster.leave),
            ("connections to other servers", _nothing, self.blueprint.egress.close),
            ("webhooks", _nothing, self.blueprint.webhooks.close),
            ("revocations", self.revoking.start, self.revoking.stop),
            ("joins and leaves", _nothing, self.attendance.close),
            ("upkeep of presence", self.presence_keeper.start, self.presence_keeper.stop),
            ("clock", self._start_clock, self._stop_clock),
            ("leases", self.leases.start, self.leases.stop),
            (
                "plugins",
                partial(table.run_all, table.start, Call()),
                partial(table.run_quietly, table.stop, Call()),
            ),
            ("sessions", _nothing, self.drain),
            ("schedules", self._start_schedules, self.scheduler.stop),
            ("work under leases", _nothing, self.leases.leave),
        ]

    async def _start_database(self) -> None:
        if self._migrate:
            await self.migrator.upgrade()
        else:
            await self.migrator.open()
        if len(owners(self.blueprint)) > 1:
            # The first session would otherwise pay for the import of SQLModel.
            await self.database.ping()

    async def _start_broker(self) -> None:
        self.bridge.on_control = self.cluster.receive
        await self.bridge.start()

    async def _start_cluster(self) -> None:
        self.cluster.start(self._upkeep)

    async def _start_clock(self) -> None:
        self.wheel.start()
        self.router.compare(self.wheel)
        self.node.budget.watch(self.wheel)
        self.attendance.watch()

    async def _stop_clock(self) -> None:
        await self._upkeep.cancel()
        await self.tasks.settle(1.0)
        self.wheel.stop()
        await self.tasks.cancel()

    async def _start_schedules(self) -> None:
        self.scheduler.start()

    def _revoking(self, settings: Settings, clock: Callable[[], float]) -> Revoking:
        jwt, limits = settings.auth.jwt, settings.limits
        return Revoking(
            Revocations(limits.revocations, clock),
            RevocationTable(self.database),
            self.cluster,
            clock=clock,
            linked=self.broker.shared,
            mended=self._mended,
            token_life=limits.token_life,
            leeway=jwt.leeway,
        )

    def _mended(self) -> int:
        """How often the connection to the broker was mended."""
        return self.broker.reconnects + self.bridge.rebuilds

    async def _control(self, message: bytes) -> None:
        await self.bridge.control(message)

    async def drain(self) -> None:
        """Sends every client away in small waves over the configured time, with a code that means "come back"."""
        self.node.draining = True
        self.router.sender.close()
        members = list(self.node.sessions)
        if not members:
            return
        seconds = self.blueprint.settings.server.drain
        waves = max(1, min(len(members), int(seconds * 10)))
        for wave in range(waves):
            for member in members[wave::waves]:
                member.end(SHUTDOWN.number, SHUTDOWN.message)
            await asyncio.sleep(seconds / waves if len(members) > 100 else 0)

    async def check_database(self) -> None:
        """Raises StoreError when the database does not answer."""
        await self.database.ping()


_Step = Callable[[], Awaitable[Any]]


async def _nothing() -> None:
    """The start of what needs none."""


async def _own_figures() -> bytes:
    return metrics.exposition()


async def _quietly(name: str, stop: _Step) -> None:
    try:
        await stop()
    except Exception:  # noqa: BLE001 - the other parts must be stopped all the same
        _log.exception("the %s could not be stopped cleanly", name)


def owners(blueprint: Blueprint) -> list[Owner]:
    """Whose tables the database holds: the core's and each enabled plugin's."""
    return [
        core(),
        *(
            Owner(plugin.name, plugin.migrations, requires=tuple(plugin.manifest.requires))
            for plugin in blueprint.plugins
            if plugin.migrations is not None
        ),
    ]


def _history_of(table: HandlerTable, topic: str) -> HistoryOptions | None:
    """How the configuration wants a topic kept. Raises TopicError for one that it does not know."""
    found = table.find(check_topic(topic))
    if found is None:
        raise TopicError("no pattern in the configuration matches it")
    return found[0].options.history


def _lease_store(settings: Settings, node: str) -> LeaseStore:
    broker = settings.broker
    return make_lease_store(broker.url, prefix=broker.prefix, owner=node, term=TERM_SECONDS, clock=steady)


def _limits(settings: Settings) -> Limits:
    client, limits = settings.client, settings.limits
    return Limits(
        ping=client.ping,
        pong_timeout=client.pong_timeout,
        stale=client.stale,
        expired_grace=client.expired_grace,
        queue_bytes=client.queue_bytes,
        node_queue_bytes=settings.server.queue_bytes,
        subscriptions=client.subscriptions,
        history_page=client.history_page,
        recovery_page=client.recovery_page,
        connections_per_user=settings.limits.connections_per_user,
        commands=limits.commands,
        publishes_per_user=limits.publishes_per_user,
        publishes_per_topic=limits.publishes_per_topic,
        api_requests=limits.api_requests,
    )


def create_app(hub: Hub, *, dev_page: bool = False) -> Starlette:
    """The public application: client transports, plugins' routes, and the API where it has no port of its own."""
    node, settings = hub.node, hub.blueprint.settings
    origins = settings.server.allowed_origins
    keys = _api_keys(settings, node.clock)
    public = settings.server.internal is None
    api = _server_api(hub, keys) if public else {}
    routes: list[BaseRoute] = [
        WebSocketRoute("/connection/websocket", ClientSocket(node, origins)),
        WebSocketRoute("/connection/uni_websocket", OneWaySocket(node, origins)),
        *(
            WebSocketRoute(path, TopicSocket(node, origins, template))
            for path, template in hub.blueprint.sockets.items()
        ),
        WebSocketRoute("/ws/{topic:path}", TopicSocket(node, origins)),
        *sse_routes(node, origins, hub.admission),
        *topic_routes(node, keys, body_bytes=settings.api.body_bytes, allowed_origins=origins),
        *ticket_routes(node, keys, origins),
        *_plugin_routes(hub, keys),
        *health_routes(hub.checks, metrics=hub.figures if public else None),
        *api_routes(api),
        *(_dev_routes(hub) if dev_page else ()),
        *upgrade_routes(),
    ]
    taken = {f"/api/{plugin.name}" for plugin in hub.blueprint.plugins if plugin.routes}
    fronts = {path: endpoint for path, endpoint in api.items() if path not in taken}
    if public:
        routes.append(_document_route(hub, fronts, None))
    counting = [Middleware(CountRequests), Middleware(Admit, hub.admission)]
    return FrontedApp(
        fronts,
        metrics.count_request,
        hub.admission,
        routes=routes,
        middleware=counting,
        lifespan=_lifespan(hub),
    )


def create_internal_app(hub: Hub) -> Starlette:
    """What listens on the internal port: the server API, health and metrics. Its requests are not counted."""
    settings = hub.blueprint.settings
    keys = _api_keys(settings, hub.node.clock)
    api = _server_api(hub, keys)
    document = _document_route(hub, api, settings.server.port)
    tickets = ticket_routes(hub.node, keys, settings.server.allowed_origins)
    routes = [*health_routes(hub.checks, metrics=hub.figures), *tickets, *api_routes(api), document]
    return FrontedApp(api, lambda _: None, routes=routes)


def _document_route(hub: Hub, api: Iterable[str], public_port: int | None) -> BaseRoute:
    plugins = {plugin.name: plugin.routes for plugin in hub.blueprint.plugins if plugin.routes}
    methods = [path.removeprefix("/api/") for path in api]
    return openapi_route(Offer(methods, plugins, metrics=True, public_port=public_port))


def _server_api(hub: Hub, keys: ApiKeys) -> dict[str, ApiMethod]:
    settings = hub.blueprint.settings
    return server_api(
        hub.node, keys, body_bytes=settings.api.body_bytes, history_page=settings.client.history_page
    )


def _api_keys(settings: Settings, clock: Callable[[], float]) -> ApiKeys:
    keys = settings.auth.api_keys
    return ApiKeys(
        {name: (key.key.get_secret_value(), key.allow) for name, key in keys.items()},
        {name: key.until for name, key in keys.items()},
        clock,
    )


def _dev_routes(hub: Hub) -> list[BaseRoute]:
    settings = hub.blueprint.settings
    jwt, signer = settings.auth.jwt, None
    if jwt.secret is not None:
        claims = {name: value for name, value in (("aud", jwt.audience), ("iss", jwt.issuer)) if value}
        signer = Signer(jwt.secret.get_secret_value(), jwt.algorithms[0], claims)
    plugins = [plugin.name for plugin in hub.blueprint.plugins]
    desk = DevDesk(hub.node, signer=signer, plugins=plugins, host=settings.server.host)
    return [*dev_page_routes(), *dev_routes(desk)]


def _plugin_routes(hub: Hub, keys: ApiKeys) -> list[BaseRoute]:
    body = hub.blueprint.settings.api.body_bytes
    routes: list[BaseRoute] = []
    for plugin in hub.blueprint.plugins:
        if plugin.routes:
            seat = PluginSeat(plugin.name, plugin.settings, logging.getLogger(f"hub.plugin.{plugin.name}"))
            routes.append(mount(f"/api/{plugin.name}", plugin.routes, hub.node, keys, seat, body))
        if plugin.pages is not None:
            routes.append(Mount(f"/plugins/{plugin.name}", PageFiles(Path(plugin.pages))))
    return routes


def _lifespan(hub: Hub) -> Callable[[Starlette], AbstractAsyncContextManager[dict[str, Hub]]]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Hub]]:
        await hub.start()
        try:
            yield {"hub": hub}
        finally:
            await hub.stop()

    return lifespan
