"""What both clients do with a socket."""

from __future__ import annotations

import itertools
from typing import Any, Dict, Generic, Iterator, TypeVar

import zmq
from zmq.utils.monitor import parse_monitor_message

from . import protocol
from .errors import LockstepError

Inbox = TypeVar("Inbox")


class Connection(Generic[Inbox]):
    """A DEALER and the requests that are open on it, each with an inbox for its messages.

    A request is sent over a connection or not at all: it waits here until there is one, and a lost
    connection ends all that have been sent. So none queues in the socket for a server that is not
    there, whose successor would compute an answer that nobody reads."""

    def __init__(self, context: Any, address: str) -> None:
        self.inboxes: Dict[str, Inbox] = {}
        self.context = context
        self.socket = context.socket(zmq.DEALER)
        self._address = address
        self._connected = False
        self._unsent: Dict[str, bytes] = {}
        self._ids: Iterator[str] = map(str, itertools.count(1))
        # Without limits a send never waits, and a slow reader fills its own memory, not the server.
        self.socket.set(zmq.SNDHWM, 0)
        self.socket.set(zmq.RCVHWM, 0)
        self.socket.set(zmq.LINGER, 1000)  # ms that the last cancels have to get away
        self.socket.set(zmq.HEARTBEAT_IVL, 2000)  # ms: a host that is cut off is lost as well
        self.socket.set(zmq.HEARTBEAT_TIMEOUT, 10000)
        #: tells of the socket's connections
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED
                                                      | zmq.EVENT_DISCONNECTED)
        # Those of an event loop read into futures; what has come already needs none.
        self._messages = zmq.Socket.shadow(self.socket.underlying)
        self._events = zmq.Socket.shadow(self.monitor.underlying)
        try:
            self.socket.connect(address)
        except zmq.ZMQError as error:
            context.destroy(linger=0)
            raise ValueError(f"cannot connect to {address!r}: {error}") from None

    def open(self, request: protocol.Message, inbox: Inbox) -> str:
        """Sends a request whose messages go to `inbox`, as soon as there is a connection. Returns
        its id."""
        if self.socket.closed:
            raise LockstepError("client_closed", "the client is closed")
        request_id = next(self._ids)
        frame = protocol.encode(request, request_id)
        self._read_events()
        self.inboxes[request_id], self._unsent[request_id] = inbox, frame
        self._send()
        return request_id

    def read(self) -> None:
        """Puts some of what has come into the inboxes. Does not wait."""
        self._read_events()
        for _ in range(100):  # a fast server must not keep the caller here
            if not self._read_message():
                break

    def leave(self, request_id: str, ended: bool) -> None:
        """Forgets a request, and has the server forget it unless it has ended."""
        if self.inboxes.pop(request_id, None) is None or ended:
            return
        if self._unsent.pop(request_id, None) is None:
            self.socket.send(protocol.encode({"type": "cancel"}, request_id))

    def close(self) -> None:
        """Cancels what is open: whoever waits for it is told that the client is closed."""
        if self.socket.closed:
            return
        protocol.deliver(protocol.error_message("client_closed", "the client is closed"),
                         self.inboxes)
        for request_id in list(self.inboxes):
            self.leave(request_id, ended=False)
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close()

    def _send(self) -> None:
        """Sends what waits for a connection, if there is one."""
        while self._connected and self._unsent:
            request_id = next(iter(self._unsent))
            self.socket.send(self._unsent.pop(request_id))

    def _read_events(self) -> None:
        """Takes note of connections made and lost."""
        while self._events.poll(0):
            event = parse_monitor_message(self._events.recv_multipart())["event"]
            self._connected = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            if self._connected:
                self._send()
            else:
                self._lose()

    def _lose(self) -> None:
        """Ends what has been sent over the lost connection, after all that had come over it."""
        while self._read_message():
            pass
        sent = {key: inbox for key, inbox in self.inboxes.items() if key not in self._unsent}
        protocol.deliver(protocol.error_message(
            "connection_error", f"lost the connection to {self._address}"), sent)
        for request_id in sent:
            self.leave(request_id, ended=True)

    def _read_message(self) -> bool:
        """Puts one message into its inbox; False where none has come."""
        try:
            frame = self._messages.recv(zmq.NOBLOCK)
        except zmq.Again:
            return False
        protocol.deliver(protocol.decode(frame), self.inboxes)
        return True


def checked(message: protocol.Message) -> protocol.Message:
    """The message, unless it is an error, which is raised."""
    if message["type"] == "error":
        raise LockstepError(message.get("code", "protocol_error"), message.get("message", ""),
                            message.get("param"))
    return message
