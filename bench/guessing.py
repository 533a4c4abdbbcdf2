"""Lockstep with and without guessing ahead (speculative decoding), and a peer, all up and asked by
turns. With and without, the answers must be the same."""

import re
import statistics
import time
import urllib.request
from dataclasses import dataclass

import load
from ordinary_requests import MIXED, REQUESTS

Figures = dict[str, float]
COUNTERS = ("draft", "accepted")
RUN = 4        # words in a row that count as said before
PEER_S = 0.5   # llama-server's threads spin for 0.2 s after an answer
LINE = re.compile(r"^lockstep_spec_decode_num_(\w+)_tokens_total(?:{.*})? (\S+)$", re.M)


class AnswersDiffer(Exception):
    """Guessing ahead has changed an answer. No failure of one system that others could do without."""


class Answers:
    """The answers seen so far: those to one request at one temperature must be one."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, float], load.Reply] = {}
        self.compared = 0

    def add(self, name: str, temperature: float, reply: load.Reply) -> None:
        first = self.seen.setdefault((name, temperature), reply)
        if (reply.text, reply.tokens) != (first.text, first.tokens):
            raise AnswersDiffer(f"{name}, temperature {temperature}: two answers with and without "
                                f"guessing ahead:\n{first.text}\n--- and ---\n{reply.text}")
        self.compared += reply is not first


@dataclass(frozen=True)
class Urls:
    """The servers: Lockstep without guesses, with them, and the peer if it is there."""
    off: str
    on: str
    peer: str | None


@dataclass(frozen=True)
class Work:
    """How much is measured."""
    names: tuple[str, ...]       # of requests, asked one at a time
    pairs: int                   # of each
    concurrencies: tuple[int, ...]
    mixed: tuple[str, ...]       # of requests, asked several at once
    rounds: int                  # of each concurrency
    tokens: int                  # of an answer at most


ALL = Work(tuple(REQUESTS), 3, (1, 2, 4, 8), MIXED, 2, 256)
QUICK = Work(("short question", "table", "exact quotation"), 1, (1, 2), ("table", "exact quotation"), 1, 64)


def counters(url: str) -> dict[str, float]:
    """Tokens that a Lockstep server has guessed ("draft") and guessed right ("accepted")."""
    with urllib.request.urlopen(url + "/metrics", timeout=10) as reply:
        found = dict(LINE.findall(reply.read().decode()))
    return {name: float(found[name]) for name in COUNTERS}


def in_turn(urls: Urls, turn: int) -> list[tuple[str, str]]:
    """Lockstep without and with guesses, each one first every other time."""
    servers = [("off", urls.off), ("on", urls.on)]
    return servers if turn % 2 == 0 else servers[::-1]


def repeated(text: str) -> float:
    """The share of a text's runs of RUN words that it already had: many in a loop."""
    words = text.split()
    runs = [tuple(words[i:i + RUN]) for i in range(len(words) - RUN + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def ask(url: str, name: str, temperature: float, tokens: int) -> load.Reply:
    return load.chat_round(url, [REQUESTS[name]], tokens, temperature)[0]


def ask_alone(urls: Urls, name: str, temperature: float, turn: int, tokens: int,
              answers: Answers) -> dict[str, load.Reply]:
    """One request to both of Lockstep's servers, and a greedy one to the peer after them."""
    replies = {who: ask(url, name, temperature, tokens) for who, url in in_turn(urls, turn)}
    for reply in replies.values():
        answers.add(name, temperature, reply)
    if urls.peer and temperature == 0:
        replies["peer"] = ask(urls.peer, name, temperature, tokens)
        time.sleep(PEER_S)
    return replies


def one_request(urls: Urls, name: str, work: Work, answers: Answers) -> Figures:
    """Medians over pairs: tokens per second after the first, and the ratios of a pair's."""
    found: dict[str, list[float]] = {}
    for turn in range(work.pairs):
        greedy = ask_alone(urls, name, 0, turn, work.tokens, answers)
        sampled = ask_alone(urls, name, load.TEMPERATURE, turn, work.tokens, answers)
        speed = {who: load.speed_after_first(reply) for who, reply in greedy.items()}
        warm = {who: load.speed_after_first(reply) for who, reply in sampled.items()}
        pair = speed | {"tokens": greedy["on"].tokens, "repeated": repeated(greedy["on"].text),
                        "gain": speed["on"] / speed["off"], "sampled_gain": warm["on"] / warm["off"]}
        if "peer" in speed:
            pair["over_peer"] = speed["on"] / speed["peer"]
        for key, value in pair.items():
            found.setdefault(key, []).append(value)
    return {key: statistics.median(values) for key, values in found.items()}


def several_at_once(urls: Urls, count: int, work: Work, answers: Answers) -> Figures:
    """The mixed requests, `count` at once until all are answered: all tokens over all seconds."""
    groups = [work.mixed[i:i + count] for i in range(0, len(work.mixed), count)]
    rounds = []
    for turn in range(work.rounds):
        tokens, seconds = 0, {"off": 0.0, "on": 0.0}
        for i, names in enumerate(groups):
            for who, url in in_turn(urls, turn + i):
                replies = load.chat_round(url, [REQUESTS[name] for name in names], work.tokens, 0)
                seconds[who] += load.wall(replies)
                for name, reply in zip(names, replies):
                    answers.add(name, 0, reply)
            tokens += sum(reply.tokens for reply in replies)  # the same of both
        rounds.append({"off": tokens / seconds["off"], "on": tokens / seconds["on"],
                       "gain": seconds["off"] / seconds["on"]})
    return {key: statistics.median(figures[key] for figures in rounds) for key in rounds[0]}


def measure(urls: Urls, work: Work) -> dict:
    """One run: "requests" one at a time, what was guessed for them, "at_once" several, and how many
    answers were "compared" with an earlier one. Throws AnswersDiffer."""
    answers = Answers()
    for url in filter(None, (urls.off, urls.on, urls.peer)):
        load.chat_round(url, ["Hello"], 16, 0)
    time.sleep(PEER_S)
    before = counters(urls.on)
    requests = {name: one_request(urls, name, work, answers) for name in work.names}
    after = counters(urls.on)
    at_once = {str(count): several_at_once(urls, count, work, answers)
               for count in work.concurrencies}
    return {"requests": requests, "at_once": at_once, "compared": answers.compared,
            **{name: after[name] - before[name] for name in COUNTERS}}
