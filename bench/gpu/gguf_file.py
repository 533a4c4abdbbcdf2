"""GGUF files, read and written as they are (version 3; ggml-org/ggml, docs/gguf.md): enough to leave
layers out and to fill a file with other tensors."""

import math
import mmap
import struct

BF16 = 30
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
UINT32, STRING, ARRAY = 4, 8, 9
# Numbers of a block and its bytes, by tensor type.
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 8: (32, 34), 12: (256, 144), 14: (256, 210),
          BF16: (1, 2)}


def tensor_bytes(shape, kind):
    numbers, size = BLOCKS[kind]
    return math.prod(shape) // numbers * size


class GgufFile:
    """fields: {name: (type, value)}, the value of an array (type of its elements, list).
    tensors: {name: (shape as stored, type, memory)}."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._at = 0
        magic, version, tensors, fields = (self._take(f) for f in "IIQQ")
        if magic != 0x46554747 or version != 3:
            raise ValueError(f"{path}: not a GGUF file of version 3")
        self.fields = {}
        for _ in range(fields):
            name, kind = self._string(), self._take("I")
            self.fields[name] = (kind, self._value(kind))
        infos = []
        for _ in range(tensors):
            name, dimensions = self._string(), self._take("I")
            infos.append((name, [self._take("Q") for _ in range(dimensions)], self._take("I"),
                          self._take("Q")))
        align = self.fields.get("general.alignment", (UINT32, 32))[1]
        start = -(-self._at // align) * align
        whole = memoryview(self._data)
        self.tensors = {name: (shape, kind, whole[start + offset:][:tensor_bytes(shape, kind)])
                        for name, shape, kind, offset in infos}

    def _take(self, form):
        value, = struct.unpack_from("<" + form, self._data, self._at)
        self._at += struct.calcsize("<" + form)
        return value

    def _string(self):
        size = self._take("Q")
        self._at += size
        return self._data[self._at - size:self._at].decode("utf-8", "surrogateescape")

    def _value(self, kind):
        if kind == STRING:
            return self._string()
        if kind == ARRAY:
            inner, count = self._take("I"), self._take("Q")
            return inner, [self._value(inner) for _ in range(count)]
        return self._take(_SCALARS[kind])


def _packed(kind, value):
    if kind == STRING:
        text = value.encode("utf-8", "surrogateescape")
        return struct.pack("<Q", len(text)) + text
    if kind == ARRAY:
        inner, values = value
        return struct.pack("<IQ", inner, len(values)) + b"".join(_packed(inner, v) for v in values)
    return struct.pack("<" + _SCALARS[kind], value)


def write(path, fields, tensors):
    """`tensors`: {name: (shape, type, pieces)}, pieces an iterable of bytes."""
    align = fields.get("general.alignment", (UINT32, 32))[1]
    header = struct.pack("<IIQQ", 0x46554747, 3, len(tensors), len(fields))
    for name, (kind, value) in fields.items():
        header += _packed(STRING, name) + struct.pack("<I", kind) + _packed(kind, value)
    offset = 0
    for name, (shape, kind, _) in tensors.items():
        header += _packed(STRING, name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        offset += -(-tensor_bytes(shape, kind) // align) * align
    with open(path, "wb") as file:
        file.write(header)
        for _, (_, _, pieces) in tensors.items():
            file.write(b"\0" * (-file.tell() % align))
            for piece in pieces:
                file.write(piece)
        file.write(b"\0" * (-file.tell() % align))
