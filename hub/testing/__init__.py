"""The test kit: for plugins and for applications that talk to a hub.

The smallest test of a plugin::

    from hub.testing import InProcessHub

    async def test_reply_reaches_the_greetings():
        async with InProcessHub({"plugins": {"greeter": {"use": "./plugins/greeter"}}}) as hub:
            ann = await hub.connect("ann")
            await ann.subscribe("greetings:all")
            await ann.publish("greet:bob", {})
            assert await ann.expect_publication("greetings:all") == {"hello": "bob"}

`InProcessHub` runs all of the hub in the test's own event loop, without a port: a memory broker, a database in memory,
a clock that `hub.clock.advance` moves. `LiveHub` runs it behind a real port in a thread, for real clients.
"""

from hub.testing.client import HubClient, PushTimeoutError
from hub.testing.clock import FakeClock
from hub.testing.inprocess import InProcessHub
from hub.testing.live import LiveHub

__all__ = ["FakeClock", "HubClient", "InProcessHub", "LiveHub", "PushTimeoutError"]
