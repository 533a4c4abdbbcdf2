"""The client for asyncio: lockstep_client.client's twin, with any number of requests at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, AsyncIterator, Dict, List, Optional

import zmq.asyncio

from . import protocol
from .connection import Connection, checked
from .errors import LockstepError, NoAnswer
from .protocol import Completion, Delta, Message, Options, Status

if TYPE_CHECKING:
    from typing_extensions import Unpack

    _Inbox = asyncio.Queue[Optional[Message]]


class AsyncStream(AsyncIterator[Delta]):
    """The deltas of one answer. The request is sent when the first is awaited; `aclose`, the end of
    an `async with`, the task's cancellation or the loss of the last reference cancels it if it has
    not ended."""

    def __init__(self, messages: AsyncIterator[Message]) -> None:
        self._messages = messages
        self.completion = Completion()  #: the answer, as far as it has come

    async def __anext__(self) -> Delta:
        async for message in self._messages:
            delta = self.completion.take(message)
            if delta is not None:
                return delta
        raise StopAsyncIteration

    async def aclose(self) -> None:
        await self._messages.aclose()  # type: ignore[attr-defined]

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()


class AsyncClient:
    """A connection to `lockstep serve --zmq ADDR`, used as `async with AsyncClient(address)`. Any
    number of tasks may use it at once.

    Not thread-safe: it belongs to the event loop that entered it.

    `timeout`: seconds that the server has for its first word about a request, the connection
    included, before NoAnswer is raised; None waits for ever. From then on a request may take as long
    as it takes: the loss of the connection ends it at once. Every method raises LockstepError where
    there is no answer."""

    def __init__(self, address: str, timeout: Optional[float] = 60.0) -> None:
        self._address, self._timeout = address, timeout
        self._connection: Optional[Connection[_Inbox]] = None
        self._reader: Optional[asyncio.Task[None]] = None

    async def generate(self, prompt: Optional[str] = None, *,
                       prompt_token_ids: Optional[List[int]] = None,
                       messages: Optional[List[Dict[str, Any]]] = None,
                       max_tokens: Optional[int] = None, **sampling: Unpack[Options]) -> Completion:
        """The whole answer to one prompt, given as text, as token ids or as chat messages.
        `sampling`: the fields of Options. `max_tokens`: what the context still holds."""
        async with self.stream(prompt, prompt_token_ids=prompt_token_ids, messages=messages,
                               max_tokens=max_tokens, **sampling) as stream:
            async for _ in stream:
                pass
        return stream.completion

    async def generate_text(self, prompt: str, max_tokens: Optional[int] = None,
                            **sampling: Unpack[Options]) -> str:
        """The text of the answer to a prompt."""
        return (await self.generate(prompt, max_tokens=max_tokens, **sampling)).text

    async def chat(self, messages: List[Dict[str, Any]], max_tokens: Optional[int] = None,
                   **sampling: Unpack[Options]) -> Completion:
        """The assistant's answer to `[{"role": ..., "content": ...}, ...]`."""
        return await self.generate(messages=messages, max_tokens=max_tokens, **sampling)

    def stream(self, prompt: Optional[str] = None, *, prompt_token_ids: Optional[List[int]] = None,
               messages: Optional[List[Dict[str, Any]]] = None, max_tokens: Optional[int] = None,
               **sampling: Unpack[Options]) -> AsyncStream:
        """As generate(), piece by piece. Arguments are checked at once."""
        return AsyncStream(self._messages(protocol.generate_request(
            {"prompt": prompt, "prompt_token_ids": prompt_token_ids, "messages": messages,
             "max_tokens": max_tokens, **sampling})))

    async def status(self, metrics: bool = False) -> Status:
        """How the server is; with `metrics` also as Prometheus text."""
        messages = self._messages({"type": "status", "metrics": metrics})
        try:
            return protocol.status(await messages.__anext__())
        finally:
            await messages.aclose()  # type: ignore[attr-defined]

    async def close(self) -> None:
        """Cancels what is open and closes the connection. Waits at most a second."""
        if self._connection is None or self._reader is None:
            return
        self._reader.cancel()
        await asyncio.wait([self._reader])
        self._connection.close()
        # Sends what is left, and may wait for it: not in the event loop.
        await asyncio.get_running_loop().run_in_executor(None, self._connection.context.term)

    async def __aenter__(self) -> AsyncClient:
        self._connection = Connection(zmq.asyncio.Context(), self._address)
        self._reader = asyncio.create_task(self._read(self._connection))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def _read(self, connection: Connection[_Inbox]) -> None:
        """The one that waits for the socket and its monitor."""
        poller = zmq.asyncio.Poller()
        for socket in (connection.socket, connection.monitor):
            poller.register(socket, zmq.POLLIN)
        while True:
            await poller.poll()
            connection.read()
            # poll() does not suspend while messages wait: a fast server would starve the rest.
            await asyncio.sleep(0)

    async def _messages(self, request: Message) -> AsyncIterator[Message]:
        """Sends `request`, gives what answers it, and cancels it if left before the end."""
        if self._connection is None:
            raise LockstepError("client_closed", "use `async with AsyncClient(...) as client`")
        inbox: _Inbox = asyncio.Queue()
        request_id, ended = self._connection.open(request, inbox), False
        timeout = self._timeout
        try:
            while not ended:
                message, timeout = await self._receive(inbox, timeout), None
                ended = message["type"] in protocol.LAST_MESSAGES
                yield checked(message)
        finally:
            self._connection.leave(request_id, ended)

    async def _receive(self, inbox: _Inbox, timeout: Optional[float]) -> Message:
        """The next message of an inbox. (Not by asyncio.wait_for: before Python 3.12 it may lose a
        cancellation that comes together with a message.)"""
        def expire() -> None:
            if inbox.empty():
                inbox.put_nowait(None)

        timer = None if timeout is None else (
            asyncio.get_running_loop().call_later(timeout, expire))
        try:
            message = await inbox.get()
        finally:
            if timer is not None:
                timer.cancel()
        if message is None:
            raise NoAnswer(self._address, timeout or 0.0)
        return message
