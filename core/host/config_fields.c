#include "host/config_fields.h"

#define AT(member) offsetof(struct dapt_config, member)
#define U32(path, member, fallback, low, high, help) \
    { path, DAPT_FIELD_U32, AT(member), fallback, false, low, high, NULL, help }
#define U64(path, member, fallback, low, high, help) \
    { path, DAPT_FIELD_U64, AT(member), fallback, false, low, high, NULL, help }
#define NUMBER(path, member, fallback, low, high, help) \
    { path, DAPT_FIELD_NUMBER, AT(member), fallback, false, low, high, NULL, help }
#define OTHER(type, path, member, fallback, help) \
    { path, DAPT_FIELD_##type, AT(member), fallback, false, 0, 0, NULL, help }
#define NEEDED(type, path, member, help) \
    { path, DAPT_FIELD_##type, AT(member), NULL, true, 0, 0, NULL, help }
#define CHOICE(path, member, fallback, choices, help) \
    { path, DAPT_FIELD_CHOICE, AT(member), fallback, false, 0, 0, choices, help }

static const char *const packings[] = {
    [DAPT_PACK_DOCUMENTS] = "documents", [DAPT_PACK_CONCATENATE] = "concatenate", NULL};
static const char *const optimizers[] = {"adamw", NULL};
static const char *const decays[] = {"matrices", "all", NULL};
static const char *const objectives[] = {"auto", "causal", "masked", NULL};
static const char *const save_dtypes[] = {"model", "float32", "bfloat16", "float16", NULL};
static const char *const recomputes[] = {"none", "block", NULL};
static const char *const precisions[] = {"auto", "f32", NULL};

#define MANY 1e12  // steps and tokens; all smaller integers are exact in a double

const struct dapt_field dapt_fields[] = {
    NEEDED(MODEL, "model", model,
           "Hugging Face folder to start from; or, for new weights, {\"random\": CONFIG, "
           "\"tokenizer\": FOLDER}, CONFIG being the path "
           "of a config.json, {\"config\": PATH} or an object with config.json's keys"),
    OTHER(TOKENIZER, "tokenizer", tokenizer, "{}",
          "{\"plugin\": \"hf\", \"path\": FOLDER or FILE, options of the plugin}; default: the "
          "model's own"),

    NEEDED(DATA, "data.domain", data.domain,
           "the domain's text: a path (file, folder or glob; gz, zst, xz, bz2 are undone), or "
           "{\"path\": ..., \"source\": PLUGIN, \"weight\": 1, "
           "options of the plugin}, or an array of these. weight mixes entries, general text into "
           "the domain's say: it multiplies how much an entry brings by its own size (2: all of it "
           "twice a pass, 0.5: half), it is no share"),
    NUMBER(
        "data.replay.share", data.replay.share, "0", 0, 0.99,
        "share of the sequences drawn from data.replay.from, in any stretch of the run; a schedule "
        "may change it by step"),
    OTHER(DATA, "data.replay.from", data.replay.from, NULL,
          "general text mixed in against forgetting, as data.domain"),
    OTHER(EVAL, "data.eval", data.eval, NULL,
          "held-out texts: an object of NAME: as data.domain; each is scored and reported by its "
          "name"),
    U32("data.sequence", data.sequence, "1024", 2, 1048576, "tokens of a training sequence"),
    {"data.packing", DAPT_FIELD_PACKING, AT(data.packing), "\"documents\"", false, 0, 0, packings,
     "documents: whole documents side by side, attention stays inside each; concatenate: one "
     "stream, cut anywhere"},
    OTHER(BOOL, "data.special", data.special, "true",
          "put what the tokenizer's template puts around a text (BOS, ...) around each document; "
          "an end-of-text token ends it either way"),
    OTHER(PATH, "data.cache", data.cache, NULL,
          "folder for tokenised text; default: $XDG_CACHE_HOME/dapt or ~/.cache/dapt"),
    {"data.eval_tokens", DAPT_FIELD_AMOUNT, AT(data.eval_tokens), "0", false, 0, MANY, NULL,
     "score the first so many tokens of each held-out text, no more (the document that passes them "
     "is cut); the same ones throughout a run; 0: all"},
    NUMBER("data.skip_errors", data.skip_errors, "0", 0, 1,
           "share of records that may be unreadable before the run stops"),

    U32("train.batch", train.batch, "8", 1, 65536, "sequences of an optimizer step"),
    U32("train.micro_batch", train.micro_batch, "0", 0, 65536,
        "sequences in memory at a time, a divisor of train.batch; 0: all of them"),
    U64("train.steps", train.steps, NULL, 1, MANY,
        "optimizer steps; one of steps, tokens and epochs is given"),
    {"train.tokens", DAPT_FIELD_AMOUNT, AT(train.tokens), NULL, false, 1, MANY, NULL,
     "tokens to train on (\"50M\")"},
    NUMBER("train.epochs", train.epochs, NULL, 1e-6, 1e6,
           "times through the domain's text; 1 when none of the three is given"),
    U64("train.seed", train.seed, "0", 0, 9007199254740992.0,
        "of the order of sequences and of new weights"),
    NUMBER("train.clip", train.clip, "1", 0, 1e6, "largest norm of the gradient; 0: no clipping"),
    CHOICE("train.optimizer.kind", train.optimizer.kind, "\"adamw\"", optimizers, "the optimizer"),
    NUMBER("train.optimizer.weight_decay", train.optimizer.weight_decay, "0.1", 0, 1e3,
           "decoupled weight decay"),
    OTHER(BETAS, "train.optimizer.betas", train.optimizer.beta1, "[0.9, 0.95]",
          "decay of the two moments"),
    NUMBER("train.optimizer.eps", train.optimizer.eps, "1e-8", 1e-16, 1,
           "added to the root of the second moment"),
    CHOICE("train.optimizer.decay", train.optimizer.decay, "\"matrices\"", decays,
           "what weight decay applies to"),
    OTHER(SCHEDULE, "train.schedule", train.schedule, "{}",
          "{\"plugin\": \"cosine\", options of the plugin}; the plugins there are:"),
    CHOICE("train.objective.kind", train.objective.kind, "\"auto\"", objectives,
           "causal: each token from those before it; masked: hidden tokens from all others; auto: "
           "as the model was made for"),
    NUMBER(
        "train.objective.rate", train.objective.rate, "0.15", 0.001, 1,
        "masked: share of the tokens that are predicted (of these 80 % are hidden, 10 % replaced)"),
    OTHER(BOOL, "train.objective.whole_words", train.objective.whole_words, "false",
          "masked: the tokens of a word are chosen together"),
    OTHER(STRING, "train.objective.mask", train.objective.mask, NULL,
          "masked: text of the mask token; default: [MASK] or <mask>"),
    U64("train.evaluate_every", train.evaluate_every, "100", 0, MANY,
        "steps between evaluations; 0: at the start and end only"),
    U64("train.checkpoint_every", train.checkpoint_every, "500", 0, MANY,
        "steps between checkpoints; 0: at the end only"),
    U32("train.keep", train.keep, "2", 1, 1000000, "checkpoints kept besides the best"),
    OTHER(STRING, "train.best", train.best, NULL,
          "name in data.eval that decides which checkpoint is the best; default: the first"),
    CHOICE("train.recompute", train.recompute, "\"none\"", recomputes,
           "block: keep only each block's input, compute the rest again"),
    U32("train.max_bad_steps", train.max_bad_steps, "10", 1, 1000000,
        "non-finite steps in a row before the run stops"),

    CHOICE(
        "checkpoint.dtype", checkpoint.dtype, "\"model\"", save_dtypes,
        "of the weights in the folders that are written; model: as the model's own files; what is "
        "told and which checkpoint is the best go by what is written; a resume may change it"),
    OTHER(STRING, "backend.name", backend.name, "\"auto\"",
          "backend, or auto (\"backend\": NAME is short for it); see dapt devices"),
    {"backend.device", DAPT_FIELD_DEVICE, AT(backend.device), NULL, false, 0, 0, NULL,
     "which device: its number in the backend, its name or a part of it, or its UUID; default: the "
     "best one, a software device only where it or its backend is named"},
    CHOICE("backend.precision", backend.precision, "\"auto\"", precisions,
           "of activations; parameters are float32"),
    U32("backend.threads", backend.threads, "0", 0, 1024,
        "of the cpu backend and of reading; 0: one for each processor"),
    OTHER(PATHS, "plugins", plugins, "[]", "folders with further plugins"),
    OTHER(PATH, "run", run, "\"run\"", "folder that the run writes to"),
    {.path = NULL},
};
