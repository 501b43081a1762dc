"""The corpus of hostile input: what each entry of `hostile_input/*.yaml` sends, and what must be answered.

An entry has a `name`, what to `expect` of the hub, and a list `send` of texts (bytes, as Latin-1 has them) or of these:
`head` (a good handshake with changes), `frame` (its first byte, with a `payload`, several `times`), `text` and `json`
(a frame with that), `zip` (a compressed frame), `post` (a request to a `path` with a `body`). `<<x*9>>` is nine times
x, `$token` the entry's `token`, `$key` an API key.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.fuzz.tokens import b64, public_keys, signed
from tests.services.hub import API_KEY, SECRET

CORPUS: Final = Path(__file__).with_name("hostile_input")
MASK: Final = b"\x11\x22\x33\x44"
_REPEATED: Final = re.compile(rb"<<(.*?)\*(\d+)>>", re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """One thing that is tried, made ready to be sent."""

    family: str
    name: str
    expected: tuple[str, ...]
    """Any of `served`, `http 400`, `close 1002`, `reply 107`, `gone`."""
    begin: str
    """What stands before: `nothing`, a socket that is `opened`, one that is `connected`, or a `plain` one."""
    deflate: bool
    """Whether that socket may send compressed frames."""
    token: str
    """That with which it connected."""
    data: bytes
    pieces: int
    """Bytes at a time; 0: all at once."""
    end: bool
    """Whether the client says with them that it sends no more."""
    slow: bool
    """Whether the hub is to lose patience."""
    alone: bool
    """Whether nothing good follows, which the hub would answer too."""
    path: str
    """Where the socket is."""


def read_corpus(folder: Path = CORPUS) -> list[Entry]:
    """All entries, family by family."""
    found = []
    for path in sorted(folder.glob("*.yaml")):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        shared = {key: value for key, value in document.items() if key != "entries"}
        found += [_entry(path.stem, {**shared, **told}) for told in document["entries"]]
    return found


_KNOWN: Final = frozenset(
    "name expect send begin deflate token as pieces end slow alone".split(),  # noqa: SIM905
)


def _entry(family: str, told: Mapping[str, Any]) -> Entry:
    assert not set(told) - _KNOWN, f"{told['name']}: {set(told) - _KNOWN}"
    begin = told["begin"]
    expect = told["expect"] if isinstance(told["expect"], list) else [told["expect"]]
    token = _token(told["token"]) if "token" in told else ""
    return Entry(
        family=family,
        name=told["name"],
        expected=tuple(expect),
        begin=begin,
        deflate=told.get("deflate", False),
        token=_token({"claims": {"sub": told["as"]}}) if "as" in told else "",
        data=b"".join(_bytes(item, token) for item in told["send"]),
        pieces=told.get("pieces", 0),
        end=told.get("end", False),
        slow=told.get("slow", False),
        alone=told.get("alone", False),
        path="/ws/open:x" if begin == "plain" else "/connection/websocket",
    )


# What is sent


def _bytes(item: Any, token: str) -> bytes:
    if isinstance(item, str):
        return _filled(item.encode("latin-1"), token)
    ((kind, value),) = [(key, item[key]) for key in _MAKERS if key in item]
    return _MAKERS[kind](value, item, token) * int(item.get("times", 1))


def _filled(text: bytes, token: str) -> bytes:
    repeated = _REPEATED.sub(lambda found: found[1] * int(found[2]), text)
    return repeated.replace(b"$token", token.encode("utf-8", "surrogatepass")).replace(
        b"$key", API_KEY.encode()
    )


def frame(first: int, payload: bytes = b"") -> bytes:
    """A masked frame."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65_536:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    masked = bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))
    return bytes([first]) + length + MASK + masked


def _frame(first: int, item: Mapping[str, Any], token: str) -> bytes:
    return frame(first, _filled(item.get("payload", "").encode("latin-1"), token))


def _text(text: str, _: Mapping[str, Any], token: str) -> bytes:
    return frame(0x81, _filled(text.encode("utf-8", "surrogatepass"), token))


def _json(value: Any, item: Mapping[str, Any], token: str) -> bytes:
    return _text(json.dumps(value), item, token)


def _zip(text: str, item: Mapping[str, Any], token: str) -> bytes:
    stream = zlib.compressobj(9, wbits=-15)
    small = stream.compress(_filled(text.encode("latin-1"), token)) + stream.flush(zlib.Z_SYNC_FLUSH)
    return frame(item.get("first", 0xC1), small.removesuffix(b"\x00\x00\xff\xff"))


def head(changes: Mapping[str, Any]) -> bytes:
    """A good handshake with changes: other headers, `method`, `version`, `path`, some left out, others added."""
    fields = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    rest = dict(changes)
    line = [
        rest.pop("method", "GET"),
        rest.pop("path", "/connection/websocket"),
        rest.pop("version", "HTTP/1.1"),
    ]
    added, without = rest.pop("add", []), rest.pop("without", [])
    fields |= rest
    lines = [
        " ".join(line),
        *(f"{name}: {value}" for name, value in fields.items() if name not in without),
        *added,
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")


def _head(changes: Mapping[str, Any], _: Mapping[str, Any], token: str) -> bytes:
    return _filled(head(changes), token)


def _post(told: Mapping[str, Any], _: Mapping[str, Any], token: str) -> bytes:
    body = _filled(told.get("body", "").encode("latin-1"), token)
    key = told.get("key", API_KEY)
    lines = [f"POST {told['path']} HTTP/1.1", "Host: localhost", f"X-API-Key: {key}"]
    lines += [f"Content-Length: {len(body)}", *told.get("add", [])]
    return _filled("".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1"), token) + body


_MAKERS: Final[Mapping[str, Callable[[Any, Mapping[str, Any], str], bytes]]] = {
    "head": _head,
    "frame": _frame,
    "text": _text,
    "json": _json,
    "zip": _zip,
    "post": _post,
}


# Tokens


def _token(told: Mapping[str, Any]) -> str:
    """A token that is good but for what is told: `header`, `claims`, both as `..._text`, `secret`, `raw`."""
    if "raw" in told:
        return _filled(told["raw"].encode("latin-1"), "").decode("latin-1")
    header = _filled(_part(told, "header", {"alg": "HS256", "typ": "JWT"}), "")
    claims = _filled(_part(told, "claims", {"sub": "ann", "exp": 4_000_000_000}), "")
    token = signed(header, claims, _secret(told.get("secret", "hub's")))
    if "signature" in told:
        return token.rpartition(".")[0] + "." + _filled(told["signature"].encode(), "").decode()
    return str(told.get("form", "$good")).replace("$good", token)


def _part(told: Mapping[str, Any], name: str, usual: Mapping[str, Any]) -> bytes:
    if f"{name}_text" in told:
        return bytes(told[f"{name}_text"].encode("latin-1"))
    part = {**usual, **told.get(name, {})}
    return json.dumps({key: value for key, value in part.items() if value != "without"}).encode()


def _secret(name: str) -> bytes:
    if name == "hub's":
        return SECRET.encode()
    if name.startswith(("rs ", "es ")):
        pem, der, entry = public_keys()[name[:2]]
        forms = {"pem": pem.encode(), "stripped": pem.strip().encode(), "der": der}
        return {**forms, "der in base64": b64(der).encode(), "jwk": json.dumps(entry).encode()}[name[3:]]
    return name.encode()
