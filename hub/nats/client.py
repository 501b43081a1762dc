"""The client of nats-py, with one fault of it mended."""

from __future__ import annotations

from nats.aio.client import Client as NatsClient


class Client(NatsClient):
    """Closes to the end also when the connection breaks while its last bytes are written.

    nats-py 2.16 marks itself closed, lets the error of that write out of the task that reads, and neither ends its
    other tasks nor calls back: whoever waits for `closed_cb` would wait for ever.
    """

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        try:
            await super()._close(status, do_cbs)
        except OSError:
            self._pending, self._pending_data_size = [], 0  # nothing takes them any more
            self._status = NatsClient.DISCONNECTED  # or it takes itself for closed already
            await super()._close(status, do_cbs)
