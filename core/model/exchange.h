// Models in and out of GGUF, the files of llama.cpp.
#ifndef DAPT_MODEL_EXCHANGE_H
#define DAPT_MODEL_EXCHANGE_H
#include "model/model.h"

struct dapt_exchange_summary {
    char type[32], dtype[32];  // model_type; of the matrices: "float32", "Q8_0"
    uint64_t parameters;
};

// Makes a Hugging Face folder of a GGUF file: config.json, model.safetensors, the tokenizer's
// files, generation_config.json. `dtype` DAPT_SAVE_MODEL: float16 or bfloat16 where all matrices of
// the file are, else float32, which holds every quantised weight as it is. The folder must not be
// there, or be empty; it appears whole or not at all. What would change the result and is not built
// is an error that names the key or the tensor.
enum dapt_status dapt_model_import(const char *file, const char *folder, enum dapt_save_dtype dtype,
                                   struct dapt_exchange_summary *summary);

// Writes a model's folder as a GGUF file. `type`: of the matrices, "F32", "F16", "BF16" or "Q8_0"
// in any case; NULL: as the folder has them. Vectors are float32. `replace`: a file that is there
// already; otherwise it is an error.
enum dapt_status dapt_model_export(const char *folder, const char *file, const char *type,
                                   bool replace, struct dapt_exchange_summary *summary);
#endif
