#!/usr/bin/env python3
"""make_seeds.py BUILD: makes tests/fuzz/seeds anew: small valid inputs of each parser, some of them made
by the dapt of the folder BUILD. The compressor `zstd` must be there, and gcc for a small module."""
import bz2
import gzip
import json
import lzma
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

here = pathlib.Path(__file__).resolve().parent
seeds = here / "seeds"


def put(target, name, data):
    folder = seeds / target
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(data, (str, bytes)):
        data = json.dumps(data, ensure_ascii=False)
    (folder / name).write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)


def models():
    llama = {"model_type": "llama", "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
             "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 16, "max_position_embeddings": 16}
    put("model", "gpt2", {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "n_positions": 8,
                          "vocab_size": 16, "bos_token_id": 50256, "eos_token_id": -1})
    put("model", "llama", {**llama, "num_key_value_heads": 1, "tie_word_embeddings": True})
    scalings = {"linear": {"factor": 4.0}, "dynamic": {"factor": 2.0},
                "yarn": {"factor": 4.0, "original_max_position_embeddings": 8, "beta_fast": 32},
                "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                           "original_max_position_embeddings": 8},
                "longrope": {"short_factor": [1.0, 1.1], "long_factor": [1.0, 2.0], "factor": 2.0,
                             "original_max_position_embeddings": 8}}
    for name, scaling in scalings.items():
        put("model", f"llama-{name}", {**llama, "rope_theta": 1e4, "rope_scaling": {"rope_type": name, **scaling}})
    put("model", "mistral", {**llama, "model_type": "mistral", "sliding_window": 4, "head_dim": 4})
    put("model", "qwen2", {**llama, "model_type": "qwen2", "use_sliding_window": True, "sliding_window": 4,
                           "layer_types": ["full_attention", "sliding_attention"]})
    put("model", "qwen3", {**llama, "model_type": "qwen3", "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}})
    for name in "olmo2", "phi3", "smollm3", "stablelm", "granite", "starcoder2":
        put("model", name, {**llama, "model_type": name, "partial_rotary_factor": 1.0})
    put("model", "gemma2", {**llama, "model_type": "gemma2", "head_dim": 4, "query_pre_attn_scalar": 4, "sliding_window": 4,
                            "attn_logit_softcapping": None, "final_logit_softcapping": 30.0})
    put("model", "gemma3_text", {**llama, "model_type": "gemma3_text", "head_dim": 4, "sliding_window": 4,
                                 "sliding_window_pattern": 2, "rope_theta": 1e6, "rope_local_base_freq": 1e4,
                                 "rope_scaling": {"rope_type": "linear", "factor": 8.0}})
    put("model", "gpt_neox", {**llama, "model_type": "gpt_neox", "rotary_pct": 0.5, "use_parallel_residual": True})
    for name in "bert", "roberta":
        put("model", name, {**llama, "model_type": name, "type_vocab_size": 2, "pad_token_id": 1, "is_decoder": False,
                            "position_embedding_type": "absolute", "layer_norm_eps": 1e-12})


def safetensors(tensors, data, metadata=None):
    header = dict(tensors)
    if metadata:
        header["__metadata__"] = metadata
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def gguf_value(value):
    """A GGUF type and its bytes: a bool, an int (u32), a float (f32), a text, or a list of one of them."""
    if isinstance(value, bool):
        return 7, struct.pack("<B", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        return 8, struct.pack("<Q", len(value.encode())) + value.encode()
    parts = [gguf_value(v) for v in value]
    return 9, struct.pack("<IQ", parts[0][0], len(parts)) + b"".join(data for _, data in parts)


def gguf_file(metadata, tensors):
    """tensors: (name, shape from the outermost, type, bytes)"""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, value in metadata.items():
        kind, data = gguf_value(value)
        head += gguf_value(key)[1] + struct.pack("<I", kind) + data
    data = b""
    for name, shape, kind, content in tensors:
        head += gguf_value(name)[1] + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape[::-1])
        head += struct.pack("<IQ", kind, len(data))
        data += content + bytes(-len(content) % 32)
    return head + bytes(-len(head) % 32) + data


def gguf():
    def filled(shape, kind=0):
        count = 1
        for size in shape:
            count *= size
        block, size = {0: (1, 4), 2: (32, 18), 8: (32, 34), 30: (1, 2)}[kind]
        return count // block * size * b"\0"

    def model(arch, more, layer, outside, kind):
        keys = {"general.architecture": arch, f"{arch}.block_count": 1, f"{arch}.context_length": 16,
                f"{arch}.embedding_length": 32, f"{arch}.feed_forward_length": 32, f"{arch}.attention.head_count": 2}
        keys |= {f"{arch}.{key}": value for key, value in more.items()}
        shapes = outside | {f"blk.0.{name}": shape for name, shape in layer.items()}
        return keys, [(n, s, kind if len(s) == 2 else 0, filled(s, kind if len(s) == 2 else 0)) for n, s in shapes.items()]

    square, vector = (32, 32), (32,)
    attention = {"attn_norm.weight": vector, "attn_output.weight": square, "ffn_norm.weight": vector, "ffn_up.weight": square,
                 "ffn_down.weight": square}
    separate = attention | {f"attn_{x}.weight": square for x in "qkv"} | {"ffn_gate.weight": square}
    words = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.tokens": ["a", "b", "ab", "<e>"],
             "tokenizer.ggml.token_type": [1, 1, 1, 3], "tokenizer.ggml.merges": ["a b"], "tokenizer.ggml.eos_token_id": 3,
             "tokenizer.ggml.bos_token_id": 3, "tokenizer.ggml.add_bos_token": True}
    pieces = {"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": ["<unk>", "\u2581", "a", "\u2581a"],
              "tokenizer.ggml.scores": [0.0, -2.0, -3.0, -1.0], "tokenizer.ggml.token_type": [2, 1, 1, 1],
              "tokenizer.ggml.unknown_token_id": 0, "tokenizer.chat_template": "{{ x }}"}
    ends = {"token_embd.weight": (4, 32), "output_norm.weight": vector}
    rms = {"attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 1e4}
    keys, tensors = model("llama", rms | {"attention.head_count_kv": 2, "rope.dimension_count": 16}, separate, ends, 8)
    put("gguf", "llama", gguf_file(keys | words, tensors))
    keys, tensors = model("llama", rms | {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}, separate, ends, 2)
    put("gguf", "pieces", gguf_file(keys | pieces, tensors))
    biased = {"attn_norm.bias": vector, "attn_output.bias": vector, "ffn_norm.bias": vector, "ffn_up.bias": vector,
              "ffn_down.bias": vector, "attn_qkv.weight": (96, 32), "attn_qkv.bias": (96,)}
    keys, tensors = model("gpt2", {"attention.layer_norm_epsilon": 1e-5}, attention | biased,
                          ends | {"output_norm.bias": vector, "position_embd.weight": (16, 32)}, 30)
    put("gguf", "gpt2", gguf_file(keys | words | {"tokenizer.ggml.pre": "gpt-2"}, tensors))


def weights():
    put("weights", "floats", safetensors(
        {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
         "b": {"dtype": "F16", "shape": [2], "data_offsets": [16, 20]},
         "c": {"dtype": "BF16", "shape": [], "data_offsets": [20, 22]}}, bytes(range(22)), {"format": "pt"}))
    put("weights", "integers", safetensors(
        {"ids": {"dtype": "I64", "shape": [1, 2], "data_offsets": [4, 20]},
         "none": {"dtype": "I32", "shape": [0, 3], "data_offsets": [4, 4]},
         "one": {"dtype": "I32", "shape": [1], "data_offsets": [0, 4]}}, bytes(20)))
    put("weights", "escaped", safetensors(
        {"a\"\\\u00e9": {"dtype": "BOOL", "shape": [1], "data_offsets": [0, 1]}}, b"\1"))
    names = {"a": "s1.safetensors", "b": "s1.safetensors"}
    put("index", "one", {"metadata": {"total_size": 9}, "weight_map": names})
    put("index", "two", {"metadata": {}, "weight_map": {**names, "c": "s2.safetensors"}})
    put("index", "part", {"weight_map": {"c": "s2.safetensors"}})


def configs():
    full = {"model": {"path": "model"}, "tokenizer": {"plugin": "hf", "path": "model"},
            "data": {"domain": [{"path": "corpus/*.jsonl", "source": "jsonl", "field": "text", "weight": 2},
                                "more.txt"],
                     "replay": ["general/"], "eval": {"domain": "held.txt", "general": ["a.txt", "b.txt"]},
                     "sequence": 128, "packing": "documents", "eval_tokens": 1000, "cache": "cache"},
            "train": {"epochs": 1, "batch": 4, "micro_batch": 2, "clip": 1.0,
                      "schedule": {"plugin": "cosine", "peak": 1e-4, "warmup": 10}},
            "backend": {"name": "cpu", "threads": 2}, "run": "run", "seed": 7}
    put("config", "full", full)
    put("config", "least", {"model": {"path": "m"}, "data": {"domain": "a.txt"}, "train": {"steps": 3}})
    put("config", "random", {"model": {"random": {"model_type": "gpt2", "n_layer": 1}},
                             "data": {"domain": ["a.txt"]}, "train": {"tokens": 1e6}, "run": "r"})
    put("config", "set", json.dumps(full) + "\x01train.schedule.peak=3e-5")
    put("config", "set-list", json.dumps(full) + "\x01data.domain=[\"x\",{\"path\":\"y\"}]")
    put("config", "set-steps", json.dumps(full) + "\x01train.steps=9")


def lines():
    put("jsonl", "plain", '{"text": "one"}\n{"text": "two\\n\\u00e9", "id": 7}\n')
    put("jsonl", "python", '{"text": "a", "score": NaN, "x": [Infinity, -Infinity]}\r\n\n{"text": "\\ud83d", "y": "\\udc00"}')
    put("jsonl", "doubled", '{"text": "a", "text": "b"}\n{"no": 1}\n{"text": 3}\n{"text": "\\u0000"}\n')
    put("jsonl", "broken", '\ufeff{"text": "a"\n[1, 2]\n"x"\n{"text": "ok", "deep": [[[[{"a": {}}]]]]}\n')


def inputs():
    text = b"the quick brown fox " * 20
    zstd = subprocess.run(["zstd", "-c", "--check", "-19"], input=text, capture_output=True, check=True).stdout
    files = [text, gzip.compress(text, mtime=0) + gzip.compress(b"second", mtime=0), zstd, lzma.compress(text), bz2.compress(text)]
    for kind, name in enumerate(["plain", "gz", "zst", "xz", "bz2"]):
        put("input", name, bytes([kind + 5 * 2, 0]) + files[kind])
        for how, what in {2: "whole", 6: "cut", 26: "padded"}.items():
            first = next(b for b in range(128, 256) if b % 5 == kind)
            put("input", f"{name}-{what}", bytes([first, how]) + text)


def tokenizer(model, **more):
    return {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": None,
            "post_processor": None, "decoder": None, "model": model, **more}


def added(number, text, special=True, **more):
    return {"id": number, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": special, **more}


def byte_letters():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return {byte: chr(byte) if byte in plain else chr(256 + [b for b in range(256) if b not in plain].index(byte))
            for byte in range(256)}


def tokenizers():
    letters = list(byte_letters().values())
    words = letters + ["\u0120t", "he", "\u0120the", "on"]
    level = {"type": "BPE", "vocab": {w: i for i, w in enumerate(words)},
             "merges": ["\u0120 t", "h e", "\u0120t he", "o n"]}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    end = len(words)
    put("tokenizer", "bytes", tokenizer(level, pre_tokenizer=byte_level, decoder=byte_level,
                                        added_tokens=[added(end, "<s>", lstrip=True)]))
    split = {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"},
         "behavior": "Isolated", "invert": False}, {**byte_level, "use_regex": False}]}
    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                                                         {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [end], "tokens": ["<s>"]}}}
    put("tokenizer", "split", json.dumps(tokenizer(
        {**level, "ignore_merges": True}, pre_tokenizer=split, decoder=byte_level, post_processor=template,
        normalizer={"type": "NFC"}, added_tokens=[added(end, "<s>")])) + "\x01It's 12345  there\r\n\tthe <s> on")
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + list("\u2581abcdehnot") + ["\u2581t", "he", "\u2581the"]
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False}
    put("tokenizer", "pieces", json.dumps(tokenizer(
        {"type": "BPE", "vocab": {w: i for i, w in enumerate(pieces)}, "merges": [["\u2581", "t"], ["h", "e"], ["\u2581t", "he"]],
         "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True},
        normalizer={"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"},
                                                        {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
        decoder={"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        added_tokens=[added(1, "<s>"), added(2, "</s>")])) + "\x01the head \u00e9 not")
    put("tokenizer", "metaspace", tokenizer(
        {"type": "BPE", "vocab": {w: i for i, w in enumerate(pieces)}, "merges": [], "unk_token": "<unk>"},
        pre_tokenizer=metaspace, decoder=metaspace))
    parts = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "th", "##e", "##re", "once", "up", "##on", ",", "'", "1", "##2"]
    put("tokenizer", "wordpiece", json.dumps(tokenizer(
        {"type": "WordPiece", "vocab": {w: i for i, w in enumerate(parts)}, "unk_token": "[UNK]",
         "continuing_subword_prefix": "##", "max_input_chars_per_word": 100},
        normalizer={"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
                    "lowercase": True}, pre_tokenizer={"type": "BertPreTokenizer"},
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
        post_processor={"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        added_tokens=[added(i, t) for i, t in enumerate(parts[:4])])) + "\x01There, once upon [SEP] \u4f60 12")
    put("tokenizer", "words", tokenizer(
        {"type": "WordPiece", "vocab": {"[UNK]": 0, "a": 1, "##b": 2}, "unk_token": "[UNK]"},
        normalizer={"type": "Sequence", "normalizers": [{"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"},
                                                        {"type": "Strip", "strip_left": True, "strip_right": False}]},
        pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Punctuation", "behavior": "Isolated"},
                                                             {"type": "Digits", "individual_digits": True}]},
        added_tokens=[added(3, "ab c", False, single_word=True, normalized=True, rstrip=True)]))
    token = lambda content, **more: {k: v for k, v in added(0, content, **more).items() if k != "id"}
    put("tokenizer", "lines", "\r\n".join(parts) + "\x02" + json.dumps(
        {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": False,
         "mask_token": {"__type": "AddedToken", **token("<m>", lstrip=True)}, "extra_special_tokens": ["1", "new"],
         "added_tokens_decoder": {"17": token("up", special=False), "16": token("[PAD]")}}) + "\x01There, once upon <m> new [SEP] \u4f60 12")
    put("tokenizer", "lines-alone", "\n".join(parts) + "\n[MASK]\nthe\n\nfor\n")


def module(folder):
    source = folder / "tiny.c"
    source.write_text("const struct { unsigned abi, count; const void *all; } dapt_plugin_entry "
                      "__attribute__((visibility(\"default\"))) = {1, 1, 0};\n")
    out = folder / "tiny.so"
    subprocess.run(["gcc", "-shared", "-nostdlib", "-fPIC", "-Os", "-s", "-Wl,-z,max-page-size=64", "-Wl,--build-id=none",
                    "-Wl,-z,noseparate-code", "-o", out, source], check=True)
    put("module", "tiny", out.read_bytes())
    data = bytearray(out.read_bytes())
    data[4] = 1  # 32 bits
    put("module", "narrow", bytes(data))
    put("module", "head", bytes(data[:64]))


def run(build, folder):
    """A run of two steps: its record, and the shard of its text."""
    (folder / "a.txt").write_text("the first document\n\nand more of it. " * 20)
    (folder / "b.txt").write_text("another one")
    config = {"model": {"random": {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "n_positions": 16,
                                   "vocab_size": 257}},
              "tokenizer": {"plugin": "bytes"}, "data": {"domain": ["a.txt", "b.txt"], "eval": {"held": "b.txt"},
                                                        "sequence": 16, "cache": "cache"},
              "train": {"steps": 2, "batch": 2}, "backend": {"name": "cpu"}, "run": "run"}
    (folder / "c.json").write_text(json.dumps(config))
    subprocess.run([build / "tools/dapt/dapt", "train", "c.json"], cwd=folder, check=True, capture_output=True)
    put("record", "two-steps", sorted(folder.glob("run/**/step-*/run.json"))[-1].read_bytes())
    put("record", "bare", {"format": "dapt-run-1", "step": 1, "files": {}})
    put("record", "chain", {"format": "dapt-run-1", "step": 2, "files": {"config.json": "", "model.safetensors": "", "state.safetensors": ""},
                            "previous": {"checkpoint": "step-000001", "record": "0" * 32}})
    for i, shard in enumerate(sorted((folder / "cache").glob("*.tokens"))):
        put("shard", f"bytes-{i}", shard.read_bytes())


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    shutil.rmtree(seeds, ignore_errors=True)
    models()
    weights()
    gguf()
    configs()
    lines()
    inputs()
    tokenizers()
    with tempfile.TemporaryDirectory() as scratch:
        module(pathlib.Path(scratch))
        run(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(scratch))
    print(f"{sum(f.stat().st_size for f in seeds.rglob('*') if f.is_file())} bytes in {seeds}")


main()
