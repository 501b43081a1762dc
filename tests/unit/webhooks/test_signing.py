"""Signatures that somebody else's implementation of Standard Webhooks takes."""

from __future__ import annotations

import base64
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from hub.webhooks.signing import Signer, new_message_id, new_secret, read_secret

BODY = b'{"event":"publish","data":"\xc3\xa9"}'


def test_a_signature_of_each_secret_in_force_is_taken_elsewhere_and_no_other() -> None:
    old, new, strange = new_secret(), new_secret(), new_secret()
    headers = Signer([read_secret(old), read_secret(new)]).headers(new_message_id(), int(time.time()), BODY)
    for secret in (old, new):
        assert Webhook(secret).verify(BODY, headers) == {"event": "publish", "data": "é"}
    with pytest.raises(WebhookVerificationError):
        Webhook(strange).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(BODY + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(BODY, {**headers, "webhook-id": "msg_other"})


def test_the_example_of_the_specification_comes_out_the_same() -> None:
    key = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = Signer([key]).headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "whsec_",
        "whsec_****",
        "whsec_" + base64.b64encode(b"x" * 23).decode(),
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
        "whsec_" + "a-_b" * 8,
        base64.b64encode(b"x" * 32).decode(),
    ],
)
def test_a_secret_that_is_none_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="webhook secret") as raised:
        read_secret(text)
    assert not text or len(text) < 10 or text not in str(raised.value)


def test_ids_and_secrets_are_new_each_time() -> None:
    assert len({new_message_id() for _ in range(100)}) == 100
    assert len({new_secret() for _ in range(100)}) == 100
