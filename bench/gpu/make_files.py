"""Makes the model and the reference of a GPU bundle from the demo model:

  make_files.py SOURCE.gguf INTO [LAYERS]

INTO/model.gguf: its first LAYERS layers (default 4), as they are stored, so that it is small.
INTO/reference.json: greedy continuations of that model by numpy in float32 (tests/e2e/
reference_model.py), with the gap between the two best logits at each step. It asks for numpy."""

import json
import pathlib
import sys

import gguf_file

PROMPTS = ["The capital of France is", "1, 2, 3, 4,", "Once upon a time, there was", "def main():",
           "Water boils at", "The quick brown fox", "In the beginning", "A list of colors:"]
MAX_TOKENS = 16
# Two logits that are nearer than this may change places when activations and the cache are rounded to
# bf16: what is beyond it must agree.
SAFE_GAP = 0.3


def truncate(source, into, layers):
    model = gguf_file.GgufFile(source)
    prefix = model.fields["general.architecture"][1]
    fields = {**model.fields, f"{prefix}.block_count": (gguf_file.UINT32, layers)}
    tensors = {name: (shape, kind, [data]) for name, (shape, kind, data) in model.tensors.items()
               if not name.startswith("blk.") or int(name.split(".")[1]) < layers}
    gguf_file.write(into, fields, tensors)


def prompt_ids(tokens, text):
    """Some ids that stand for `text`: the longest token first. Any ids would do; no tokenizer is
    needed on the other machine."""
    text = text.replace(" ", "\u0120")
    ids = []
    while text:
        size = next(n for n in range(len(text), 0, -1) if text[:n] in tokens)
        ids.append(tokens[text[:size]])
        text = text[size:]
    return ids


def reference(path, prompts, max_tokens):
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/e2e"))
    import reference_model
    model = reference_model.load(path)
    tokens = {t: i for i, t in enumerate(model.meta["tokenizer.ggml.tokens"])}
    cases = []
    for prompt in prompts:
        ids = prompt_ids(tokens, prompt)
        case = {"prompt": prompt, "prompt_ids": list(ids), "ids": [], "top2_gap": []}
        for _ in range(max_tokens):
            logprobs = model.log_probabilities(ids)
            second, best = logprobs.argsort()[-2:]
            case["ids"].append(int(best))
            case["top2_gap"].append(round(float(logprobs[best] - logprobs[second]), 4))
            ids.append(int(best))
        cases.append(case)
    return {"about": "Greedy continuations by numpy in float32 of the weights as they are stored.",
            "safe_gap": SAFE_GAP, "max_tokens": max_tokens, "cases": cases}


def main(source, into, layers="4"):
    into = pathlib.Path(into)
    into.mkdir(parents=True, exist_ok=True)
    truncate(source, into / "model.gguf", int(layers))
    (into / "reference.json").write_text(json.dumps(
        reference(into / "model.gguf", PROMPTS, MAX_TOKENS), indent=1))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
