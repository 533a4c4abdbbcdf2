"""One streaming HTTP client for all servers: tokens are timed as they arrive."""

import asyncio
import json
import statistics
import time
from dataclasses import dataclass

import aiohttp

Figures = dict[str, float]


@dataclass
class Reply:
    """When one request was sent, and when each event with text or tokens came, in seconds."""
    begin: float
    arrivals: list[float]
    tokens: int


def prompt(length: int, seed: int) -> list[int]:
    """Token ids that no cache has seen; those of two seeds differ from the first on."""
    return [(seed * 7919 + i * 104729) % 40000 + 100 for i in range(length)]


async def ask(session: aiohttp.ClientSession, url: str, ids: list[int], tokens: int) -> Reply:
    """One completion of exactly `tokens` tokens. Throws RuntimeError for any other."""
    body = {"model": "m", "prompt": ids, "max_tokens": tokens, "temperature": 0, "stream": True,
            "ignore_eos": True, "stream_options": {"include_usage": True}}
    reply = Reply(time.monotonic(), [], 0)
    async with session.post(f"{url}/v1/completions", json=body) as response:
        if response.status != 200:
            raise RuntimeError(f"status {response.status}: {(await response.text())[:500]}")
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            now = time.monotonic()
            event = json.loads(line[6:])
            if event.get("error"):
                raise RuntimeError(f"an error in the stream: {event['error']}")
            if event.get("usage"):
                reply.tokens = event["usage"]["completion_tokens"]
            if event.get("choices"):
                reply.arrivals.append(now)
    if reply.tokens != tokens or not reply.arrivals:
        raise RuntimeError(f"{reply.tokens} tokens came, {tokens} were asked for")
    return reply


def decode_speed(replies: list[Reply]) -> float:
    """Tokens per second after the last request's first token: decoding without prefill. An event is
    taken for its share of the request's tokens: most servers send one token an event."""
    begin = max(reply.arrivals[0] for reply in replies)
    end = max(reply.arrivals[-1] for reply in replies)
    count = sum(reply.tokens / len(reply.arrivals) * sum(at > begin for at in reply.arrivals)
                for reply in replies)
    return count / (end - begin) if end > begin else 0.0


async def serve_round(url: str, concurrency: int, prompt_len: int, tokens: int,
                      seed: int) -> Figures:
    """`concurrency` requests at once: `tok_s`, output tokens per second from the first request to
    the last token; `ttft_ms`, the median time to the first token; `decode_tok_s`."""
    timeout = aiohttp.ClientTimeout(total=1800)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector,
                                     read_bufsize=1 << 20) as session:
        replies = await asyncio.gather(*(
            ask(session, url, prompt(prompt_len, seed + i), tokens) for i in range(concurrency)))
    wall = max(r.arrivals[-1] for r in replies) - min(r.begin for r in replies)
    return {"tok_s": sum(r.tokens for r in replies) / wall,
            "ttft_ms": 1000 * statistics.median(r.arrivals[0] - r.begin for r in replies),
            "decode_tok_s": decode_speed(replies)}


def run_round(url: str, concurrency: int, prompt_len: int, tokens: int, seed: int) -> Figures:
    """serve_round, from code that is not asynchronous."""
    return asyncio.run(serve_round(url, concurrency, prompt_len, tokens, seed))
