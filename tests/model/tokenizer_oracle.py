"""Writes what Hugging Face's `tokenizers` gives for many texts, for tokenizer_oracle_test.cc.

    tokenizer_oracle.py MODEL.gguf VARIANT SECTION SEED COUNT >FIXTURE.json

The vocabulary is that of the GGUF file. VARIANT is a pre-tokenizer that Lockstep knows ("smollm"
has the vocabulary as it is, all others an extended one) or one of METASPACE_VARIANTS, for which the
vocabulary is written as SentencePiece writes it. The fixture is an object of "spec", the
fields of model::TokenizerSpec, and "cases", drawn from COUNT texts; SECTION says what a case is:

    encode     {text, parse_special, ids}
    decode     {ids, skip_special_tokens, text}
    classes    [first, last, sizes]: ranges of class_code_points(), and for each c in them the sizes
               of the pieces that "!" c "!a" c "a 7" c "7 " c is split into, in code points
    nfc        [c, text]: what NFC makes of nfc_probe(c), where that is not itself, for all c in
               class_code_points()
    nfc_texts  [text, text]: texts of characters that NFC may change, and what it makes of them

Exits 77 when the package `tokenizers` is not installed.
"""

import json
import random
import struct
import sys

try:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
except ImportError:
    sys.exit(77)

# What goes in front of text, by model::SpacePrefix; "scores" has these in place of merges.
METASPACE_VARIANTS = {
    "llama2": "every_part",
    "metaspace_first": "first_part",
    "metaspace_always": "parts_without_space",
    "metaspace_never": "none",
    "scores": "every_part",
}

CONTROL, USER_DEFINED = 3, 4  # values of tokenizer.ggml.token_type

PATTERNS = {
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "tekken": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}


def read_gguf_metadata(path):
    """The key-value pairs of a GGUF file (ggml/docs/gguf.md, versions 2 and 3)."""
    scalars = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    with open(path, "rb") as file:

        def read(code):
            return struct.unpack("<" + code, file.read(struct.calcsize(code)))[0]

        def read_value(kind):
            if kind == 8:
                return file.read(read("Q")).decode("utf-8")
            if kind == 9:
                element, size = read("I"), read("Q")
                return [read_value(element) for _ in range(size)]
            return read(scalars[kind])

        if file.read(4) != b"GGUF" or read("I") not in (2, 3):
            sys.exit(f"{path}: not a GGUF file of version 2 or 3")
        read("Q")  # the number of tensors
        metadata = {}
        for _ in range(read("Q")):
            key = read_value(8)
            metadata[key] = read_value(read("I"))
        return metadata


def byte_alphabet():
    """GPT-2's bytes_to_unicode."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    alphabet = {b: chr(b) for b in printable}
    alphabet.update({b: chr(256 + k) for k, b in enumerate(others)})
    return alphabet


def read_spec(path):
    metadata = read_gguf_metadata(path)
    types = metadata["tokenizer.ggml.token_type"]
    return {
        "pre_tokenizer": metadata["tokenizer.ggml.pre"],
        "tokens": metadata["tokenizer.ggml.tokens"],
        "merges": metadata["tokenizer.ggml.merges"],
        "special_tokens": [i for i, kind in enumerate(types) if kind == CONTROL],
        "added_tokens": [i for i, kind in enumerate(types) if kind == USER_DEFINED],
        "normalized_tokens": [],
        "nfc": False,
        "ignore_merges": False,
        "byte_fallback": False,
        "space_prefix": "none",
        "strips_first_space": False,
        "scores": [],
    }


def metaspace_pieces(spec):
    """The characters and the merges (left, right) of a byte-level vocabulary that are whole text."""
    bytes_of = {c: b for b, c in byte_alphabet().items()}

    def text_of(token):
        try:
            text = bytes(bytes_of[c] for c in token).decode("utf-8")
        except UnicodeDecodeError:
            return None
        return text.replace(" ", "▁") if text.isprintable() else None

    characters, merged, merges = {}, set(), []
    for line in spec["merges"]:
        left, right = map(text_of, line.split(" "))
        if left and right and all(len(part) == 1 or part in merged for part in (left, right)):
            merges.append((left, right))
            merged.add(left + right)
            characters.update(dict.fromkeys(left + right))
    return list(characters), merges


def single_splits(characters, merges):
    """Merges of tokens that are made up of two others in one way only: of equal scores, too, there is
    then one order for Hugging Face, which ranks pairs, and for SentencePiece, which ranks tokens."""
    rank = {}
    for i, (left, right) in enumerate(merges):
        rank.setdefault(left + right, i)
    kept, result = set(characters), []
    for token in sorted(rank, key=lambda token: (len(token), rank[token])):
        splits = [(token[:i], token[i:]) for i in range(1, len(token)) if {token[:i], token[i:]} <= kept]
        if len(splits) == 1:
            kept.add(token)
            result.append((rank[token], splits[0]))
    return [split for _, split in sorted(result)]


def metaspace_spec(spec, variant):
    characters, merges = metaspace_pieces(spec)
    if variant == "scores":
        merges = single_splits(characters, merges)
    special = ["<unk>", "<s>", "</s>", *(spec["tokens"][i] for i in spec["special_tokens"])]
    merged = dict.fromkeys(left + right for left, right in merges)
    tokens = special + ["<0x%02X>" % b for b in range(256)] + characters
    tokens += [token for token in merged if token not in tokens[: len(special)]]
    added = ["<tool_call>", "<tool_call>{", "</tool_call>", "｜añadido｜", "</tool_call", "<think>"]
    result = dict(spec, pre_tokenizer="", byte_fallback=True, space_prefix=METASPACE_VARIANTS[variant])
    result["strips_first_space"] = variant != "metaspace_never"
    result["tokens"] = tokens + added
    result["merges"] = [left + " " + right for left, right in merges]
    if variant == "scores":
        place = {token: i for i, token in enumerate(merged)}
        result["scores"] = [-float(place.get(token, len(place))) for token in tokens + added]
    result["special_tokens"] = list(range(len(special)))
    result["added_tokens"] = list(range(len(tokens), len(result["tokens"])))
    result["normalized_tokens"] = result["added_tokens"][-2:]
    return result


def extend_spec(spec, pre_tokenizer):
    """The same vocabulary with all 256 bytes, added tokens, and tokens that no merge reaches.

    An added token such as "é" is left out on purpose: Hugging Face's ByteLevel decoder takes it for
    a byte of the alphabet and gives U+FFFD, Lockstep gives its own text.
    """
    alphabet = byte_alphabet()
    tokens = list(spec["tokens"])
    tokens += [c for c in alphabet.values() if c not in set(tokens)]
    space = alphabet[ord(" ")]
    tokens += ["Supercali", space + "fragilistic", "expiali", space + "zebrafishes", "!?!?!?"]
    added = ["<tool_call>", "<tool_call>{", "</tool_call>", "\t \t", "<|im_", "｜añadido｜"]
    normalized = ["[\u01fa]", "</tool_call", "<think>"]  # looked for in normalized text
    extended = dict(spec, pre_tokenizer=pre_tokenizer, nfc=pre_tokenizer == "qwen2")
    extended["ignore_merges"] = pre_tokenizer in ("llama3", "tekken")
    extended["tokens"] = tokens + added + normalized
    extended["added_tokens"] = list(range(len(tokens), len(extended["tokens"])))
    extended["normalized_tokens"] = extended["added_tokens"][len(added) :]
    return extended


def make_pre_tokenizer(name):
    if name == "gpt2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if name == "smollm":
        first = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([first, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    first = pre_tokenizers.Split(Regex(PATTERNS[name]), behavior="isolated")
    second = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([first, second])


def add_metaspace_steps(tokenizer, spec):
    """What transformers converts SentencePiece models to: legacy, and since 4.40."""
    prefix = spec["space_prefix"]
    if prefix == "every_part":
        steps = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        tokenizer.normalizer = normalizers.Sequence(steps)
    else:
        scheme = {"first_part": "first", "parts_without_space": "always", "none": "never"}[prefix]
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=False)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if spec["strips_first_space"]:
        steps.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence(steps)


def build_reference(spec):
    tokens = spec["tokens"]
    added = set(spec["added_tokens"])
    vocabulary = {token: i for i, token in enumerate(tokens) if i not in added}
    merges = [tuple(line.split(" ")) for line in spec["merges"]]
    fallback = {"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"} if spec["byte_fallback"] else {}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=spec["ignore_merges"], **fallback))
    if spec["nfc"]:
        tokenizer.normalizer = normalizers.NFC()
    if spec["byte_fallback"]:
        add_metaspace_steps(tokenizer, spec)
    else:
        tokenizer.pre_tokenizer = make_pre_tokenizer(spec["pre_tokenizer"])
        tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(tokens[i], special=True, normalized=False) for i in spec["special_tokens"]]
    )
    normalized = set(spec["normalized_tokens"])
    tokenizer.add_tokens([AddedToken(tokens[i], normalized=i in normalized) for i in spec["added_tokens"]])
    for i, token in enumerate(tokens):
        assert tokenizer.token_to_id(token) == i, token
    return tokenizer


WORDS = """the of and to in a is that for it as was with be by on not he I this are or his from at
which but have an had they you were their one all we can her has there been if more when will would
who so no said its up tokenizer Supercali fragilistic expiali zebrafishes antidisestablishmentarianism
naïve café Zürich Москва Ελλάδα привет καλημέρα señor añadido Straße ﬁne ŉ ǅ Ⅷ ½ ²""".split()
CODE = ["def f(x):\n    return x ** 2\n", "for (int i = 0; i < n; ++i) {\n\t\tsum += a[i];\n\t}\r\n",
        "std::vector<std::int32_t> ids;", "#include <cstdio>\n", "SELECT * FROM t WHERE a != 'b';",
        "{\"key\": [1, 2.5e-3, null]}", "x = \"\\n\"  # comment", "\\frac{a}{b}", "<div class='c'>&nbsp;</div>",
        "https://example.org/a?b=c&d=%20#e", "!?!?!?", "/* --- */", "a->b&&c||!d", "0xDEADBEEF", "1_000_000"]
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'Ve", "'M", "'LL", "'lL",
                "'D", "'ſ", "’s", "'x", "''s", "'", "'r", "'l", "I'm", "you'LL", "THEY'VE", "1's", " 't", "'K"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\r", "\n\n", "\v", "\f", "\x85", "\u00a0", "\u1680", "\u180e",
          "\u2000", "\u2003", "\u200a", "\u200b", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\ufeff",
          "\x1c", "\x1f", "\t \t", " " * 17, "\n" * 5, " \n \r\n\t "]
EMOJI = ["😀", "👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇫🇷", "❤️", "☺", "1️⃣", "🧑🏿‍🚀", "🫠", "\u200d", "\ufe0f"]
MARKS = ["e\u0301", "a\u0308\u0323", "न\u093fकल", "ส\u0e27ัสดี", "\u0301", "Z\u0351\u036b\u0343", "क्षि", "가\u11a8"]
RTL = ["שלום עולם", "مرحبا بالعالم", "\u202eabc\u202c", "١٢٣٤", "۱۲۳", "אָלֶף", "لا", "\u200f"]
CJK = ["你好，世界。", "日本語のテキスト", "한국어 문장", "東京2020年", "㈱①②", "一二三", "𠀀𪛖", "「」", "ｱｲｳ", "１２３", "〇"]
SPECIALS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start|>user\n", "<|im_", "<|im_end", "<repo_name>",
            "<file_sep>", "<reponame>", "<|", "|>", "<tool_call>", "<tool_call>{", "</tool_call>", "<|im_<|im_end|>",
            "｜añadido｜", "<|im_start|><|im_end|>", " <|im_end|> ", "<empty_output>", "[\u212b\u0301]", "[\u01fa]",
            "<think>", "</tool_call", "<think>\u0338", "<tool_call>\u0338", "<s>", "</s>", "<s> ", " </s> <s>",
            "<unk>", "<0x41>", "▁", " ▁ ", "<s>▁", "<think> <think>", "<0x0A><s><0x"]


def random_code_point(rng):
    limit = rng.choice([0x80, 0x250, 0x3000, 0xD800, 0x20000, 0x110000])
    c = rng.randrange(limit)
    return chr(c) if not 0xD800 <= c <= 0xDFFF else "\ud7ff"


def random_part(rng):
    """A few characters of one of the kinds of text that tokenizers differ on."""
    kind = rng.randrange(16)
    if kind < 3:
        return " ".join(rng.choices(WORDS, k=rng.randint(1, 8)))
    if kind == 3:
        return "".join(rng.choices("0123456789", k=rng.randint(1, 12))) + rng.choice(["", ".", ",", " "])
    if kind == 4:
        return "".join(rng.choices(SPACES, k=rng.randint(1, 5)))
    if kind == 5:
        return "".join(chr(rng.choice([*range(0x20), 0x7F, *range(0x80, 0xA0)])) for _ in range(rng.randint(1, 4)))
    if kind == 6:
        return "".join(random_code_point(rng) for _ in range(rng.randint(1, 10)))
    if kind == 7:
        return rng.choice(WORDS).upper() + rng.choice(["", "!", "...", "?!", ";", ")", "\"", "—"])
    if kind == 8:
        return "".join(rng.choices("abcdefghijklmnopqrstuvwxyzé", k=rng.randint(1, 20)))
    return rng.choice([CODE, CONTRACTIONS, EMOJI, MARKS, RTL, CJK, SPECIALS][kind - 9])


def random_text(rng):
    if rng.random() < 0.01:
        return rng.choice(["a", "ab", "=", " ", "\n", "é", "中", "<"]) * rng.randint(1000, 20000)
    separators = ["", " "] if rng.random() < 0.8 else ["", *SPACES]
    return "".join(random_part(rng) + rng.choice(separators) for _ in range(rng.randint(0, 24)))


def encode_cases(tokenizer, texts):
    for parse_special in (False, True):
        tokenizer.encode_special_tokens = not parse_special
        for text in texts:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            yield {"text": text, "parse_special": parse_special, "ids": ids}


def has_whole_characters(tokenizer, ids):
    """Whether every run of byte tokens is UTF-8. Of one that is not, Hugging Face makes U+FFFD for each
    byte, those of whole characters included, which can only be known at the end of the run."""
    run = b""
    for token in [*map(tokenizer.id_to_token, ids), ""]:
        if len(token) == 6 and token.startswith("<0x"):
            run += bytes([int(token[3:5], 16)])
            continue
        try:
            run.decode("utf-8")
        except UnicodeDecodeError:
            return False
        run = b""
    return True


def decode_cases(tokenizer, spec, encoded, rng):
    """Ids of texts, whole and cut in two, and random ids, which seldom are whole characters.

    With byte_fallback only those that are whole characters, and without normalized tokens: Hugging Face
    decodes these as what their texts are normalized to, Lockstep as their own texts.
    """
    size = tokenizer.get_vocab_size()
    excluded = set(spec["normalized_tokens"] if spec["byte_fallback"] else [])
    for case in encoded:
        ids = case["ids"]
        if rng.random() < 0.5:
            ids = ids[rng.randint(0, len(ids)) :]
        elif rng.random() < 0.5:
            ids = [rng.randrange(size if rng.random() < 0.3 else 1000) for _ in range(rng.randint(1, 30))]
        skip = rng.random() < 0.5
        if spec["byte_fallback"] and (excluded & set(ids) or not has_whole_characters(tokenizer, ids)):
            continue
        yield {"ids": ids, "skip_special_tokens": skip, "text": tokenizer.decode(ids, skip_special_tokens=skip)}


def class_code_points():
    """All that Unicode has assigned or may soon, and a sample of the private and unassigned planes."""
    yield from range(0xD800)
    yield from range(0xE000, 0x40000)
    yield from range(0x40000, 0xE0000, 251)
    yield from range(0xE0000, 0xE0200)  # tags and selectors of variants
    yield from range(0xE0200, 0x110000, 251)


def class_ranges(pre_tokenizer):
    """Ranges of consecutive members of class_code_points() that are split in the same way."""
    ranges = []
    for c in class_code_points():
        pieces = pre_tokenizer.pre_tokenize_str("!{0}!a{0}a 7{0}7 {0}".format(chr(c)))
        sizes = [end - begin for _, (begin, end) in pieces]
        if ranges and ranges[-1][2] == sizes:
            ranges[-1][1] = c
        else:
            ranges.append([c, c, sizes])
    return ranges


def nfc_probe(c):
    """A text of `c` alone, behind and before characters that it may be composed or sorted with."""
    return "{0} e{0} {0}\u0323\u0301 q\u0301{0}x \u1100{0} \uac00{0}\u11a8 q{0}\u0316".format(chr(c))


def nfc_cases():
    for c in class_code_points():
        text = normalizers.NFC().normalize_str(nfc_probe(c))
        if text != nfc_probe(c):
            yield [c, text]


def nfc_text_cases(changed, rng, count):
    """Texts of `changed` characters, and of letters, marks and Hangul that may become one of them."""
    others = [*range(0x41, 0x5B), *range(0x300, 0x370), *range(0x898, 0x8E0), *range(0x1100, 0x1200)]
    for _ in range(count):
        characters = [rng.choice(changed if rng.random() < 0.5 else others) for _ in range(rng.randint(1, 30))]
        text = "".join(map(chr, characters))
        yield [text, normalizers.NFC().normalize_str(text)]


def make_cases(tokenizer, spec, section, seed, count):
    if section == "classes":
        return class_ranges(tokenizer.pre_tokenizer)
    rng = random.Random(seed)
    if section == "nfc":
        return list(nfc_cases())
    if section == "nfc_texts":
        return list(nfc_text_cases([c for c, _ in nfc_cases()], rng, count))
    encoded = list(encode_cases(tokenizer, [random_text(rng) for _ in range(count)]))
    return encoded if section == "encode" else list(decode_cases(tokenizer, spec, encoded, rng))


def main():
    model, variant, section, seed, count = sys.argv[1:]
    spec = read_spec(model)
    if variant in METASPACE_VARIANTS:
        spec = metaspace_spec(spec, variant)
    elif variant != spec["pre_tokenizer"]:
        spec = extend_spec(spec, variant)
    cases = make_cases(build_reference(spec), spec, section, int(seed), int(count))
    if spec["scores"]:
        spec["merges"] = []
    json.dump({"spec": spec, "cases": cases}, sys.stdout)


if __name__ == "__main__":
    main()
