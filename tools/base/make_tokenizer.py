#!/usr/bin/env python3
"""Trains the base model's tokenizer: byte-level BPE on the collected general English (needs Hugging Face tokenizers).

    tools/base/make_tokenizer.py general.jsonl OUT [VOCABULARY]

Writes OUT/tokenizer.json and OUT/tokenizer_config.json. The pre-tokenisation is a split of its own: a word takes the space
before it, digits stand alone in threes, and a run of spaces before a word stays one token up to the last space.
"""
import json
import os
import sys

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\n+|\s+(?!\S)|\s+"


def main():
    path, out = sys.argv[1:3]
    size = int(sys.argv[3]) if len(sys.argv) > 3 else 3072
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), "isolated", False), pre_tokenizers.ByteLevel(False, False, False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<|endoftext|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())

    def texts():
        with open(path, encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)["text"]

    tokenizer.train_from_iterator(texts(), trainer)
    os.makedirs(out, exist_ok=True)
    end = tokenizer.token_to_id("<|endoftext|>")   # also begins every text, so that its first word has something to follow
    tokenizer.post_processor = processors.TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", end)])
    tokenizer.save(os.path.join(out, "tokenizer.json"))
    with open(os.path.join(out, "tokenizer_config.json"), "w", encoding="utf-8") as file:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
                   "model_max_length": 256, "clean_up_tokenization_spaces": False}, file, indent=2)
        file.write("\n")


if __name__ == "__main__":
    main()
