"""Writes a checkpoint of PyTorch from before 2020 (no zip file) as safetensors: python3 - CHECKPOINT SAFETENSORS.

With the standard library alone. The pickle may name tensors of floats and nothing else, so it runs no code.
"""
import array
import collections
import itertools
import json
import math
import pickle
import struct
import sys

Tensor = collections.namedtuple("Tensor", "storage offset shape strides")
NAMED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): lambda *arguments: Tensor(*arguments[:4]),
    ("torch", "FloatStorage"): "F32",
    ("torch", "LongStorage"): "I64",
}


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        return NAMED[module, name]

    def persistent_load(self, saved):
        _, kind, key, _, _, _ = saved
        return kind, key


def row_major(tensor, values):
    """The values of a tensor in the order of its dimensions, whatever their order in the file."""
    strides = [math.prod(tensor.shape[at + 1 :]) for at in range(len(tensor.shape))]
    ordered = array.array(values.typecode, bytes(values.itemsize * math.prod(tensor.shape)))
    # The longest dimension is copied at once, for each place in the others.
    longest = max(range(len(tensor.shape)), key=lambda at: tensor.shape[at])
    others = [range(size) if at != longest else range(1) for at, size in enumerate(tensor.shape)]
    size, step, own = tensor.shape[longest], tensor.strides[longest], strides[longest]
    for place in itertools.product(*others):
        begin = tensor.offset + sum(map(int.__mul__, place, tensor.strides))
        to = sum(map(int.__mul__, place, strides))
        ordered[to : to + own * (size - 1) + 1 : own] = values[begin : begin + step * (size - 1) + 1 : step]
    return ordered


with open(sys.argv[1], "rb") as checkpoint:
    _magic, _version, _machine = (Unpickler(checkpoint).load() for _ in range(3))
    tensors, keys = Unpickler(checkpoint).load(), Unpickler(checkpoint).load()
    kinds = {tensor.storage[1]: tensor.storage[0] for tensor in tensors.values()}
    content = {}
    for key in keys:
        (count,) = struct.unpack("<q", checkpoint.read(8))
        values = array.array({"F32": "f", "I64": "q"}[kinds[key]])
        values.frombytes(checkpoint.read(count * values.itemsize))
        content[key] = values

header, body = {}, bytearray()
for name, tensor in sorted(tensors.items()):
    kind, key = tensor.storage
    if kind != "F32":
        continue  # how many batches a layer was trained with
    begin = len(body)
    body += row_major(tensor, content[key]).tobytes()
    header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [begin, len(body)]}

text = json.dumps(header, separators=(",", ":")).encode()
text += b" " * (-len(text) % 8)
with open(sys.argv[2], "wb") as safetensors:
    safetensors.write(struct.pack("<Q", len(text)) + text + body)
