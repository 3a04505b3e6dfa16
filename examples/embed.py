#!/usr/bin/env python3
"""Trains, then lets the result write, through libdapt and nothing but Python's own ctypes.

embed.py libdapt.so.0 CONFIG RUN PROMPT
"""
import ctypes as c
import os
import sys

library, config, run, prompt = (os.fsencode(word) for word in sys.argv[1:])
dapt = c.CDLL(os.fsdecode(library))
dapt.dapt_last_error.restype = c.c_char_p
Event = c.CFUNCTYPE(None, c.c_void_p, c.c_void_p)  # struct dapt_train_event
Emit = c.CFUNCTYPE(c.c_bool, c.c_void_p, c.POINTER(c.c_char), c.c_size_t)


def struct(**fields):
    return type("struct", (c.Structure,), {"_fields_": list(fields.items())})


# As in dapt/dapt.h.
Train = struct(config=c.c_char_p, sets=c.POINTER(c.c_char_p), resume=c.c_bool, plan_only=c.c_bool,
               callback=Event, user=c.c_void_p, plan=c.c_void_p)
Model = struct(model=c.c_char_p, tokenizer=c.c_char_p, backend=c.c_char_p, device=c.c_char_p, threads=c.c_uint32,
               base=c.c_char_p)
Generate = struct(model=Model, prompt=c.c_char_p, max_tokens=c.c_uint32, temperature=c.c_double, top_k=c.c_uint32,
                  top_p=c.c_double, seed=c.c_uint64, ignore_end=c.c_bool)


def check(status):
    if status < 0:
        sys.exit(dapt.dapt_last_error().decode())


sets = (c.c_char_p * 2)(b"run=" + os.path.abspath(run), None)
check(dapt.dapt_train(c.byref(Train(config=config, sets=sets))))
context = c.c_void_p()
check(dapt.dapt_context_open(None, c.byref(context)))
wish = Generate(model=Model(model=run), prompt=prompt, max_tokens=20)
write = Emit(lambda _, text, length: sys.stdout.write(text[:length].decode(errors="replace")) >= 0)
check(dapt.dapt_generate(context, c.byref(wish), write, None, None))
dapt.dapt_context_close(c.byref(context))
print()
