"""One streaming HTTP client for all servers: tokens are counted as they arrive."""

import asyncio
import json
import statistics
import time
from dataclasses import dataclass

import aiohttp


@dataclass
class Reply:
    """When one request's tokens came, in seconds."""
    begin: float
    first: float
    last: float
    tokens: int


def prompt(length: int, seed: int) -> list[int]:
    """Token ids that no cache has seen."""
    return [(seed * 7919 + i * 104729) % 40000 + 100 for i in range(length)]


async def ask(session: aiohttp.ClientSession, url: str, ids: list[int], tokens: int) -> Reply:
    body = {"model": "m", "prompt": ids, "max_tokens": tokens, "temperature": 0, "stream": True,
            "ignore_eos": True, "stream_options": {"include_usage": True}}
    begin = time.monotonic()
    first = last = 0.0
    counted = None
    async with session.post(f"{url}/v1/completions", json=body) as response:
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {(await response.text())[:500]}")
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            now = time.monotonic()
            event = json.loads(line[6:])
            if event.get("usage"):
                counted = event["usage"]["completion_tokens"]
            if event.get("choices"):
                first, last = first or now, now
    if counted != tokens:
        raise RuntimeError(f"{counted} tokens came, {tokens} were asked for")
    return Reply(begin, first, last, tokens)


async def serve_round(url: str, concurrency: int, prompt_len: int, tokens: int,
                      seed: int) -> dict[str, float]:
    """`concurrency` requests at once: output tokens per second from the first request to the last
    token, and the median time to the first token."""
    timeout = aiohttp.ClientTimeout(total=1800)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector, read_bufsize=1 << 20) as s:
        replies = await asyncio.gather(*(ask(s, url, prompt(prompt_len, seed + i), tokens)
                                         for i in range(concurrency)))
    wall = max(r.last for r in replies) - min(r.begin for r in replies)
    decode = [(r.tokens - 1) / (r.last - r.first) for r in replies if r.tokens > 1]
    return {"tok_s": sum(r.tokens for r in replies) / wall,
            "ttft_ms": 1000 * statistics.median(r.first - r.begin for r in replies),
            "decode_tok_s": statistics.median(decode) if decode else 0.0}


def run_round(url: str, concurrency: int, prompt_len: int, tokens: int, seed: int) -> dict[str, float]:
    return asyncio.run(serve_round(url, concurrency, prompt_len, tokens, seed))
