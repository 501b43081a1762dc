"""Every option of the operator's file, once: its type, default and sentence."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from hub.egress.addresses import networks
from hub.settings.topic import Declarations, SocketSettings, Strict
from hub.settings.values import Duration, Moment, Size, one_or_many
from hub.webhooks.signing import read_secret

Algorithm = Literal["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512"]
_SCOPE = re.compile(r"\*|(?:\*|[a-z_]+)(?::.+)?")
_SOCKET_PATH = re.compile(r"/[A-Za-z0-9._~/\-]+")


def _scope(value: str) -> str:
    if not _SCOPE.fullmatch(value):
        raise ValueError(f'a scope is "*", "<method>" or "<method>:<topic pattern>"; found {value!r}')
    return value


def _socket_path(value: str) -> str:
    if not _SOCKET_PATH.fullmatch(value):
        raise ValueError(
            f"a socket's path begins with / and is made of letters, digits and . _ ~ / -; found {value!r}"
        )
    return value


def _origin(value: str) -> str:
    if not re.fullmatch(r"(\*|https?://(\*\.)?[A-Za-z0-9.\-\[\]:]+)", value):
        raise ValueError(
            f"an origin is scheme://host[:port] without a path, https://*.example.com, or *; found {value!r}"
        )
    return value.lower()


class InternalSettings(Strict):
    """A second port for what the outside must not reach."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(9000, ge=0, le=65_535, description="Port to listen on.")


class ServerSettings(Strict):
    """Where and how the hub listens."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 picks a free one.")
    workers: int = Field(
        1,
        ge=1,
        le=256,
        description="Processes, which share all ports; more than one needs a broker that links them.",
    )
    allowed_origins: list[Annotated[str, AfterValidator(_origin)]] = Field(
        default_factory=list,
        description="Origins of browsers that may connect; the hub's own is always allowed.",
    )
    internal: InternalSettings | None = Field(
        None, description="Server API and metrics on a port of their own; null: on the public port."
    )
    trusted_proxies: list[str] = Field(
        default_factory=lambda: ["127.0.0.1", "::1"],
        description="Addresses or networks whose X-Forwarded-* headers are believed.",
    )
    queue_bytes: Size = Field(
        268_435_456,
        ge=1_048_576,
        description="Bytes that may wait for all clients of a process together; above, the slowest are sent away.",
    )
    compression: bool = Field(
        False,
        description="Whether WebSocket clients that ask for it get publications compressed, once for all of them.",
    )
    drain: Duration = Field(15.0, description="Longest time to close clients when stopping.")


class BrokerSettings(Strict):
    """What links nodes and keeps history."""

    url: Annotated[list[str], one_or_many(str), Field(min_length=1, max_length=16)] = Field(
        default_factory=lambda: ["memory://"],
        description="memory:// or redis:// or rediss:// or redis+sentinel:// or redis+cluster:// or nats:// or "
        "tls:// (NATS) or postgresql://; several of Redis share the topics between them.",
    )
    prefix: str = Field(
        "hub", pattern=r"^[A-Za-z0-9_.\-]{1,40}$", description="Begins every key in a shared broker."
    )


class DatabaseSettings(Strict):
    """Where plugins store what must last."""

    url: str = Field(
        "sqlite:///hub.db", description="sqlite:///file or postgresql://user:password@host/name."
    )


class KeySettings(Strict):
    """A further key that tokens are verified with."""

    secret: SecretStr | None = Field(
        None, description="Shared secret of HS256, HS384, HS512; at least 32 bytes."
    )
    public_key: str | None = Field(None, description="PEM public key of RS* or ES*, in place of a secret.")
    algorithms: list[Algorithm] | None = Field(
        None,
        min_length=1,
        description="Algorithms accepted; unset: HS256 for a secret, RS256 for an RSA key, else that of the curve.",
    )
    until: Moment | None = Field(
        None, description='When it ends, such as "2026-12-01T00:00:00Z"; unset: never.'
    )


class PreviousKeySettings(KeySettings):
    """The key before the present one."""

    until: Moment = Field(description='When it ends, such as "2026-12-01T00:00:00Z".')


class ClaimSettings(Strict):
    """Which claims say what; a name that is a URL is taken whole, else dots lead into objects."""

    user: str = Field("sub", min_length=1, description="The claim that holds the user's id.")
    roles: str | None = Field(
        None,
        min_length=1,
        description="The claim that holds the roles, such as realm_access.roles; unset: `role` and `roles`.",
    )


class JwtSettings(Strict):
    """How tokens are verified."""

    secret: SecretStr | None = Field(
        None, description="Shared secret of HS256, HS384, HS512; at least 32 bytes."
    )
    public_key: str | None = Field(None, description="PEM public key of RS* or ES*, in place of a secret.")
    algorithms: list[Algorithm] = Field(
        ["HS256"], min_length=1, description="Algorithms accepted; one family only."
    )
    previous: PreviousKeySettings | None = Field(
        None, description="The key before the last rotation, for tokens that it has signed."
    )
    keys: dict[Annotated[str, Field(min_length=1, max_length=256)], KeySettings] = Field(
        default_factory=dict, max_length=100, description="Further keys, by the `kid` that tokens name."
    )
    jwks_url: str | None = Field(None, description="Where an issuer publishes its keys (JWKS); https.")
    discovery: bool = Field(
        False,
        description="Whether to ask the issuer where its keys are (OpenID Connect), in place of a jwks_url.",
    )
    insecure_url: bool = Field(
        False, description="Lets keys come over plain http from other machines; for trials only."
    )
    claims: ClaimSettings = Field(
        default_factory=ClaimSettings, description="Which claims hold the user and the roles."
    )
    audience: str | None = Field(
        None, description="Required `aud`; unset: tokens with an `aud` are accepted too."
    )
    issuer: str | None = Field(None, description="Required `iss`.")
    leeway: Duration = Field(10.0, description="Tolerated difference of clocks.")
    require_exp: bool = Field(True, description="Whether a token without `exp` is refused.")
    insecure_secret: bool = Field(False, description="Accepts a short or well-known secret; for trials only.")


class ApiKeySettings(Strict):
    """A key of the server API and what it may do."""

    key: SecretStr = Field(description="The key itself, or its hash: `sha256:` and 64 hexadecimal digits.")
    allow: Annotated[list[Annotated[str, AfterValidator(_scope)]], one_or_many(str)] = Field(
        default_factory=lambda: ["*"], description='Scopes: "*", "<method>" or "<method>:<topic pattern>".'
    )
    until: Moment | None = Field(
        None, description='When it ends, such as "2026-12-01T00:00:00Z"; null: never.'
    )


class AuthSettings(Strict):
    """Who clients and backends are."""

    anonymous: bool = Field(False, description="Whether clients may connect without a token.")
    jwt: JwtSettings = Field(default_factory=JwtSettings, description="How tokens are verified.")
    api_keys: dict[str, ApiKeySettings] = Field(
        default_factory=dict, description="Keys of the server API by name."
    )


class ClientSettings(Strict):
    """Limits and beats of every client session."""

    ping: Duration = Field(25.0, ge=1, description="Time between pings.")
    pong_timeout: Duration = Field(8.0, gt=0, description="How long a pong may take.")
    stale: Duration = Field(10.0, gt=0, description="How long the connect command may take.")
    expired_grace: Duration = Field(25.0, description="How long after expiry a refresh is still awaited.")
    message_bytes: Size = Field(65_536, ge=1_024, description="Largest frame from a client.")
    queue_bytes: Size = Field(1_048_576, ge=4_096, description="Bytes that may wait for one client.")
    subscriptions: int = Field(128, ge=1, description="Subscriptions of one session.")
    history_page: int = Field(300, ge=1, description="Publications of one history reply.")
    recovery_page: int = Field(300, ge=1, description="Publications that a resubscribe may recover.")


_PerSecond = Annotated[float, Field(gt=0, le=1_000_000)]
"""A rate; twice as many may come at once."""


class LimitSettings(Strict):
    """What clients may use up; each process counts for itself, and null switches a limit off."""

    connections: int | None = Field(
        10_000, ge=1, description="WebSockets and event streams open at once; beyond it 503."
    )
    connections_per_ip: int | None = Field(
        100, ge=1, description="Of them from one IPv4 address, or one /64 of IPv6; beyond it 429."
    )
    connections_per_user: int | None = Field(
        20, ge=1, description="Of them by one user, the anonymous one aside; beyond it 3504 or 4009."
    )
    handshakes: int | None = Field(
        2_000, ge=1, description="Connections opened in a second, twice as many at once; beyond it 503."
    )
    commands: _PerSecond | None = Field(
        50,
        description="Commands of one connection in a second, at once twice as many, and as many as subscriptions; "
        "beyond it 111, then 3013.",
    )
    publishes_per_user: _PerSecond | None = Field(
        50,
        description="Publications of one user in a second, over all connections; the anonymous one is no user. "
        "Beyond it 111 or 429.",
    )
    publishes_per_topic: _PerSecond | None = Field(
        200,
        description="Publications of clients on one topic in a second; those of the server do not count. "
        "Beyond it 111 or 429.",
    )
    api_requests: _PerSecond | None = Field(
        5_000, description="Commands with one API key in a second, twice as many at once; beyond them 429."
    )
    revocations: int = Field(
        100_000,
        ge=2,
        le=10_000_000,
        description="Revocations that are remembered, at most half of them of users on a topic; "
        "further ones are refused (106).",
    )
    token_life: Duration | None = Field(
        None,
        gt=0,
        description="The most that may lie between `iat` and `exp` of a token, which then needs both; "
        "a revoked token id is remembered for as long, else for ever.",
    )


class ApiSettings(Strict):
    """Limits of the HTTP API."""

    body_bytes: Size = Field(1_048_576, ge=1_024, description="Largest request body.")


def _webhook_secret(value: SecretStr) -> SecretStr:
    read_secret(value.get_secret_value())
    return value


def _network(value: str) -> str:
    networks([value])
    return value


class WebhookSettings(Strict):
    """How handlers that are URLs are called, and which addresses the hub may connect to for them and for plugins."""

    secrets: Annotated[
        list[Annotated[SecretStr, AfterValidator(_webhook_secret)]],
        one_or_many(SecretStr),
        Field(max_length=5),
    ] = Field(
        default_factory=list,
        description="whsec_… that signs every request; several while you change it: each signs.",
    )
    timeout: Duration = Field(
        5.0,
        ge=0.1,
        le=60,
        description="Time that a call may take, from the name's resolution to the last byte.",
    )
    max_bytes: Size = Field(1_048_576, ge=1_024, le=67_108_864, description="Largest answer, also inflated.")
    concurrency: int = Field(64, ge=1, le=1_024, description="Calls of one URL at a time.")
    cookies: list[str] = Field(
        default_factory=list,
        description="Cookies of a client's own request that connect webhooks are shown, such as sessionid.",
    )
    headers: list[str] = Field(
        default_factory=list,
        description="Headers of a client's own request that connect webhooks are shown, such as User-Agent.",
    )
    allow_http: bool = Field(False, description="Whether plain http:// is allowed.")
    allow_networks: list[Annotated[str, AfterValidator(_network)]] = Field(
        default_factory=list,
        description="Networks beside the public internet that may be connected to, such as 10.0.0.0/8.",
    )


class LogSettings(Strict):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severity written.")
    format: Literal["auto", "text", "json"] = Field(
        "auto", description="auto: text on a terminal, else json."
    )


class PluginSettings(Strict):
    """One plugin of the operator's file."""

    enabled: bool = Field(True, description="Whether it runs.")
    use: str | None = Field(
        None, description="A folder with a plugin.yaml; unset: the installed plugin of this name."
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, description="What the plugin's own settings model takes."
    )


def _empty_is_defaults(value: Any) -> Any:
    return {} if value is None else value


class Settings(Declarations):
    """The operator's file."""

    version: Literal[1] = Field(1, description="The version of this file's form.")
    server: ServerSettings = Field(
        default_factory=ServerSettings, description="Where and how the hub listens."
    )
    broker: BrokerSettings = Field(
        default_factory=BrokerSettings, description="What links nodes and keeps history."
    )
    database: DatabaseSettings = Field(
        default_factory=DatabaseSettings, description="Where plugins store what must last."
    )
    auth: AuthSettings = Field(default_factory=AuthSettings, description="Who clients and backends are.")
    client: ClientSettings = Field(
        default_factory=ClientSettings, description="Limits and beats of client sessions."
    )
    limits: LimitSettings = Field(
        default_factory=LimitSettings, description="What clients may use up, in each process."
    )
    api: ApiSettings = Field(default_factory=ApiSettings, description="Limits of the HTTP API.")
    webhooks: WebhookSettings = Field(
        default_factory=WebhookSettings,
        description="How handlers that are URLs are called, and where plugins may connect to.",
    )
    log: LogSettings = Field(default_factory=LogSettings, description="What is written to standard error.")
    plugins: dict[
        str,
        Annotated[
            PluginSettings, BeforeValidator(_empty_is_defaults, json_schema_input_type=PluginSettings | None)
        ],
    ] = Field(default_factory=dict, description="Plugins by name; naming one switches it on.")
    sockets: dict[Annotated[str, AfterValidator(_socket_path)], SocketSettings] = Field(
        default_factory=dict, description="Plain WebSocket paths onto topics."
    )
