"""The asyncio client: any number of requests at a time on one connection."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import zmq
import zmq.asyncio

from . import protocol
from .protocol import Completion, Delta, LockstepError, NoAnswer


class AsyncClient:
    """Used as `async with`, within one event loop. One task reads the socket and hands every
    message to the request it belongs to. `timeout`: see Client."""

    def __init__(self, address: str = "tcp://127.0.0.1:5555", timeout: float = 60.0):
        self._address, self._timeout = address, timeout
        self._ids = map(str, itertools.count(1))
        self._inboxes: dict[str, asyncio.Queue[dict[str, Any]]] = {}

    async def __aenter__(self) -> AsyncClient:
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 500
        self._socket.maxmsgsize = protocol.MAX_MESSAGE_BYTES
        self._socket.connect(self._address)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader
        self._socket.close()
        self._context.term()

    async def stream(self, prompt: str | None = None, *, prompt_token_ids: list[int] | None = None,
                     messages: list[dict[str, Any]] | None = None,
                     completion: Completion | None = None,
                     **parameters: Any) -> AsyncIterator[Delta]:
        """As Client.stream. To cancel at once, close the iterator (contextlib.aclosing)."""
        completion = Completion() if completion is None else completion
        request_id = next(self._ids)
        message = protocol.generate_message(request_id, prompt, prompt_token_ids, messages,
                                            parameters)
        inbox = self._inboxes[request_id] = asyncio.Queue()
        open_here = True
        try:
            await self._socket.send(message)
            while not completion.finished:
                try:
                    delta = completion.take(await self._next(inbox))
                except LockstepError:
                    open_here = False
                    raise
                if delta is not None:
                    yield delta
            open_here = False
        finally:
            del self._inboxes[request_id]
            if open_here:
                await self._socket.send(protocol.cancel_message(request_id))

    async def generate(self, prompt: str | None = None, **arguments: Any) -> Completion:
        completion = Completion()
        async for _ in self.stream(prompt, completion=completion, **arguments):
            pass
        return completion

    async def generate_text(self, prompt: str, max_tokens: int | None = None,
                            **parameters: Any) -> str:
        return (await self.generate(prompt, max_tokens=max_tokens, **parameters)).text

    async def chat(self, messages: list[dict[str, Any]], **parameters: Any) -> Completion:
        return await self.generate(messages=messages, **parameters)

    async def status(self, metrics: bool = False) -> dict[str, Any]:
        request_id = next(self._ids)
        inbox = self._inboxes[request_id] = asyncio.Queue()
        try:
            await self._socket.send(protocol.status_message(request_id, metrics))
            return await self._next(inbox)
        finally:
            del self._inboxes[request_id]

    async def _next(self, inbox: asyncio.Queue[dict[str, Any]]) -> dict[str, Any]:
        try:
            return await asyncio.wait_for(inbox.get(), self._timeout)
        except asyncio.TimeoutError:
            raise NoAnswer(self._address, self._timeout) from None

    async def _read(self) -> None:
        try:
            while True:
                message = protocol.decode(await self._socket.recv())
                inbox = self._inboxes.get(message.get("id", ""))
                if inbox is not None:  # else: of a request that was left early
                    inbox.put_nowait(message)
        except Exception as error:  # nothing more will be read: every open request is told
            for inbox in self._inboxes.values():
                inbox.put_nowait({"type": "error", "code": "connection_failed",
                                  "message": repr(error)})
