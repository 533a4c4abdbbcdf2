"""The blocking client."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import zmq

from . import protocol
from .protocol import Completion, Delta, LockstepError, NoAnswer


class Client:
    """One connection, one request at a time; used by one thread at a time.

    `timeout` is how long the server may be silent, in seconds, before NoAnswer is raised."""

    def __init__(self, address: str = "tcp://127.0.0.1:5555", timeout: float = 60.0):
        self._address, self._timeout = address, timeout
        self._socket = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.linger = 500
        self._socket.maxmsgsize = protocol.MAX_MESSAGE_BYTES
        self._socket.connect(address)
        self._ids = map(str, itertools.count(1))

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stream(self, prompt: str | None = None, *, prompt_token_ids: list[int] | None = None,
               messages: list[dict[str, Any]] | None = None, completion: Completion | None = None,
               **parameters: Any) -> Iterator[Delta]:
        """Yields the answer as it comes, and puts it together in `completion`. Leaving the loop
        early cancels the request. Parameters: protocol.PARAMETERS."""
        completion = Completion() if completion is None else completion
        request_id = next(self._ids)
        self._socket.send(protocol.generate_message(request_id, prompt, prompt_token_ids, messages,
                                                    parameters))
        open_here = True
        try:
            while not completion.finished:
                try:
                    delta = completion.take(self._receive(request_id))
                except LockstepError:
                    open_here = False
                    raise
                if delta is not None:
                    yield delta
            open_here = False
        finally:
            if open_here:
                self._socket.send(protocol.cancel_message(request_id))

    def generate(self, prompt: str | None = None, **arguments: Any) -> Completion:
        """The whole answer; arguments as for stream()."""
        completion = Completion()
        for _ in self.stream(prompt, completion=completion, **arguments):
            pass
        return completion

    def generate_text(self, prompt: str, max_tokens: int | None = None, **parameters: Any) -> str:
        return self.generate(prompt, max_tokens=max_tokens, **parameters).text

    def chat(self, messages: list[dict[str, Any]], **parameters: Any) -> Completion:
        """The answer to a conversation, through the model's chat template."""
        return self.generate(messages=messages, **parameters)

    def status(self, metrics: bool = False) -> dict[str, Any]:
        request_id = next(self._ids)
        self._socket.send(protocol.status_message(request_id, metrics))
        return self._receive(request_id)

    def _receive(self, request_id: str) -> dict[str, Any]:
        """The next message of this request; those of requests that were left early are dropped."""
        deadline = time.monotonic() + self._timeout
        while self._socket.poll(max(0, deadline - time.monotonic()) * 1000):
            message = protocol.decode(self._socket.recv())
            if message.get("id") in (request_id, ""):
                return message
        raise NoAnswer(self._address, self._timeout)
