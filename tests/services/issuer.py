"""An issuer of tokens: signs them, and publishes its keys over HTTP as an identity provider does."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hub.auth.tokens import sign

JWKS = "/keys"
ABOUT = "/.well-known/openid-configuration"


def number(value: int, size: int) -> str:
    """A number as JWK writes it."""
    return base64.urlsafe_b64encode(value.to_bytes(size, "big")).rstrip(b"=").decode()


@dataclass(frozen=True)
class IssuerKey:
    """A key of an issuer; by default a new one on P-256."""

    kid: str | None
    inside: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @property
    def algorithm(self) -> str:
        """What it signs with."""
        return "ES256" if isinstance(self.inside, ec.EllipticCurvePrivateKey) else "RS256"

    def jwk(self, **more: Any) -> dict[str, Any]:
        """Its public half as an entry of a JWKS; what is given as None is left out."""
        public = self.inside.public_key()
        if isinstance(public, ec.EllipticCurvePublicKey):
            point = public.public_numbers()
            entry = {"kty": "EC", "crv": "P-256", "x": number(point.x, 32), "y": number(point.y, 32)}
        else:
            numbers = public.public_numbers()
            entry = {"kty": "RSA", "n": number(numbers.n, public.key_size // 8), "e": number(numbers.e, 3)}
        whole = {"kid": self.kid, "use": "sig", "alg": self.algorithm, **entry, **more}
        return {name: value for name, value in whole.items() if value is not None}

    def token(self, exp: float, *, kid: str | None = None, **claims: Any) -> str:
        """A token that it signs, which names `kid` or the key's own."""
        private = self.inside.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        whole = {"sub": "ann", "exp": int(exp), **claims}
        return sign(whole, private.decode(), self.algorithm, kid=kid or self.kid)


@dataclass
class Answer:
    """What the issuer answers at a path."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    """Seconds until it comes."""


class Issuer:
    """Serves what stands in `answers`, and counts who asks. As a context manager it leaves nothing."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: Counter[str] = Counter()
        self.open = threading.Event()
        """While it is clear, nothing is answered."""
        self.open.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def publish(self, *entries: dict[str, Any] | IssuerKey, **headers: str) -> None:
        """Publishes these keys from now on; header names have `_` for `-`."""
        listed = [entry.jwk() if isinstance(entry, IssuerKey) else entry for entry in entries]
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[JWKS] = Answer(json.dumps({"keys": listed}).encode(), headers=fields)

    def tell(self, **more: Any) -> None:
        """Publishes its document, with what is given in place of the usual."""
        about = {"issuer": self.url, "jwks_uri": self.url + JWKS, **more}
        self.answers[ABOUT] = Answer(json.dumps(about).encode())

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked[self.path] += 1
                issuer.open.wait(20)
                answer = issuer.answers.get(self.path, Answer(status=404))
                time.sleep(answer.delay)
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    self.wfile.write(answer.body)
                except OSError:
                    return  # who asked has had enough

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        return Handler

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.open.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
