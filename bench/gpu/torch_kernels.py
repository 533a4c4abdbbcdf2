"""PyTorch's kernels at the shapes of bench/cuda_kernels.cc, as a JSON list on standard output. As
there, calls are recorded in a CUDA graph and take turns at operands that the cache cannot hold."""

import json

import torch
import torch.nn.functional as functional

HIDDEN, INNER, VOCABULARY, QUERY_HEADS, HEADS, HEAD_DIM = 4096, 14336, 128256, 32, 8, 128
BEYOND_CACHE = 256 << 20


def copies_of(size):
    return min(1024, max(1, -(-BEYOND_CACHE // size)))


def time_of(calls):
    """Microseconds of a call."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for call in calls[:3]:
            call()
    torch.cuda.synchronize()
    rounds = max(1, 16 // len(calls))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(rounds):
            for call in calls:
                call()
    graph.replay()
    torch.cuda.synchronize()
    launches = 1
    while True:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(launches):
            graph.replay()
        end.record()
        end.synchronize()
        micros = begin.elapsed_time(end) * 1e3
        if micros >= 2e5:
            return micros / launches / (rounds * len(calls))
        launches = int(min(1e4, max(2 * launches, 2.4e5 / micros * launches)))


def random(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def product(m, n, k):
    weights = [random(n, k) for _ in range(copies_of(2 * n * k))]
    x, out = random(m, k), torch.empty(m, n, device="cuda", dtype=torch.bfloat16)
    calls = [lambda w=w: torch.mm(x, w.t(), out=out) for w in weights]
    return {"kernel": "product", "format": "bf16", "m": m, "n": n, "k": k, "us": time_of(calls)}


def rms_norm(m):
    rows = [random(m, HIDDEN).float() for _ in range(copies_of(6 * m * HIDDEN))]
    weight = torch.ones(HIDDEN, device="cuda")
    calls = [lambda x=x: functional.rms_norm(x, (HIDDEN,), weight, 1e-5).bfloat16() for x in rows]
    return {"kernel": "rms_norm", "m": m, "k": HIDDEN, "us": time_of(calls)}


def attention(m, length):
    size = 4 * m * length * HEADS * HEAD_DIM
    caches = [(random(m, HEADS, length, HEAD_DIM), random(m, HEADS, length, HEAD_DIM))
              for _ in range(copies_of(size))]
    q = random(m, QUERY_HEADS, 1, HEAD_DIM)
    calls = [lambda c=c: functional.scaled_dot_product_attention(q, *c, enable_gqa=True)
             for c in caches]
    return {"kernel": "attention", "m": m, "length": length, "us": time_of(calls)}


def main():
    lines = []
    for m in (1, 16, 32, 64, 128, 512):
        lines += [product(m, HIDDEN + 2 * HEADS * HEAD_DIM, HIDDEN), product(m, 2 * INNER, HIDDEN),
                  product(m, HIDDEN, INNER)]
    lines.append(product(1, VOCABULARY, HIDDEN))
    lines += [rms_norm(m) for m in (1, 128)]
    lines += [attention(m, length) for m, length in ((1, 1024), (1, 16384), (32, 1024), (128, 1024))]
    print(json.dumps(lines, indent=1))


main()
