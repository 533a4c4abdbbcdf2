"""The Python client and the official openai package against the real server."""

import asyncio
import time

import openai
import pytest

import lockstep_client

PROMPT = "The capital of France is"


@pytest.fixture
def client(server):
    with lockstep_client.Client(server.zmq, timeout=30) as connected:
        yield connected


@pytest.fixture
def official(server):
    return openai.OpenAI(base_url=server.http + "/v1", api_key="none", max_retries=0)


def wait_until_idle(server):
    deadline = time.monotonic() + 10
    while server.metric("lockstep_num_requests_running") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.metric("lockstep_num_requests_running") == 0
    assert server.metric("lockstep_kv_cache_usage_perc") == 0


def test_text_and_whole_answers(client):
    answer = client.generate(PROMPT, max_tokens=8, logprobs=2)
    assert client.generate_text(PROMPT, 8) == answer.text
    assert answer.finish_reason == "length" and len(answer.token_ids) == 8
    assert answer.usage == lockstep_client.Usage(5, 8, cached_tokens=0)
    assert [token.chosen.token_id for token in answer.logprobs] == answer.token_ids
    assert b"".join(token.chosen.token for token in answer.logprobs).decode() == answer.text
    assert all(len(token.top) == 2 and token.top[0].logprob >= token.top[1].logprob
               for token in answer.logprobs)


def test_stop_strings_end_the_answer_before_them(client):
    whole = client.generate_text("1, 2, 3, 4,", 30)
    stopped = client.generate("1, 2, 3, 4,", max_tokens=30, stop=["8, 9"])
    assert stopped.text == whole[:whole.index("8, 9")]
    assert (stopped.finish_reason, stopped.stop_reason) == ("stop", "8, 9")


def test_a_stream_left_early_is_cancelled(server, client):
    with client.stream(PROMPT, max_tokens=5000, ignore_eos=True) as stream:
        for number, _ in enumerate(stream):
            if number == 3:
                break
    wait_until_idle(server)


def test_refusals_carry_code_and_field(client):
    with pytest.raises(lockstep_client.LockstepError) as refused:
        client.generate(PROMPT, max_tokens=100_000)
    assert refused.value.code == "context_length_exceeded"
    with pytest.raises(lockstep_client.LockstepError, match="temperature"):
        client.generate(PROMPT, temperature=-1.0)
    with pytest.raises(lockstep_client.LockstepError, match="temprature"):
        client.generate(PROMPT, temprature=0.5)


def test_silence_is_an_error():
    with lockstep_client.Client("tcp://127.0.0.1:9", timeout=0.3) as nobody:
        with pytest.raises(lockstep_client.NoAnswer, match="127.0.0.1:9 within 0.3 s"):
            nobody.status()


def test_many_requests_on_one_async_connection(server, client):
    prompts = [f"{number} and" for number in range(20)]
    expected = [client.generate_text(prompt, 6) for prompt in prompts]

    async def ask():
        async with lockstep_client.AsyncClient(server.zmq) as many:
            return await asyncio.gather(*(many.generate_text(prompt, 6) for prompt in prompts))

    assert asyncio.run(ask()) == expected


def test_an_async_stream_closed_early_is_cancelled(server):
    async def ask():
        async with lockstep_client.AsyncClient(server.zmq) as many:
            stream = many.stream(PROMPT, max_tokens=5000, ignore_eos=True)
            async with stream:
                async for _ in stream:
                    break
            await asyncio.sleep(0.2)

    asyncio.run(ask())
    wait_until_idle(server)


def test_status(client):
    status = client.status(metrics=True)
    assert status.healthy and status.world_size == 2
    assert "lockstep_num_requests_running" in status.metrics


def test_openai_completions(official):
    model = official.models.list().data[0].id
    whole = official.completions.create(model=model, prompt=PROMPT, max_tokens=8, temperature=0)
    assert whole.usage.completion_tokens == 8 and whole.choices[0].finish_reason == "length"
    stream = official.completions.create(model=model, prompt=PROMPT, max_tokens=8, temperature=0,
                                         stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    assert "".join(c.choices[0].text for c in chunks if c.choices) == whole.choices[0].text
    assert chunks[-1].usage.completion_tokens == 8


def test_openai_chat(official):
    model = official.models.list().data[0].id
    ask = {"model": model, "messages": [{"role": "user", "content": "Say hello."}],
           "max_tokens": 12, "temperature": 0}
    whole = official.chat.completions.create(**ask, logprobs=True, top_logprobs=3)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in
                   official.chat.completions.create(**ask, stream=True) if chunk.choices)
    assert text == whole.choices[0].message.content and text
    assert len(whole.choices[0].logprobs.content[0].top_logprobs) == 3


def test_openai_choices_and_seeds(official):
    model = official.models.list().data[0].id
    ask = {"model": model, "prompt": "Once", "max_tokens": 10, "temperature": 1.5, "seed": 11, "n": 3}
    first = [choice.text for choice in official.completions.create(**ask).choices]
    assert [choice.text for choice in official.completions.create(**ask).choices] == first
    assert len(set(first)) == 3


def test_openai_errors(official):
    model = official.models.list().data[0].id
    with pytest.raises(openai.BadRequestError) as refused:
        official.completions.create(model=model, prompt="x", max_tokens=100_000)
    assert refused.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        official.completions.create(model="another", prompt="x")
    with pytest.raises(openai.BadRequestError, match="temperature"):
        official.completions.create(model=model, prompt="x", temperature=-1)
