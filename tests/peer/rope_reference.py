#!/usr/bin/env python3
"""Prints what transformers makes of every combination of rope settings: rows for tests/models/test_rope.c.

rope_reference.py    needs transformers 5.12 and PyTorch
"""
import json
import logging
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)
from transformers import LlamaConfig  # noqa: E402
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding  # noqa: E402

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
CASES = [
    {},
    {"rope_theta": 500.0},
    {"rope_parameters": {"rope_theta": 700.0}},
    {"rope_parameters": {}, "rope_theta": 500.0},
    {"rope_parameters": None, "rope_theta": 500.0},
    {"rope_parameters": {"rope_type": "default"}, "rope_theta": 500.0},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 700.0}, "rope_theta": 500.0},
    {"rope_scaling": None, "rope_theta": 500.0},
    {"rope_scaling": {}, "rope_theta": 500.0},
    {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 500.0},
    {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    {"rope_scaling": {"rope_type": "linear", "type": "dynamic", "factor": 2.0}},
    {"rope_scaling": {"rope_type": "linear", "factor": 2.0, "rope_theta": 700.0}, "rope_theta": 500.0},
    {"rope_scaling": {"rope_type": "linear", "factor": 2.0}, "rope_parameters": {"rope_theta": 700.0}},
    {"rope_scaling": {"rope_type": "linear", "factor": 2.0}, "rope_parameters": {"rope_theta": 700.0}, "rope_theta": 500.0},
    {"rope_scaling": {}, "rope_parameters": {"rope_theta": 700.0, "rope_type": "linear", "factor": 4.0}},
    {"rope_scaling": {"rope_type": "linear"}},
    {"rope_scaling": {"rope_type": "linear", "factor": 0.5}},
    {"rope_scaling": {"factor": 2.0}, "rope_theta": 500.0},
    {"rope_scaling": {"type": "default", "factor": 2.0}, "rope_theta": 500.0},
    {"rope_scaling": LLAMA3, "rope_theta": 500.0},
    {"rope_parameters": {**LLAMA3, "rope_theta": 500.0}},
    {"rope_scaling": {k: v for k, v in LLAMA3.items() if k != "original_max_position_embeddings"}, "rope_theta": 500.0},
    {"rope_scaling": LLAMA3, "rope_theta": 500.0, "original_max_position_embeddings": 128},
    {"rope_scaling": {k: v for k, v in LLAMA3.items() if k != "factor"}, "rope_theta": 500.0},
    {"rope_scaling": {k: v for k, v in LLAMA3.items() if k != "low_freq_factor"}, "rope_theta": 500.0},
    {"rope_scaling": {k: v for k, v in LLAMA3.items() if k != "high_freq_factor"}, "rope_theta": 500.0},
    {"rope_theta": 500.0, "partial_rotary_factor": 0.5},
    {"rope_parameters": {"rope_theta": 500.0, "partial_rotary_factor": 0.5}},
    {"rope_scaling": {"rope_type": "linear", "factor": 2.0}, "rope_theta": 500.0, "partial_rotary_factor": 0.5},
    {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}, "rope_theta": 500.0},
    {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}, "rope_theta": 500.0},
    {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 16.0,
                      "attention_factor": 1.5}, "rope_theta": 500.0},
    {"rope_scaling": {"rope_type": "longrope", "factor": 4.0, "short_factor": [1.0, 1.5, 2.0, 3.0],
                      "long_factor": [2.0, 3.0, 4.0, 5.0], "original_max_position_embeddings": 64}, "rope_theta": 500.0},
    {"rope_scaling": {"rope_type": "own", "factor": 2.0}, "rope_theta": 500.0},
]
BASE = {"hidden_size": 32, "num_attention_heads": 4, "max_position_embeddings": 256, "num_hidden_layers": 1}

for case in CASES:
    text = json.dumps(case).replace('"', '\\"')
    try:
        rope = LlamaRotaryEmbedding(LlamaConfig.from_dict({**BASE, **json.loads(json.dumps(case))}))
        numbers = ", ".join(f"{x:#.9g}f" for x in rope.inv_freq.tolist())
        print(f'    {{"{text}",\n     {{{numbers}}}, {float(rope.attention_scaling):.9g}}},')
    except Exception as error:
        print(f'    {{"{text}", {{0}}, 0}},  // {type(error).__name__}: {str(error)[:80]}')
