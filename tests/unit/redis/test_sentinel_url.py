"""What a URL of Sentinels means for the connections that are made by it."""

from __future__ import annotations

import pytest

from hub.errors import HubError
from hub.redis.address import Address
from hub.redis.places import place_of
from hub.redis.sentinel import Sentinels
from hub.redis.sentinel_url import SentinelUrl


def test_hosts_have_the_port_of_sentinels_unless_they_say_another() -> None:
    url = SentinelUrl.parse("redis+sentinel://a,b:1,[::1],[::2]:3?sentinel_master_name=m")
    assert url.sentinels == (("a", 26379), ("b", 1), ("::1", 26379), ("::2", 3))


def test_primary_is_entered_with_the_login_database_and_options_of_the_url() -> None:
    url = SentinelUrl.parse(
        "redis+sentinel://us%40er:pa%2Fss@a/3?sentinel_master_name=m&sentinel_password=s&client_name=x"
    )
    address = Address(url.primary("::9", 77), primary=True)
    assert (address.host, address.port, address.db) == ("::9", 77, 3)
    assert address.login == ("us@er", "pa/ss")
    assert "sentinel" not in url.primary("h", 1)
    assert url.sentinel_password == "s"


def test_tls_is_for_primary_and_sentinels() -> None:
    place = place_of("rediss+sentinel://:pw@a?sentinel_master_name=m&ssl_cert_reqs=none")
    assert isinstance(place, Sentinels)
    assert place._primary.ssl is not None
    assert [sentinel.ssl is not None for sentinel in place._sentinels] == [True]


def test_sentinels_are_entered_with_their_own_login_or_none() -> None:
    place = place_of("redis+sentinel://u:p@a?sentinel_master_name=m")
    assert isinstance(place, Sentinels)
    assert place._sentinels[0].login == ()
    place = place_of("redis+sentinel://u:p@a?sentinel_master_name=m&sentinel_user=s%3A&sentinel_password=%40")
    assert isinstance(place, Sentinels)
    assert place._sentinels[0].login == ("s:", "@")


@pytest.mark.parametrize("count", ["-1", "x", "10"])
@pytest.mark.parametrize(
    "url", ["redis://:pass-word@a", "redis+sentinel://:pass-word@a?sentinel_master_name=m"]
)
def test_number_of_replicas_to_wait_for_is_a_small_one(url: str, count: str) -> None:
    with pytest.raises(HubError, match="wait_replicas is a number of replicas") as refused:
        place_of(f"{url}{'&' if '?' in url else '?'}wait_replicas={count}")
    assert "pass-word" not in str(refused.value)


def test_option_that_redis_does_not_know_is_refused_at_once() -> None:
    with pytest.raises(HubError, match="cannot be used"):
        place_of("redis+sentinel://:pass-word@a?sentinel_master_name=m&no_such_option=1")
