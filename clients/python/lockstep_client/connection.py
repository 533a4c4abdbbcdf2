"""What both clients do with a socket."""

from __future__ import annotations

import itertools
from typing import Any, Dict, Generic, Iterator, TypeVar

import zmq

from . import protocol
from .errors import LockstepError

Inbox = TypeVar("Inbox")


class Connection(Generic[Inbox]):
    """A DEALER and the requests that are open on it, each with an inbox for its messages."""

    def __init__(self, context: Any, address: str) -> None:
        self.inboxes: Dict[str, Inbox] = {}
        self.context = context
        self.socket = context.socket(zmq.DEALER)
        self._ids: Iterator[str] = map(str, itertools.count(1))
        # Without limits a send never waits, and a slow reader fills its own memory, not the server.
        self.socket.set(zmq.SNDHWM, 0)
        self.socket.set(zmq.RCVHWM, 0)
        self.socket.set(zmq.LINGER, 1000)  # ms that the last cancels have to get away
        try:
            self.socket.connect(address)
        except zmq.ZMQError as error:
            context.destroy(linger=0)
            raise ValueError(f"cannot connect to {address!r}: {error}") from None

    def open(self, request: protocol.Message, inbox: Inbox) -> str:
        """Sends a request whose messages go to `inbox`. Returns its id."""
        if self.socket.closed:
            raise LockstepError("client_closed", "the client is closed")
        request_id = next(self._ids)
        self.socket.send(protocol.encode(request, request_id))
        self.inboxes[request_id] = inbox
        return request_id

    def leave(self, request_id: str, ended: bool) -> None:
        """Forgets a request, and has the server forget it unless it has ended."""
        if self.inboxes.pop(request_id, None) is not None and not ended:
            self.socket.send(protocol.encode({"type": "cancel"}, request_id))

    def close(self) -> None:
        """Cancels what is open: whoever waits for it is told that the client is closed."""
        protocol.deliver(protocol.error_message("client_closed", "the client is closed"),
                         self.inboxes)
        for request_id in list(self.inboxes):
            self.leave(request_id, ended=False)
        self.socket.close()


def checked(message: protocol.Message) -> protocol.Message:
    """The message, unless it is an error, which is raised."""
    if message["type"] == "error":
        raise LockstepError(message.get("code", "protocol_error"), message.get("message", ""),
                            message.get("param"))
    return message
