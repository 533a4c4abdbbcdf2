"""The messages of docs/protocol.md: requests out of arguments, answers out of bytes. No I/O.

Names and types are checked here, before anything is sent; limits are the server's, and its error
names them."""

from __future__ import annotations

import dataclasses
import difflib
import json
from dataclasses import dataclass, field
from typing import (Any, Callable, Dict, List, Mapping, Optional, Type, TypedDict, TypeVar,
                    get_args, get_origin, get_type_hints)

import msgpack  # type: ignore[import-untyped]

from .errors import LockstepError, refused

MAX_MESSAGE_BYTES = 12 * 2**20  # the server closes the connection on a longer one
LAST_MESSAGES = ("done", "error", "status")  # nothing follows one of these

Message = Dict[str, Any]
T = TypeVar("T")


class Options(TypedDict, total=False):
    """What `generate` can be asked for besides prompt and `max_tokens`; defaults and limits are in
    docs/protocol.md. None means the default."""

    add_generation_prompt: bool
    add_special_tokens: bool
    frequency_penalty: float
    ignore_eos: bool
    include_stop_str_in_output: bool
    logit_bias: Dict[int, float]
    logprobs: int
    min_p: float
    min_tokens: int
    presence_penalty: float
    repetition_penalty: float
    seed: int
    skip_special_tokens: bool
    stop: List[str]
    stop_token_ids: List[int]
    temperature: float
    template_args: Dict[str, Any]
    top_k: int
    top_p: float


class _Generate(Options, total=False):
    prompt: str
    prompt_token_ids: List[int]
    messages: List[Dict[str, Any]]
    max_tokens: int


_KIND_OF = get_type_hints(_Generate)
_WORDS = {bool: "true or false", int: "an integer", float: "a number", str: "a string",
          List[int]: "a list of integers", List[str]: "a list of strings",
          List[Dict[str, Any]]: "a list of messages", Dict[str, Any]: "a dict with string keys",
          Dict[int, float]: "a dict from token ids to numbers"}


def _checker(kind: Any) -> Callable[[Any], bool]:
    """Whether a value has exactly this type: True is no integer, and a string is no list."""
    if kind is Any:
        return lambda value: True
    if get_origin(kind) is list:
        item = _checker(*get_args(kind))
        return lambda value: isinstance(value, (list, tuple)) and all(map(item, value))
    if get_origin(kind) is dict:
        key, item = map(_checker, get_args(kind))
        return lambda value: (isinstance(value, dict) and all(map(key, value))
                              and all(map(item, value.values())))
    if kind is bool or kind is str:
        return lambda value: isinstance(value, kind)
    allowed = (int, float) if kind is float else int
    return lambda value: isinstance(value, allowed) and not isinstance(value, bool)


_CHECK_OF = {name: _checker(kind) for name, kind in _KIND_OF.items()}


def generate_request(arguments: Mapping[str, Any]) -> Message:
    """A `generate` without its id; arguments that are None are left out.
    Raises LockstepError for an unknown name, a wrong type, or not exactly one prompt."""
    request: Message = {"type": "generate"}
    for name, value in arguments.items():
        if name not in _KIND_OF:
            close = difflib.get_close_matches(name, _KIND_OF, 1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise refused(f"unknown parameter '{name}'{hint}", name)
        if value is None:
            continue
        if not _CHECK_OF[name](value):
            raise refused(f"{name} must be {_WORDS[_KIND_OF[name]]}", name)
        if name in ("messages", "template_args"):
            try:
                value = json.dumps(value, ensure_ascii=False, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise refused(f"{name} is not JSON: {error}", name) from None
        request[name] = value
    prompts = [name for name in ("prompt", "prompt_token_ids", "messages") if name in request]
    if len(prompts) != 1:
        raise refused("exactly one of prompt, prompt_token_ids and messages must be given; "
                      f"got {' and '.join(prompts) or 'none'}")
    return request


def encode(message: Message, request_id: str) -> bytes:
    try:
        frame: bytes = msgpack.packb({"type": message["type"], "id": request_id, **message})
    except (TypeError, ValueError, OverflowError) as error:  # e.g. a seed of 2**64
        raise refused(f"the request has no msgpack form: {error}") from None
    if len(frame) > MAX_MESSAGE_BYTES:
        raise refused(f"the request has {len(frame)} bytes; at most {MAX_MESSAGE_BYTES}")
    return frame


def error_message(code: str, message: str) -> Message:
    """An `error` made by the client that concerns every open request."""
    return {"type": "error", "id": "", "code": code, "message": message}


def decode(frame: bytes) -> Message:
    """A message of the server; an `error` for every request when it cannot be read."""
    try:
        message: Message = msgpack.unpackb(frame, strict_map_key=False)
        if isinstance(message["type"], str) and isinstance(message["id"], str):
            return message
        what = "its type or id is not text"
    except (KeyError, TypeError, ValueError, msgpack.UnpackException) as error:
        what = repr(error)
    return error_message("protocol_error", f"a message of the server cannot be read: {what}")


def deliver(message: Message, inboxes: Mapping[str, Any]) -> None:
    """Puts a message into the inbox of its request, or into all when its id is empty. One of a
    request that has been left is dropped."""
    addressed = [message["id"]] if message["id"] else list(inboxes)
    for request_id in addressed:
        if request_id in inboxes:
            inboxes[request_id].put_nowait(message)


@dataclass(frozen=True)
class Token:
    token_id: int
    token: bytes  #: need not be whole UTF-8
    logprob: float  #: natural logarithm


@dataclass(frozen=True)
class TokenLogprobs:
    chosen: Token
    top: List[Token]  #: best first


@dataclass(frozen=True)
class Delta:
    text: str  #: what is new; may be empty
    token_ids: List[int]  #: what is new; may be empty
    logprobs: List[TokenLogprobs]  #: one per token id when asked for, else empty


@dataclass(frozen=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int  #: of the prompt, found in the prefix cache


@dataclass(frozen=True)
class Timings:
    queue_ms: float  #: arrival to first scheduled
    prefill_ms: float  #: to the first token
    decode_ms: float  #: to the last


@dataclass
class Completion:
    """An answer, as far as it has come: what has a default of None is set by the last message."""

    text: str = ""
    token_ids: List[int] = field(default_factory=list)
    logprobs: List[TokenLogprobs] = field(default_factory=list)
    prompt_token_ids: List[int] = field(default_factory=list)
    seed: Optional[int] = None
    finish_reason: Optional[str] = None  #: "stop", "length" or "abort"
    stop_reason: Optional[str] = None  #: the stop string, or the stop token's id in digits
    usage: Optional[Usage] = None
    timings: Optional[Timings] = None
    system_fingerprint: Optional[str] = None

    def take(self, message: Message) -> Optional[Delta]:
        """Adds a message of the answer. Returns what it brought, if it is a `delta`."""
        kind = message["type"]
        try:
            if kind == "delta":
                delta = Delta(message["text"], message["token_ids"],
                              list(map(_token_logprobs, message.get("logprobs", ()))))
                self.text += delta.text
                self.token_ids += delta.token_ids
                self.logprobs += delta.logprobs
                return delta
            if kind == "accepted":
                self.prompt_token_ids, self.seed = message["prompt_token_ids"], message["seed"]
            elif kind == "done":
                self.usage = _record(Usage, message["usage"])
                self.timings = _record(Timings, message["timings"])
                self.system_fingerprint = message["system_fingerprint"]
                self.stop_reason = message.get("stop_reason")
                self.finish_reason = message["finish_reason"]
            else:
                raise KeyError(kind)
        except (KeyError, TypeError, AttributeError) as error:
            raise _unreadable(message, error) from None
        return None


@dataclass(frozen=True)
class Status:
    healthy: bool  #: steps are being made, or nothing is queued, and requests are taken
    model: str
    version: str
    system_fingerprint: str
    world_size: int  #: ranks
    epoch: int  #: the life of the replica; it changes with every restart
    steps: int  #: made in this epoch
    running: int  #: requests
    waiting: int  #: requests
    blocks_total: int  #: of the KV cache
    blocks_used: int
    max_model_len: int  #: tokens, prompt and answer together
    metrics: Optional[str] = None  #: Prometheus text, when asked for
    stopping: bool = False  #: takes no more requests; those that are open may end


def status(message: Message) -> Status:
    try:
        return _record(Status, message)
    except (KeyError, TypeError) as error:
        raise _unreadable(message, error) from None


def _record(cls: Type[T], values: Message) -> T:
    """A dataclass out of a map; fields of a newer server are passed over."""
    names = {each.name for each in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return cls(**{name: value for name, value in values.items() if name in names})


def _token_logprobs(values: Message) -> TokenLogprobs:
    return TokenLogprobs(_record(Token, values["chosen"]),
                         [_record(Token, token) for token in values.get("top", ())])


def _unreadable(message: Message, error: Exception) -> LockstepError:
    return LockstepError("protocol_error",
                         f"a '{message['type']}' of the server cannot be read: {error!r}")
