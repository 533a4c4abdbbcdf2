"""lockstep_client against a server that speaks docs/protocol.md over TCP."""

import asyncio
import contextlib
import gc
import itertools
import json
import pathlib
import pickle
import random
import re
import time

import pytest

import lockstep_client
from fake_server import TIMINGS, USAGE, FakeServer, accepted, delta, done, fault
from lockstep_client import AsyncClient, Client, LockstepError, NoAnswer

HELLO = [accepted(), delta("Hel", 10), delta("", 11), delta("lo", 12, 13), done()]
STATUS = {"type": "status", "healthy": True, "model": "m", "version": "0.1.0",
          "system_fingerprint": "f", "world_size": 2, "epoch": 9, "steps": 40, "running": 1,
          "waiting": 0, "blocks_total": 100, "blocks_used": 3, "max_model_len": 2048}


def hello(request):
    return HELLO


def endless(request):
    yield accepted()
    for i in itertools.count():
        yield delta("x", i)


def silent(request):
    return []


def call(server, method, *args, timeout=10, **kwargs):
    with Client(server.address, timeout) as client:
        return getattr(client, method)(*args, **kwargs)


def call_async(server, method, *args, timeout=10, **kwargs):
    async def run():
        async with AsyncClient(server.address, timeout) as client:
            return await getattr(client, method)(*args, **kwargs)
    return asyncio.run(run())


both = pytest.mark.parametrize("call", [call, call_async], ids=["sync", "async"])


@both
def test_a_completion_holds_all_that_the_answer_brought(call):
    with FakeServer(hello) as server:
        answer = call(server, "generate", "Hi", max_tokens=4, temperature=0.5, stop=["."])
    assert (answer.text, answer.token_ids) == ("Hello", [10, 11, 12, 13])
    assert (answer.finish_reason, answer.stop_reason, answer.seed) == ("stop", None, 7)
    assert (answer.prompt_token_ids, answer.system_fingerprint) == ([1, 2, 3], "avx2-q4_1")
    assert vars(answer.usage) == USAGE and vars(answer.timings) == TIMINGS
    assert server.received == [{"type": "generate", "id": "1", "prompt": "Hi", "max_tokens": 4,
                                "temperature": 0.5, "stop": ["."]}]


@both
def test_generate_text_gives_the_text(call):
    with FakeServer(hello) as server:
        assert call(server, "generate_text", "Hi", 4) == "Hello"


@both
def test_chat_sends_its_messages_and_template_arguments_as_json(call):
    messages = [{"role": "user", "content": 'naïve "quotes" \n 语言'}]
    with FakeServer(lambda request: [accepted(), done("stop", stop_reason="2")]) as server:
        answer = call(server, "chat", messages, template_args={"tools": None})
    assert answer.stop_reason == "2"
    assert json.loads(server.received[0]["messages"]) == messages
    assert json.loads(server.received[0]["template_args"]) == {"tools": None}


@both
def test_logprobs_keep_the_bytes_of_a_token(call):
    best, other = ({"token_id": 10, "token": b"\xe8\xaf", "logprob": -0.25},
                   {"token_id": 5, "token": b"a", "logprob": -2.5})
    answers = [accepted(), delta("", 10, logprobs=[{"chosen": best, "top": [best, other]}]),
               delta("a", 5, logprobs=[{"chosen": other}]), done("length")]
    with FakeServer(lambda request: answers) as server:
        first, second = call(server, "generate", "Hi", logprobs=2).logprobs
    assert vars(first.chosen) == best and [vars(t) for t in first.top] == [best, other]
    assert vars(second.chosen) == other and second.top == []


@both
def test_status_has_the_fields_of_the_protocol(call):
    def answer(request):
        return [{**STATUS, "metrics": "m 1", "stopping": True} if request["metrics"] else STATUS]

    with FakeServer(answer) as server:
        assert vars(call(server, "status")) == {**{k: STATUS[k] for k in STATUS if k != "type"},
                                                "metrics": None, "stopping": False}
        status = call(server, "status", metrics=True)
        assert status.metrics == "m 1" and status.stopping


@both
def test_an_error_of_the_server_is_raised_as_it_was_sent(call):
    answers = [accepted(), delta("x", 1),
               fault("invalid_request_error", "stop[3] is empty", param="stop[3]")]
    with FakeServer(lambda request: answers) as server:
        with pytest.raises(LockstepError) as caught:
            call(server, "generate", "Hi", stop=[""])
    error = caught.value
    assert (error.code, error.message, error.param) == (
        "invalid_request_error", "stop[3] is empty", "stop[3]")
    assert [m["type"] for m in server.received] == ["generate"]  # an ended request is not cancelled


@both
@pytest.mark.parametrize("broken", [
    {"raw": b"\xc1"}, {"raw": b"\x01"}, {"type": "delta", "text": "x"}, {"type": "surprise"},
    {"type": "delta", "text": 5, "token_ids": []}],
    ids=["no msgpack", "no map", "missing field", "unknown type", "wrong type"])
def test_an_unreadable_message_ends_the_request(call, broken):
    with FakeServer(lambda request: [accepted(), broken]) as server:
        with pytest.raises(LockstepError, match="protocol_error: .* cannot be read"):
            call(server, "generate", "Hi")


@both
@pytest.mark.parametrize("arguments,param,message", [
    ({"temprature": 1.0}, "temprature", "unknown parameter 'temprature'; did you mean 'temp"),
    ({"temperature": "hot"}, "temperature", "temperature must be a number"),
    ({"top_k": True}, "top_k", "top_k must be an integer"),
    ({"top_k": 1.0}, "top_k", "top_k must be an integer"),
    ({"ignore_eos": 1}, "ignore_eos", "ignore_eos must be true or false"),
    ({"stop": "."}, "stop", "stop must be a list of strings"),
    ({"logit_bias": {"5": 1.0}}, "logit_bias", "logit_bias must be a dict from token ids"),
    ({"messages": []}, None, "exactly one of .* got prompt and messages"),
    ({"prompt": None}, None, "exactly one of .* got none"),
    ({"template_args": {"x": {1}}}, "template_args", "template_args is not JSON"),
    ({"seed": 2**64}, None, "the request has no msgpack form"),
    ({"prompt": "x" * (12 * 2**20)}, None, "the request has 125829.. bytes; at most 12582912"),
])
def test_a_bad_argument_is_refused_by_name_before_it_is_sent(call, arguments, param, message):
    with FakeServer(lambda request: [STATUS] if request["type"] == "status" else HELLO) as server:
        with pytest.raises(LockstepError, match=message) as caught:
            call(server, "generate", **{"prompt": "Hi", **arguments})
        call(server, "status")  # had anything been sent, it would have arrived by now
    assert (caught.value.code, caught.value.param) == ("invalid_request_error", param)
    assert [m["type"] for m in server.received] == ["status"]


@both
@pytest.mark.parametrize("method,arguments", [("generate", ["Hi"]), ("status", [])],
                         ids=["generate", "status"])
def test_silence_ends_in_no_answer_that_names_the_server(call, method, arguments):
    with FakeServer(silent) as server:
        with pytest.raises(NoAnswer) as caught:
            call(server, method, *arguments, timeout=0.2)
        assert server.wait_for("cancel")["id"] == "1"
    assert caught.value.message == f"no answer from {server.address} within 0.2 s"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@both
@pytest.mark.parametrize("timeout", [None, 60], ids=["waits_for_ever", "waits_long"])
def test_a_server_that_goes_ends_its_requests_at_once(call, timeout):
    def leave(request):
        yield accepted()
        server.stop()

    with FakeServer(leave) as server:
        begun = time.monotonic()
        with pytest.raises(LockstepError) as caught:
            call(server, "generate", "Hi", timeout=timeout)
    assert str(caught.value) == f"connection_error: lost the connection to {server.address}"
    assert time.monotonic() - begun < 5


@both
def test_the_timeout_is_for_the_first_word_alone(call):
    def queue(request):
        yield accepted()
        time.sleep(0.5)  # a busy server's queue, or a long prompt
        yield done()

    with FakeServer(queue) as server:
        assert call(server, "generate", "Hi", timeout=0.3).finish_reason == "stop"


def test_what_came_before_the_loss_is_read_before_it_is_told():
    def say_all(request):
        yield accepted()
        yield from (delta("w", i) for i in range(3000))
        yield done()
        server.stop()

    with FakeServer(say_all) as server, Client(server.address, timeout=10) as client:
        stream = client.stream("Hi")
        next(stream)
        server.wait_for_end()
        time.sleep(0.1)  # the loss is known before the rest is read
        list(stream)
    assert len(stream.completion.token_ids) == 3000
    assert stream.completion.finish_reason == "stop"


def test_a_request_without_a_server_reaches_none_that_comes_later():
    with FakeServer(hello) as first:
        pass
    with Client(first.address, timeout=0.2) as client:
        with pytest.raises(NoAnswer):
            client.generate("a ghost")
        with FakeServer(hello, first.address) as second:
            while not second.received:
                with contextlib.suppress(NoAnswer):
                    client.generate("alive")
    assert {message.get("prompt") for message in second.received} == {"alive"}


def test_a_request_goes_out_once_its_server_has_come():
    async def run(address):
        async with AsyncClient(address, timeout=20) as client:
            waiting = asyncio.create_task(client.generate("early"))
            await asyncio.sleep(0.2)
            with FakeServer(hello, address) as server:
                assert (await waiting).text == "Hello"
            with FakeServer(hello, address) as server:  # and finds the next one
                assert (await client.generate("later")).text == "Hello"
            return server.received

    with FakeServer(hello) as nobody:
        pass
    assert [message["prompt"] for message in asyncio.run(run(nobody.address))] == ["later"]


@both
def test_a_prompt_may_be_token_ids(call):
    with FakeServer(hello) as server:
        call(server, "generate", prompt_token_ids=[5, 6], seed=2**64 - 1, logit_bias={7: -1})
    assert server.received == [{"type": "generate", "id": "1", "prompt_token_ids": [5, 6],
                                "seed": 2**64 - 1, "logit_bias": {7: -1}}]


def test_a_stream_gives_the_deltas_in_order():
    with FakeServer(hello) as server, Client(server.address) as client:
        stream = client.stream("Hi")
        assert [(d.text, d.token_ids) for d in stream] == [("Hel", [10]), ("", [11]),
                                                           ("lo", [12, 13])]
        assert stream.completion.finish_reason == "stop"
        assert list(stream) == []


def test_streams_of_one_client_can_be_read_in_turns():
    def count(request):
        yield accepted()
        yield from (delta(request["prompt"], i) for i in range(5))
        yield done()
    with FakeServer(count) as server, Client(server.address, timeout=10) as client:
        pairs = list(zip(client.stream("a"), client.stream("b")))
    assert [(a.text, *a.token_ids, b.text, *b.token_ids) for a, b in pairs] == [
        ("a", i, "b", i) for i in range(5)]


def leave_by_break(client):
    for _ in client.stream("Hi"):
        break
    gc.collect()


def leave_by_close(client):
    stream = client.stream("Hi")
    next(stream)
    stream.close()


def leave_by_exception(client):
    with pytest.raises(ZeroDivisionError), client.stream("Hi") as stream:
        next(stream)
        raise ZeroDivisionError


def leave_by_closing_the_client(client):
    stream = client.stream("Hi")
    next(stream)
    client.close()
    with pytest.raises(LockstepError, match="the client is closed"):
        list(stream)
    with pytest.raises(LockstepError, match="the client is closed"):
        client.status()


@pytest.mark.parametrize("leave", [leave_by_break, leave_by_close, leave_by_exception,
                                   leave_by_closing_the_client])
def test_leaving_a_stream_cancels_it(leave):
    with FakeServer(endless) as server:
        with Client(server.address, timeout=10) as client:
            leave(client)
            if leave is not leave_by_closing_the_client:
                assert server.wait_for("cancel")["id"] == "1"
        assert server.wait_for("cancel")["id"] == "1"


async def async_break(client):
    async for _ in client.stream("Hi"):
        break


async def async_close(client):
    async with client.stream("Hi") as stream:
        await stream.__anext__()


async def async_cancel(client):
    async def read():
        async for _ in client.stream("Hi"):
            reading.set()
    reading = asyncio.Event()
    task = asyncio.create_task(read())
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def async_close_the_client(client):
    async def read():
        async for _ in client.stream("Hi"):
            reading.set()
    reading = asyncio.Event()
    task = asyncio.create_task(read())
    await reading.wait()
    await client.close()
    with pytest.raises(LockstepError, match="the client is closed"):
        await task
    with pytest.raises(LockstepError, match="the client is closed"):
        await client.status()


@pytest.mark.parametrize("leave", [async_break, async_close, async_cancel, async_close_the_client])
def test_leaving_an_async_stream_cancels_it(leave):
    async def run(server):
        async with AsyncClient(server.address, timeout=10) as client:
            await leave(client)
            if leave is not async_close_the_client:
                await asyncio.to_thread(server.wait_for, "cancel")

    with FakeServer(endless) as server:
        asyncio.run(run(server))
        assert server.wait_for("cancel")["id"] == "1"


def test_a_return_out_of_a_stream_and_its_client_cancels():
    async def first(server):
        async with AsyncClient(server.address, timeout=10) as client:
            async for delta_ in client.stream(prompt_token_ids=[1], max_tokens=5, temperature=0.0,
                                              ignore_eos=True):
                return delta_.token_ids

    with FakeServer(endless) as server:
        assert asyncio.run(first(server)) == [0]
        assert server.wait_for("cancel")["id"] == "1"


def test_twenty_requests_of_one_async_client_get_their_own_answers():
    seed = 2024
    print("seed", seed)
    lengths = [random.Random(seed + i).randint(1, 40) for i in range(20)]

    def count(request):
        yield accepted()
        for i in range(request["max_tokens"]):
            yield delta(f"{request['prompt']}.{i} ", i)
        yield done("length")

    async def run(server):
        async with AsyncClient(server.address, timeout=10) as client:
            return await asyncio.gather(*(client.generate(f"p{i}", max_tokens=length)
                                          for i, length in enumerate(lengths)))

    with FakeServer(count) as server:
        answers = asyncio.run(run(server))
    assert [a.text for a in answers] == ["".join(f"p{i}.{k} " for k in range(length))
                                         for i, length in enumerate(lengths)]


def test_one_request_that_fails_leaves_the_others_alone():
    def answer(request):
        return [fault("overloaded", "full")] if request["prompt"] == "bad" else HELLO

    async def run(server):
        async with AsyncClient(server.address, timeout=10) as client:
            return await asyncio.gather(*map(client.generate_text, ["a", "bad", "b"], [1, 1, 1]),
                                        return_exceptions=True)

    with FakeServer(answer) as server:
        first, bad, last = asyncio.run(run(server))
    assert (first, bad.code, last) == ("Hello", "overloaded", "Hello")


def test_an_async_client_must_be_entered():
    with pytest.raises(LockstepError, match="async with"):
        asyncio.run(AsyncClient("tcp://127.0.0.1:1").status())


def test_an_address_that_is_none_is_named():
    with pytest.raises(ValueError, match="cannot connect to 'nowhere'"):
        Client("nowhere")


def test_the_arguments_are_the_fields_of_the_protocol_document():
    document = (pathlib.Path(__file__).parents[2] / "docs/protocol.md").read_text()
    section = document.split("### `generate`")[1].split("###")[0]
    fields = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    arguments = {"prompt", "prompt_token_ids", "messages", "max_tokens"}
    assert set(lockstep_client.Options.__annotations__) == fields - {"id"} - arguments


def test_the_version_is_that_of_the_project():
    assert lockstep_client.__version__ == "0.1.0"
