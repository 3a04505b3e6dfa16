#include "host/config_fields.h"

#include <string.h>

// Whether a resume may change the key: the others decide which numbers come out.
#define KEPT false
#define FREE true

#define AT(member) offsetof(struct dapt_config, member)
#define RANGE(type, resume, path, member, fallback, low, high, help) \
    { path, DAPT_FIELD_##type, AT(member), fallback, false, resume, low, high, NULL, help }
#define OTHER(type, resume, path, member, fallback, help) \
    RANGE(type, resume, path, member, fallback, 0, 0, help)
#define NEEDED(type, resume, path, member, help) \
    { path, DAPT_FIELD_##type, AT(member), NULL, true, resume, 0, 0, NULL, help }
#define CHOICE(resume, path, member, fallback, choices, help) \
    { path, DAPT_FIELD_CHOICE, AT(member), fallback, false, resume, 0, 0, choices, help }

static const char *const packings[] = {
    [DAPT_PACK_DOCUMENTS] = "documents", [DAPT_PACK_CONCATENATE] = "concatenate", NULL};
static const char *const decays[] = {
    [DAPT_DECAY_MATRICES] = "matrices", [DAPT_DECAY_ALL] = "all", NULL};
static const char *const moments[] = {
    [DAPT_MOMENTS_FLOAT32] = "float32", [DAPT_MOMENTS_8BIT] = "8-bit", NULL};
static const char *const objectives[] = {[DAPT_OBJECTIVE_AUTO] = "auto",
                                         [DAPT_OBJECTIVE_CAUSAL] = "causal",
                                         [DAPT_OBJECTIVE_MASKED] = "masked",
                                         NULL};
static const char *const save_dtypes[] = {[DAPT_SAVE_MODEL] = "model",
                                          [DAPT_SAVE_F32] = "float32",
                                          [DAPT_SAVE_BF16] = "bfloat16",
                                          [DAPT_SAVE_F16] = "float16",
                                          NULL};
static const char *const recomputes[] = {[DAPT_RECOMPUTE_NONE] = "none",
                                         [DAPT_RECOMPUTE_BLOCK] = "block",
                                         [DAPT_RECOMPUTE_AUTO] = "auto",
                                         NULL};

static const char *const precisions[] = {[DAPT_PRECISION_FLOAT32] = "float32",
                                         [DAPT_PRECISION_BFLOAT16] = "bfloat16",
                                         [DAPT_PRECISION_FLOAT16] = "float16",
                                         [DAPT_PRECISION_AUTO] = "auto",
                                         NULL};

static const char *const optimizer_memories[] = {
    [DAPT_OPTIMIZER_ON_DEVICE] = "device", [DAPT_OPTIMIZER_ON_HOST] = "host", NULL};
static const char *const on_budgets[] = {[DAPT_ON_BUDGET_KEEP_BEST] = "keep-best",
                                         [DAPT_ON_BUDGET_STOP] = "stop",
                                         [DAPT_ON_BUDGET_RAISE_REPLAY] = "raise-replay",
                                         NULL};

#define MANY 1e12  // steps and tokens; all smaller integers are exact in a double

const struct dapt_field dapt_fields[] = {
    NEEDED(MODEL, KEPT, "model", model,
           "Hugging Face folder to start from, of a model or of adapters (LoRA) to train on; or, "
           "for new weights, {\"random\": CONFIG, "
           "\"tokenizer\": FOLDER}, CONFIG being the path "
           "of a config.json, {\"config\": PATH} or an object with config.json's keys"),
    OTHER(
        PATH, FREE, "base", base, NULL,
        "where \"model\" is a folder of adapters: the model that they belong to; default: the one "
        "that their adapter_config.json names"),
    OTHER(TOKENIZER, KEPT, "tokenizer", tokenizer, "{}",
          "{\"plugin\": \"hf\", \"path\": FOLDER or FILE, options of the plugin}; default: the "
          "model's own"),

    NEEDED(DATA, FREE, "data.domain", data.domain,
           "the domain's text: a path (file, folder or glob; gz, zst, xz, bz2 are undone), or "
           "{\"path\": ..., \"source\": PLUGIN, \"weight\": 1, "
           "options of the plugin}, or an array of these. weight mixes entries, general text into "
           "the domain's say: it multiplies how much an entry brings by its own size (2: all of it "
           "twice a pass, 0.5: half), it is no share"),
    RANGE(
        NUMBER, KEPT, "data.replay.share", data.replay.share, "0", 0, 0.99,
        "share of the sequences drawn from data.replay.from, in any stretch of the run; a schedule "
        "may change it by step. train.steps and train.tokens count these sequences too, so the "
        "domain gets so much less; with train.epochs they come on top"),
    OTHER(DATA, FREE, "data.replay.from", data.replay.from, NULL,
          "general text mixed in against forgetting, as data.domain"),
    OTHER(
        EVAL, FREE, "data.eval", data.eval, NULL,
        "held-out texts: an object of NAME: as data.domain; each is scored and reported by its "
        "name. \"role\" in {\"path\": ...} says what it is for: domain, general, control (another "
        "domain), or any name; default: its own name"),
    RANGE(U32, KEPT, "data.sequence", data.sequence, "1024", 2, 1048576,
          "tokens of a training sequence"),
    CHOICE(KEPT, "data.packing", data.packing, "\"documents\"", packings,
           "documents: whole documents side by side, attention stays inside each; concatenate: one "
           "stream, cut anywhere"),
    OTHER(BOOL, KEPT, "data.special", data.special, "true",
          "put what the tokenizer's template puts around a text (BOS, ...) around each document; "
          "an end-of-text token ends it either way"),
    OTHER(PATH, FREE, "data.cache", data.cache, NULL,
          "folder for tokenised text; default: $XDG_CACHE_HOME/dapt or ~/.cache/dapt"),
    RANGE(AMOUNT, FREE, "data.eval_tokens", data.eval_tokens, "0", 0, MANY,
          "score the first so many tokens of each held-out text, no more (the document that passes "
          "them "
          "is cut); the same ones throughout a run; 0: all"),
    RANGE(NUMBER, FREE, "data.skip_errors", data.skip_errors, "0", 0, 1,
          "share of records that may be unreadable before the run stops"),

    RANGE(U32, KEPT, "train.batch", train.batch, "8", 1, 65536, "sequences of an optimizer step"),
    RANGE(U32_AUTO, FREE, "train.micro_batch", train.micro_batch, "0", 0, 65536,
          "sequences in memory at a time, a divisor of train.batch; 0: all of them; \"auto\": as "
          "many "
          "as the memory takes"),
    RANGE(U64, FREE, "train.steps", train.steps, NULL, 1, MANY,
          "optimizer steps; one of steps, tokens and epochs is given"),
    RANGE(AMOUNT, FREE, "train.tokens", train.tokens, NULL, 1, MANY,
          "tokens to train on (\"50M\")"),
    RANGE(NUMBER, FREE, "train.epochs", train.epochs, NULL, 1e-6, 1e6,
          "times through the domain's text; 1 when none of the three is given"),
    RANGE(U64, KEPT, "train.seed", train.seed, "0", 0, 9007199254740992.0,
          "of the order of sequences and of new weights"),
    RANGE(NUMBER, KEPT, "train.clip", train.clip, "1", 0, 1e6,
          "largest norm of the gradient; 0: no clipping"),
    RANGE(NUMBER, KEPT, "train.optimizer.weight_decay", train.optimizer.weight_decay, "0.1", 0, 1e3,
          "decoupled weight decay"),
    OTHER(BETAS, KEPT, "train.optimizer.betas", train.optimizer.beta1, "[0.9, 0.95]",
          "decay of the two moments"),
    RANGE(NUMBER, KEPT, "train.optimizer.eps", train.optimizer.eps, "1e-8", 1e-16, 1,
          "added to the root of the second moment"),
    CHOICE(KEPT, "train.optimizer.decay", train.optimizer.decay, "\"matrices\"", decays,
           "what weight decay applies to"),
    CHOICE(KEPT, "train.optimizer.moments", train.optimizer.moments, "\"float32\"", moments,
           "how the two moments of each parameter are kept: 8-bit takes about 2 bytes of memory a "
           "parameter where float32 takes 8 (blocks of 256 with one scale each; those of norms and "
           "biases stay float32)"),
    OTHER(SCHEDULE, KEPT, "train.schedule", train.schedule, "{}",
          "{\"plugin\": \"cosine\", options of the plugin}; the plugins there are:"),
    CHOICE(KEPT, "train.objective.kind", train.objective.kind, "\"auto\"", objectives,
           "causal: each token from those before it; masked: hidden tokens from all others; auto: "
           "as the model was made for, masked for BERT and its like, causal for all others"),
    RANGE(
        NUMBER, KEPT, "train.objective.rate", train.objective.rate, "0.15", 0.001, 1,
        "masked: share of the tokens that are predicted (of these 80 % are hidden, 10 % replaced)"),
    OTHER(BOOL, KEPT, "train.objective.whole_words", train.objective.whole_words, "false",
          "masked: the tokens of a word are chosen together"),
    OTHER(STRING, KEPT, "train.objective.mask", train.objective.mask, NULL,
          "masked: text of the mask token; default: [MASK] or <mask>"),
    OTHER(
        LORA, KEPT, "train.lora", train.lora, NULL,
        "train adapters of low rank over a frozen model, with gradients and moments for them "
        "alone: "
        "{\"rank\": 8, \"alpha\": 8, \"targets\": \"all-linear\", \"rslora\": false, "
        "\"dropout\": 0, \"embeddings\": false, \"base\": \"float32\"}, "
        "here with its defaults; {} is enough. They add alpha / rank (rslora: alpha / root of "
        "rank) "
        "times their product. targets: which matrices of the layers get one, as an array of "
        "patterns as train.freeze has them, or of ends of names (\"q_proj\"). embeddings: a number "
        "trains embedding and head too, at the learning rate times it. dropout: the share of each "
        "adapter's input that a training step drops at random, as peft does it. base: what the "
        "matrices of the layers are kept in meanwhile (\"float32\", \"bfloat16\", \"int8\", "
        "\"nf4\"): "
        "blocks of 64 in 8 or 4 bits save memory (QLoRA); the run's evaluations are then on that "
        "base, while eval, merge and peft take it as its folder has it. Checkpoints hold the "
        "adapters, as peft reads them; dapt merge makes a plain model of them"),
    OTHER(
        STRINGS, KEPT, "train.freeze", train.freeze, "[]",
        "parameters that are not trained, as patterns of their names: those in the model's files, "
        "or "
        "those that all families share (embed, head, layers.0-3, layers.*.attention, *norm*); * is "
        "any text, ? one character, 0-3 a range of numbers, and the name of a part means all in "
        "it"),
    RANGE(U64, FREE, "train.evaluate_every", train.evaluate_every, "100", 0, MANY,
          "steps between evaluations; 0: at the start and end only"),
    RANGE(U64, FREE, "train.checkpoint_every", train.checkpoint_every, "500", 0, MANY,
          "steps between checkpoints; 0: at the end only"),
    RANGE(U32, FREE, "train.keep", train.keep, "2", 1, 1000000,
          "checkpoints kept besides the best"),
    OTHER(STRING, FREE, "train.best", train.best, NULL,
          "name in data.eval that decides which checkpoint is the best; default: the first whose "
          "role is domain, else the first"),
    RANGE(
        BUDGET, FREE, "train.budget", train.budget, "{}", 0, 100,
        "what training may cost: {\"general\": 0.05}, the rise in bits/byte that each set of that "
        "role or name may have over the model at step 0; a checkpoint with more is never the best"),
    CHOICE(
        FREE, "train.on_budget", train.on_budget, "\"keep-best\"", on_budgets,
        "what else happens at an evaluation where the 95 % interval of a set's rise lies above its "
        "budget. keep-best: nothing; stop: the run ends, with a checkpoint; raise-replay: the "
        "share "
        "of replay rises by train.raise_replay"),
    RANGE(NUMBER, KEPT, "train.raise_replay.factor", train.raise_replay.factor, "2", 1.01, 100,
          "the share of replay becomes so many times what it was, from the next step on"),
    RANGE(NUMBER, KEPT, "train.raise_replay.limit", train.raise_replay.limit, "0.5", 0, 0.99,
          "and is not raised beyond this"),
    RANGE(U32, FREE, "train.patience", train.patience, "0", 0, 1000000,
          "evaluations in a row in which the set of train.best is no better than it ever was that "
          "end "
          "the run; 0: it is never ended so"),
    CHOICE(FREE, "train.recompute", train.recompute, "\"none\"", recomputes,
           "block: keep only each block's input, compute the rest again; auto: where it is needed "
           "for a micro-batch that keeps the device busy"),
    RANGE(U32, FREE, "train.max_bad_steps", train.max_bad_steps, "10", 1, 1000000,
          "non-finite steps in a row before the run stops"),

    CHOICE(
        FREE, "checkpoint.dtype", checkpoint.dtype, "\"model\"", save_dtypes,
        "of the weights in the folders that are written; model: as the model's own files; what is "
        "told and which checkpoint is the best go by what is written; a resume may change it"),
    OTHER(STRING, FREE, "backend.name", backend.name, "\"auto\"",
          "backend, or auto (\"backend\": NAME is short for it); see dapt devices"),
    OTHER(DEVICES, FREE, "backend.device", backend.devices, NULL,
          "which device: its number in the backend, backend and number (\"vulkan 0\"), its name or "
          "a part of it, or its UUID; an array: one for each rank of a machine (mpirun, srun), in "
          "turn; default: the best one, those "
          "like it in turn for ranks; a software device only where it or its backend is named"),
    CHOICE(KEPT, "backend.precision", backend.precision, "\"float32\"", precisions,
           "float type of activations and of what products multiply; weights, gradients, optimizer "
           "and sums stay float32. bfloat16 and float16 take about half the memory of activations, "
           "and matrix units where the device has them; float16 scales the loss by powers of two. "
           "auto: bfloat16 or float16 where the device has units for it, else float32; a resume "
           "keeps what was chosen"),
    RANGE(AMOUNT, FREE, "backend.memory", backend.memory, "0", 0, 1e15,
          "bytes that \"auto\" may plan with (\"12G\"); 0: what the device has free"),
    CHOICE(
        FREE, "backend.optimizer_memory", backend.optimizer_memory, "\"device\"",
        optimizer_memories,
        "where the optimizer's moments lie; host: in the host's memory, which a GPU with its own "
        "reads over the bus in each update: less of its memory, slower updates, the same numbers"),
    RANGE(U32, FREE, "backend.threads", backend.threads, "0", 0, 1024,
          "of the cpu backend and of reading; 0: one for each processor"),
    OTHER(PATHS, FREE, "plugins", plugins, "[]", "folders with further plugins"),
    OTHER(PATH, FREE, "run", run, "\"run\"", "folder that the run writes to"),
    {.path = NULL},
};

const struct dapt_field *dapt_field_find(const char *path) {
    for (const struct dapt_field *field = dapt_fields; field->path; field++) {
        if (strcmp(field->path, path) == 0) return field;
    }
    return NULL;
}

enum dapt_status dapt_field_choices(const struct dapt_field *field, struct dapt_string *out) {
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; !status && field->choices[i]; i++)
        status = dapt_string_format(out, "%s\"%s\"", i ? " or " : "", field->choices[i]);
    return status;
}

bool dapt_field_choose(const struct dapt_field *field, const char *text, unsigned *choice) {
    for (unsigned i = 0; field->choices[i]; i++) {
        if (strcmp(field->choices[i], text) != 0) continue;
        *choice = i;
        return true;
    }
    return false;
}
