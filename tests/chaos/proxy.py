"""A network that can be cut, held and slowed: a proxy for TCP on loopback, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import suppress

HOST = "127.0.0.1"
PIECE_BYTES = 64 << 10
ANSWERS_WITHIN_S = 120.0  # of its own thread


class Proxy:
    """Passes connections on `port` to `target`, both on loopback, as well as it is told to at the moment.

    `open`; `cut`: connections are torn and new ones are refused a word; `held`: connections stay and nothing gets
    through, as behind a firewall that has forgotten them; `slow`: every piece waits, and only so many bytes a second
    pass."""

    def __init__(self, port: int, target: int) -> None:
        """Listens at once. Raises OSError where the port is taken."""
        self.port, self.target = port, target
        self._mode = "open"
        self._delay_s, self._bytes_per_s = 0.0, 0.0
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy {port}", daemon=True)
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._connected, HOST, port)).result(ANSWERS_WITHIN_S)

    def open(self) -> None:
        """All gets through again; what was held goes on."""
        self._set("open")

    def cut(self) -> None:
        """Tears what is there and refuses what comes."""
        self._set("cut")
        self._call(self._tear()).result(ANSWERS_WITHIN_S)

    def hold(self) -> None:
        """Nothing gets through, and nobody is told."""
        self._set("held")

    def slow(self, delay_s: float, bytes_per_s: float) -> None:
        """Every piece waits so long, and passes so slowly."""
        self._delay_s, self._bytes_per_s = delay_s, bytes_per_s
        self._set("slow")

    def close(self) -> None:
        """Ends listening and all connections."""
        self._mode = "cut"
        self._call(self._end()).result(ANSWERS_WITHIN_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ANSWERS_WITHIN_S)
        self._loop.close()

    def _set(self, mode: str) -> None:
        self._mode = mode

    def _call(self, work: object) -> Future[asyncio.Server]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)  # type: ignore[arg-type]

    async def _tear(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _end(self) -> None:
        self._server.close()
        await self._tear()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._held()
            if self._mode == "cut":
                raise ConnectionRefusedError
            there, back = await asyncio.open_connection(HOST, self.target)
        except OSError:  # cut, or the server is down: the client is to know
            writer.transport.abort()
            return
        finally:
            self._writers.discard(writer)
        self._pass(reader, back)
        self._pass(there, writer)

    def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._pump(reader, writer))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction of a connection, to its end."""
        self._writers.add(writer)
        try:
            with suppress(OSError):  # one side is gone: so is the other
                while data := await reader.read(PIECE_BYTES):
                    await self._held()
                    if self._mode == "slow":
                        await asyncio.sleep(self._delay_s + len(data) / self._bytes_per_s)
                    writer.write(data)
                    await writer.drain()
        finally:
            self._writers.discard(writer)
            writer.transport.abort() if self._mode == "cut" else writer.close()

    async def _held(self) -> None:
        while self._mode == "held":
            await asyncio.sleep(0.05)
