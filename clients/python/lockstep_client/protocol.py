"""Messages without sockets: requests to bytes, bytes to events (docs/protocol.md)."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import msgpack

MAX_MESSAGE_BYTES = 12 << 20

# What generate() takes besides its prompt, under the protocol's names.
PARAMETERS = frozenset(
    "max_tokens temperature top_p top_k min_p repetition_penalty presence_penalty "
    "frequency_penalty seed logprobs min_tokens stop stop_token_ids logit_bias "
    "include_stop_str_in_output ignore_eos skip_special_tokens add_special_tokens "
    "add_generation_prompt template_args".split())


class LockstepError(Exception):
    """The server refused or failed a request."""

    def __init__(self, code: str, message: str, param: str = ""):
        super().__init__(f"{code}: {message}" + (f" ({param})" if param else ""))
        self.code, self.message, self.param = code, message, param


class NoAnswer(TimeoutError):
    """Nothing came from the server in time."""

    def __init__(self, address: str, seconds: float):
        super().__init__(f"no answer from {address} within {seconds:g} s")


@dataclasses.dataclass(frozen=True)
class Token:
    """A token with its log-probability; `token` are its bytes, perhaps not whole characters."""

    token_id: int
    token: bytes
    logprob: float
    top: tuple[Token, ...] = ()


@dataclasses.dataclass(frozen=True)
class Delta:
    """What became known since the last one."""

    text: str
    token_ids: list[int]
    logprobs: list[Token]


@dataclasses.dataclass
class Completion:
    """A whole answer. `text`, `token_ids` and `logprobs` grow while it streams."""

    text: str = ""
    token_ids: list[int] = dataclasses.field(default_factory=list)
    logprobs: list[Token] = dataclasses.field(default_factory=list)
    prompt_token_ids: list[int] = dataclasses.field(default_factory=list)
    seed: int = 0
    finish_reason: str = ""
    stop_reason: str = ""
    usage: dict[str, int] = dataclasses.field(default_factory=dict)
    timings: dict[str, float] = dataclasses.field(default_factory=dict)
    system_fingerprint: str = ""

    def take(self, message: dict[str, Any]) -> Delta | None:
        """Adds one message of the server; gives the delta, if it was one. Raises LockstepError."""
        kind = message["type"]
        if kind == "error":
            raise LockstepError(message["code"], message["message"], message.get("param", ""))
        if kind == "accepted":
            self.prompt_token_ids, self.seed = message["prompt_token_ids"], message["seed"]
        elif kind == "done":
            for field in ("finish_reason", "stop_reason", "usage", "timings", "system_fingerprint"):
                setattr(self, field, message.get(field, getattr(self, field)))
        elif kind == "delta":
            delta = Delta(message.get("text", ""), message.get("token_ids", []),
                          [_token(entry) for entry in message.get("logprobs", [])])
            self.text += delta.text
            self.token_ids += delta.token_ids
            self.logprobs += delta.logprobs
            return delta
        return None

    @property
    def finished(self) -> bool:
        return bool(self.finish_reason)


def _token(entry: dict[str, Any]) -> Token:
    chosen = entry.get("chosen", entry)
    return Token(chosen["token_id"], chosen["token"], chosen["logprob"],
                 tuple(_token(other) for other in entry.get("top", [])))


def generate_message(request_id: str, prompt: str | None, prompt_token_ids: list[int] | None,
                     messages: list[dict[str, Any]] | None, parameters: dict[str, Any]) -> bytes:
    """The bytes of a request. Raises TypeError for a parameter that does not exist."""
    prompts = {"prompt": prompt, "prompt_token_ids": prompt_token_ids, "messages": messages}
    given = {name: value for name, value in prompts.items() if value is not None}
    if len(given) != 1:
        raise TypeError("exactly one of prompt, prompt_token_ids and messages is needed")
    unknown = set(parameters) - PARAMETERS
    if unknown:
        raise TypeError(f"there is no parameter {sorted(unknown)[0]!r}")
    fields = {name: value for name, value in parameters.items() if value is not None}
    if isinstance(fields.get("stop"), str):
        fields["stop"] = [fields["stop"]]
    for name in ("messages", "template_args"):
        source = given if name in given else fields
        if name in source:
            source[name] = json.dumps(source[name])
    return msgpack.packb({"type": "generate", "id": request_id, **given, **fields})


def cancel_message(request_id: str) -> bytes:
    return msgpack.packb({"type": "cancel", "id": request_id})


def status_message(request_id: str, metrics: bool) -> bytes:
    return msgpack.packb({"type": "status", "id": request_id, "metrics": metrics})


def decode(data: bytes) -> dict[str, Any]:
    return msgpack.unpackb(data)  # bounds every length by the bytes that are there
