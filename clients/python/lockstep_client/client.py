"""The client for ordinary programs; lockstep_client.aio has its twin for asyncio."""

from __future__ import annotations

import queue
import time
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional

import zmq

from . import protocol
from .connection import Connection, checked
from .errors import NoAnswer
from .protocol import Completion, Delta, Message, Options, Status

if TYPE_CHECKING:
    from typing_extensions import Unpack

    _Inbox = queue.SimpleQueue[Message]


class Stream(Iterator[Delta]):
    """The deltas of one answer. The request is sent when the first is asked for; `close`, the end
    of a `with` or the loss of the last reference cancels it if it has not ended."""

    def __init__(self, messages: Iterator[Message]) -> None:
        self._messages = messages
        self.completion = Completion()  #: the answer, as far as it has come

    def __next__(self) -> Delta:
        for message in self._messages:
            delta = self.completion.take(message)
            if delta is not None:
                return delta
        raise StopIteration

    def close(self) -> None:
        self._messages.close()  # type: ignore[attr-defined]

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Client:
    """A connection to `lockstep serve --zmq ADDR`. Several streams may be read in turns.

    Not thread-safe: a client and its streams belong to one thread at a time. Use one client per
    thread, or an AsyncClient for many requests at once.

    `timeout`: seconds that the server has for its first word about a request, the connection
    included, before NoAnswer is raised; None waits for ever. From then on a request may take as long
    as it takes: the loss of the connection ends it at once. Every method raises LockstepError where
    there is no answer."""

    def __init__(self, address: str, timeout: Optional[float] = 60.0) -> None:
        self._address, self._timeout = address, timeout
        self._connection: Connection[_Inbox] = Connection(zmq.Context(), address)
        self._poller = zmq.Poller()
        for socket in (self._connection.socket, self._connection.monitor):
            self._poller.register(socket, zmq.POLLIN)

    def generate(self, prompt: Optional[str] = None, *,
                 prompt_token_ids: Optional[List[int]] = None,
                 messages: Optional[List[Dict[str, Any]]] = None, max_tokens: Optional[int] = None,
                 **sampling: Unpack[Options]) -> Completion:
        """The whole answer to one prompt, given as text, as token ids or as chat messages.
        `sampling`: the fields of Options. `max_tokens`: what the context still holds."""
        with self.stream(prompt, prompt_token_ids=prompt_token_ids, messages=messages,
                         max_tokens=max_tokens, **sampling) as stream:
            for _ in stream:
                pass
        return stream.completion

    def generate_text(self, prompt: str, max_tokens: Optional[int] = None,
                      **sampling: Unpack[Options]) -> str:
        """The text of the answer to a prompt."""
        return self.generate(prompt, max_tokens=max_tokens, **sampling).text

    def chat(self, messages: List[Dict[str, Any]], max_tokens: Optional[int] = None,
             **sampling: Unpack[Options]) -> Completion:
        """The assistant's answer to `[{"role": ..., "content": ...}, ...]`."""
        return self.generate(messages=messages, max_tokens=max_tokens, **sampling)

    def stream(self, prompt: Optional[str] = None, *, prompt_token_ids: Optional[List[int]] = None,
               messages: Optional[List[Dict[str, Any]]] = None, max_tokens: Optional[int] = None,
               **sampling: Unpack[Options]) -> Stream:
        """As generate(), piece by piece. Arguments are checked at once."""
        return Stream(self._messages(protocol.generate_request(
            {"prompt": prompt, "prompt_token_ids": prompt_token_ids, "messages": messages,
             "max_tokens": max_tokens, **sampling})))

    def status(self, metrics: bool = False) -> Status:
        """How the server is; with `metrics` also as Prometheus text."""
        return protocol.status(next(self._messages({"type": "status", "metrics": metrics})))

    def close(self) -> None:
        """Cancels what is open and closes the connection. Waits at most a second."""
        self._connection.close()
        self._connection.context.term()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _messages(self, request: Message) -> Iterator[Message]:
        """Sends `request`, gives what answers it, and cancels it if left before the end."""
        inbox: _Inbox = queue.SimpleQueue()
        request_id, ended = self._connection.open(request, inbox), False
        timeout = self._timeout
        try:
            while not ended:
                message, timeout = self._receive(inbox, timeout), None
                ended = message["type"] in protocol.LAST_MESSAGES
                yield checked(message)
        finally:
            self._connection.leave(request_id, ended)

    def _receive(self, inbox: _Inbox, timeout: Optional[float]) -> Message:
        """The next message of an inbox; what comes for others meanwhile goes to theirs."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while inbox.empty():
            left = None if deadline is None else max(0, int(1000 * (deadline - time.monotonic())))
            if not self._poller.poll(left):
                raise NoAnswer(self._address, timeout or 0.0)
            self._connection.read()
        return inbox.get_nowait()
