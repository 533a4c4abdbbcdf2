"""What a request can end in instead of an answer."""

from __future__ import annotations

from typing import Optional


class LockstepError(Exception):
    """A request failed. `code` is the server's, e.g. "context_length_exceeded", or one of the
    client's: "invalid_request_error" (refused before it was sent), "no_answer", "connection_error"
    (the connection was lost), "client_closed", "protocol_error" (the server sent what the protocol
    does not have). `message` names the field and the limit; `param` is the field at fault, if there
    is one."""

    def __init__(self, code: str, message: str, param: Optional[str] = None) -> None:
        super().__init__(code, message, param)
        self.code, self.message, self.param = code, message, param

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class NoAnswer(LockstepError):
    """Nothing came for a request within the client's timeout, the connection included."""

    def __init__(self, address: str, seconds: float) -> None:
        super().__init__("no_answer", f"no answer from {address} within {seconds:g} s")
        self.args = (address, seconds)  # what pickle calls the constructor with


def refused(message: str, param: Optional[str] = None) -> LockstepError:
    return LockstepError("invalid_request_error", message, param)
