from __future__ import annotations

import pytest

from hub.errors import HubError
from hub.redis.cluster_url import ClusterUrl


def test_url_names_some_nodes_and_how_all_are_entered() -> None:
    url = ClusterUrl.parse("rediss+cluster://u:p%40s@a,b:6380,[::1]:1/0?ssl_ca_certs=ca.pem")
    assert url.seeds == (("a", 6379), ("b", 6380), ("::1", 1))
    assert url.node(("c", 7)) == "rediss://u:p%40s@c:7?ssl_ca_certs=ca.pem"
    assert url.node(("::1", 1)) == "rediss://u:p%40s@[::1]:1?ssl_ca_certs=ca.pem"
    assert url.name == "a:6379,b:6380,[::1]:1"


def test_shortest_url_is_one_host() -> None:
    assert ClusterUrl.parse("redis+cluster://a").node(("b", 2)) == "redis://b:2"


@pytest.mark.parametrize("rest", ["h/1", "h?db=1", "h/x", "", "a,,b", "h:x", "h:0", "h:70000"])
def test_what_cannot_be_used_is_refused_without_telling_the_password(rest: str) -> None:
    with pytest.raises(HubError, match="cannot be used") as refused:
        ClusterUrl.parse(f"redis+cluster://:pass-word@{rest}")
    assert "pass-word" not in str(refused.value)
