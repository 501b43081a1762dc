"""Which offers of compression are met, and with what answer."""

from __future__ import annotations

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.headers import parse_extension

from hub.transports.extensions import agree

BARE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
MET = [
    ("permessage-deflate", BARE, 15),
    ("PerMessage-Deflate", BARE, 15),
    ("permessage-deflate; client_max_window_bits", BARE, 15),
    ("permessage-deflate; client_max_window_bits=8", BARE, 15),
    ("permessage-deflate; client_max_window_bits=15", BARE, 15),
    ('permessage-deflate; client_max_window_bits="10"', BARE, 15),
    ("permessage-deflate;server_no_context_takeover;client_no_context_takeover", BARE, 15),
    ("permessage-deflate; server_max_window_bits=15", f"{BARE}; server_max_window_bits=15", 15),
    ("permessage-deflate; server_max_window_bits = 12 ", f"{BARE}; server_max_window_bits=12", 12),
    ('permessage-deflate; server_max_window_bits="9"', f"{BARE}; server_max_window_bits=9", 9),
    ("x-webkit-deflate-frame, permessage-deflate", BARE, 15),
    ("permessage-deflate; server_max_window_bits=8, permessage-deflate", BARE, 15),
    ("permessage-deflate; unheard_of, permessage-deflate; client_max_window_bits", BARE, 15),
    (
        "permessage-deflate; server_max_window_bits=10, permessage-deflate",
        f"{BARE}; server_max_window_bits=10",
        10,
    ),
]
DECLINED = [
    "",
    ";",
    ",,",
    "permessage-bzip2",
    "x-permessage-deflate",
    "permessage-deflate; unheard_of",
    "permessage-deflate; unheard_of=1",
    "permessage-deflate;",
    "permessage-deflate; ; client_max_window_bits",
    "permessage-deflate; =10",
    "permessage-deflate; server_no_context_takeover=1",
    "permessage-deflate; server_no_context_takeover=",
    "permessage-deflate; client_no_context_takeover=true",
    "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
    "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
    "permessage-deflate; server_max_window_bits",
    "permessage-deflate; server_max_window_bits=",
    "permessage-deflate; server_max_window_bits=7",
    "permessage-deflate; server_max_window_bits=8",
    "permessage-deflate; server_max_window_bits=16",
    "permessage-deflate; server_max_window_bits=09",
    "permessage-deflate; server_max_window_bits=+9",
    "permessage-deflate; server_max_window_bits=1_0",
    "permessage-deflate; server_max_window_bits=x",
    'permessage-deflate; server_max_window_bits="9',
    'permessage-deflate; server_max_window_bits="',
    "permessage-deflate; client_max_window_bits=",
    "permessage-deflate; client_max_window_bits=7",
    "permessage-deflate; client_max_window_bits=16",
    "permessage-deflate; client_max_window_bits=010",
    "permessage-deflate; Server_Max_Window_Bits=10",
    "permessage-deflate; server_max_window_bits=\xff",
]


@pytest.mark.parametrize(("offer", "answer", "bits"), MET)
def test_the_first_good_offer_is_met(offer: str, answer: str, bits: int) -> None:
    found = agree([(b"host", b"x"), (b"sec-websocket-extensions", offer.encode("latin-1"))])
    assert found == (answer.encode(), bits)


@pytest.mark.parametrize("offer", DECLINED)
def test_offers_that_are_malformed_or_cannot_be_met_are_declined(offer: str) -> None:
    assert agree([(b"sec-websocket-extensions", offer.encode("latin-1"))]) is None


def test_without_an_offer_there_is_nothing_to_agree_on() -> None:
    assert agree([(b"host", b"x")]) is None


def test_offers_in_several_headers_are_one_list() -> None:
    offers = [b"permessage-deflate; server_max_window_bits=8", b"permessage-deflate"]
    found = agree([(b"sec-websocket-extensions", offer) for offer in offers])
    assert found == (BARE.encode(), 15)


@pytest.mark.parametrize("offered", [None, 9, 12, 15])
@pytest.mark.parametrize("takeover", [True, False])
def test_another_implementation_understands_the_answer(offered: int | None, takeover: bool) -> None:
    factory = ClientPerMessageDeflateFactory(not takeover, not takeover, offered, True)
    offer = "permessage-deflate" + "".join(
        f"; {name}" + (f"={value}" if value is not None else "")
        for name, value in factory.get_request_params()
    )
    found = agree([(b"sec-websocket-extensions", offer.encode())])
    assert found is not None
    [(_, parameters)] = parse_extension(found.answer.decode())
    extension = factory.process_response_params(parameters, [])
    assert extension.remote_no_context_takeover
    assert extension.local_no_context_takeover
    assert extension.remote_max_window_bits == found.window_bits


def test_a_header_of_the_largest_size_is_read_in_little_time() -> None:
    offers = b"permessage-deflate; x," * 3_000
    assert agree([(b"sec-websocket-extensions", offers)]) is None
