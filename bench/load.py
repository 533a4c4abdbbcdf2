"""One streaming HTTP client for all servers: tokens are timed as they arrive.

It shares the cores with what it measures: so it only keeps the bytes and the times at which they
came, and reads them when a round is over.
"""

import asyncio
import json
import statistics
import time
import urllib.parse
from dataclasses import dataclass

import h11

Figures = dict[str, float]
TIMEOUT = 1800.0
TEMPERATURE, SEED = 0.8, 20241  # where an answer is not greedy


@dataclass
class Reply:
    """When one request was sent, and when each event with text or tokens came, in seconds."""
    begin: float
    arrivals: list[float]
    tokens: int
    text: str = ""


class Exchange(asyncio.Protocol):
    """Sends one request when connected, and keeps what comes until the server closes."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.begin = 0.0
        self.pieces: list[tuple[float, bytes]] = []
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.begin = time.monotonic()
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.pieces.append((time.monotonic(), data))

    def connection_lost(self, error: Exception | None) -> None:
        if error:
            self.closed.set_exception(error)
        else:
            self.closed.set_result(None)


def prompt(length: int, seed: int) -> list[int]:
    """Token ids that no cache has seen; those of two seeds differ from the first on."""
    return [(seed * 7919 + i * 104729) % 40000 + 100 for i in range(length)]


async def exchange(url: str, path: str, fields: dict) -> Exchange:
    """One streamed request, answered but not yet read."""
    body = json.dumps({"model": "m", "stream": True, "stream_options": {"include_usage": True},
                       **fields}).encode()
    address = urllib.parse.urlsplit(url)
    connection = h11.Connection(h11.CLIENT)
    request = connection.send(h11.Request(method="POST", target=path, headers=[
        ("Host", address.netloc), ("Connection", "close"), ("Content-Type", "application/json"),
        ("Content-Length", str(len(body)))]))
    request += connection.send(h11.Data(data=body)) + connection.send(h11.EndOfMessage())
    _, running = await asyncio.get_running_loop().create_connection(
        lambda: Exchange(request), address.hostname, address.port)
    await asyncio.wait_for(running.closed, TIMEOUT)
    return running


def read(finished: Exchange, tokens: int | None = None) -> Reply:
    """The reply, timed. Throws RuntimeError for one that has not exactly `tokens` tokens; None: any
    number."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "")]))
    connection.send(h11.EndOfMessage())
    reply, status, rest = Reply(finished.begin, [], 0), 0, b""
    for now, data in [*finished.pieces, (0.0, b"")]:
        connection.receive_data(data)
        while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Response):
                status = event.status_code
            if isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                break
            if isinstance(event, h11.Data):
                *lines, rest = (rest + bytes(event.data)).split(b"\n")
                for line in filter(lambda line: line.startswith(b"data: {"), lines):
                    take(json.loads(line[6:]), now, reply)
    if status != 200:
        raise RuntimeError(f"status {status}: {rest[:500].decode(errors='replace')}")
    if not reply.arrivals or tokens not in (None, reply.tokens):
        raise RuntimeError(f"{reply.tokens} tokens came, {tokens or 'any'} were asked for")
    return reply


def take(event: dict, now: float, reply: Reply) -> None:
    if event.get("error"):
        raise RuntimeError(f"an error in the stream: {event['error']}")
    if event.get("usage"):
        reply.tokens = event["usage"]["completion_tokens"]
    for choice in event.get("choices") or ():
        delta = choice.get("delta", {})
        if "role" in delta and not delta.get("content"):
            continue  # the beginning of a chat's answer, before its first token
        reply.text += choice.get("text") or delta.get("content") or ""
        reply.arrivals.append(now)


def decode_speed(replies: list[Reply]) -> float:
    """Tokens per second after the last request's first token: decoding without prefill. An event is
    taken for its share of the request's tokens: most servers send one token an event."""
    begin = max(reply.arrivals[0] for reply in replies)
    end = max(reply.arrivals[-1] for reply in replies)
    count = sum(reply.tokens / len(reply.arrivals) * sum(at > begin for at in reply.arrivals)
                for reply in replies)
    return count / (end - begin) if end > begin else 0.0


async def exchanges(url: str, concurrency: int, prompt_len: int, tokens: int,
                    seed: int) -> list[Exchange]:
    return await asyncio.gather(*(
        exchange(url, "/v1/completions", {"prompt": prompt(prompt_len, seed + i),
                                          "max_tokens": tokens, "temperature": 0, "ignore_eos": True})
        for i in range(concurrency)))


async def chat_exchanges(url: str, texts: list[str], tokens: int,
                         temperature: float) -> list[Exchange]:
    return await asyncio.gather(*(
        exchange(url, "/v1/chat/completions", {"messages": [{"role": "user", "content": text}],
                                               "max_tokens": tokens, "temperature": temperature,
                                               "seed": SEED})
        for text in texts))


def chat_round(url: str, texts: list[str], tokens: int, temperature: float) -> list[Reply]:
    """The answers to `texts`, asked all at once; each ends by itself, or after `tokens` tokens."""
    return [read(one) for one in asyncio.run(chat_exchanges(url, texts, tokens, temperature))]


def speed_after_first(reply: Reply) -> float:
    """Tokens per second after the first. The first comes alone, the others several an event if they
    were guessed."""
    if reply.arrivals[-1] <= reply.arrivals[0]:
        raise RuntimeError(f"an answer of {reply.tokens} tokens is too short to be timed")
    return (reply.tokens - 1) / (reply.arrivals[-1] - reply.arrivals[0])


def wall(replies: list[Reply]) -> float:
    """Seconds from the first request to the last token."""
    return max(r.arrivals[-1] for r in replies) - min(r.begin for r in replies)


def run_round(url: str, concurrency: int, prompt_len: int, tokens: int, seed: int) -> Figures:
    """`concurrency` requests at once: `tok_s`, output tokens per second from the first request to
    the last token; `ttft_ms`, the median time to the first token; `decode_tok_s`."""
    finished = asyncio.run(exchanges(url, concurrency, prompt_len, tokens, seed))
    replies = [read(one, tokens) for one in finished]
    return {"tok_s": sum(r.tokens for r in replies) / wall(replies),
            "ttft_ms": 1000 * statistics.median(r.arrivals[0] - r.begin for r in replies),
            "decode_tok_s": decode_speed(replies)}
