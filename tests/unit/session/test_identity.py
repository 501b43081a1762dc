"""What a token is worth where no key is configured to verify it with."""

from __future__ import annotations

import pytest

from hub.errors import Disconnect
from hub.session.connecting import identify
from hub.session.plain import identify as identify_plain
from hub.testing import InProcessHub


async def test_without_a_key_every_token_is_bad_and_none_at_all_is_anonymous() -> None:
    async with InProcessHub() as hub:
        hub.hub.node.verifier = None
        session = hub.client().session
        assert (await identify(session, "")).anonymous
        assert (await identify_plain(hub.hub.node, "")).anonymous
        with pytest.raises(Disconnect, match="3500"):
            await identify(session, "a.b.c")
        with pytest.raises(Disconnect, match="4001"):
            await identify_plain(hub.hub.node, "a.b.c")
