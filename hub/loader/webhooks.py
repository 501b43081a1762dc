"""The webhooks of a configuration, and the way out to other servers that they share with plugins."""

from __future__ import annotations

from hub.egress.addresses import networks
from hub.egress.client import Egress
from hub.egress.resolver import system_lookup
from hub.settings.model import WebhookSettings
from hub.webhooks.endpoint import Terms
from hub.webhooks.hooks import Webhooks
from hub.webhooks.questions import Shown
from hub.webhooks.signing import Signer, read_secret


def make_egress(settings: WebhookSettings) -> Egress:
    """What may ask other servers; it opens nothing yet."""
    return Egress(
        allow_http=settings.allow_http,
        allow_networks=networks(settings.allow_networks),
        lookup=system_lookup,
        tls=None,
    )


def make_webhooks(settings: WebhookSettings, egress: Egress) -> Webhooks:
    """What makes handlers of URLs; without secrets it makes none."""
    terms = Terms(
        signer=Signer(read_secret(secret.get_secret_value()) for secret in settings.secrets),
        timeout=settings.timeout,
        max_bytes=settings.max_bytes,
        concurrency=settings.concurrency,
    )
    headers = frozenset(name.lower() for name in settings.headers)
    return Webhooks(terms, egress, Shown(headers, frozenset(settings.cookies)))
