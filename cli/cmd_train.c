/* binkin train i2v, binkin train model: from a data set to word vectors and to a model. */
#include "cli.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

/* The split that training, and judging after it, take when none is asked for. */
static const struct bk_split default_split = {.by = BK_SPLIT_SOURCE, .train = 8, .validation = 1, .test = 1, .seed = 1};

#define OPT_SPLIT(to)                                                                                                  \
    {                                                                                                                  \
        "split", 0, CLI_SPLIT_BY, &(to)->by, "BY",                                                                     \
            "what never stands on two sides: function (a binary function, as in the papers), source (a function of "   \
            "the "                                                                                                     \
            "source; default), file (a source file) or project"                                                        \
    }
#define OPT_PARTS(to)                                                                                                  \
    {                                                                                                                  \
        "parts", 0, CLI_PARTS, to, "T:V:E", "parts for training, validation and test (default: 8:1:1)"                 \
    }
#define OPT_SPLIT_SEED(to)                                                                                             \
    {                                                                                                                  \
        "split-seed", 0, CLI_U64, &(to)->seed, "N", "draws the parts (default: 1); the same for i2v, model and eval"   \
    }
#define OPT_SEED(to)                                                                                                   \
    {                                                                                                                  \
        "seed", 0, CLI_U64, to, "N", "seed of everything else that is drawn (default: 1)"                              \
    }

static bool open_dataset(struct bk_dataset **out, const char *path)
{
    struct bk_error err = {0};
    if (bk_dataset_open(out, path, &err) == BK_OK)
        return true;
    cli_trouble(&err);
    return false;
}

/* ---- train i2v ------------------------------------------------------------------ */

static int train_i2v(const char *out, const char *data, struct bk_i2v_options *opt, bool json)
{
    int status = EXIT_FINE;
    struct bk_dataset *d;
    struct bk_i2v_report r;
    struct bk_error err = {0};
    struct cli_bar bar = {0};
    char safe[512];
    if (!open_dataset(&d, data))
        return EXIT_TROUBLE;
    opt->progress = cli_progress;
    opt->progress_ctx = &bar;
    int rc = bk_i2v_train(&r, out, d, opt, &err);
    cli_bar_clear(&bar);
    bk_dataset_close(d);
    if (rc)
        return cli_trouble(&err);
    if (json) {
        json_t *o = cli_json_record();
        json_object_set_new(o, "file", cli_json_text(out));
        json_object_set_new(o, "words", json_integer((json_int_t)r.n_words));
        json_object_set_new(o, "words_read", json_integer((json_int_t)r.words_read));
        json_object_set_new(o, "seconds", json_real(r.seconds));
        json_object_set_new(o, "words_per_second", json_real(r.words_per_second));
        cli_json(o, &status);
    } else {
        printf("%s: %zu word vectors from %llu words read in %.1f s, %.0f a second\n",
               cli_printable(safe, sizeof safe, out), r.n_words, (unsigned long long)r.words_read, r.seconds,
               r.words_per_second);
    }
    return status;
}

static int run_i2v(const struct cli_command *cmd, int argc, char **argv)
{
    struct bk_split split = default_split;
    struct bk_i2v_options opt = {.seed = 1, .split = &split};
    const char *out = NULL;
    bool json = false, all = false;
    const struct cli_option options[] = {
        {"output", 'o', CLI_TEXT, &out, "FILE", "the word-vector file to write (required)"},
        {"dim", 0, CLI_UNSIGNED, &opt.dim, "N", "numbers of a word vector (default: 100)"},
        {"window", 0, CLI_UNSIGNED, &opt.window, "N", "words looked at on each side (default: 8)"},
        {"min-count", 0, CLI_UNSIGNED, &opt.min_count, "N", "words seen less often are unknown words (default: 8)"},
        {"max-words", 0, CLI_UNSIGNED, &opt.max_words, "N", "keep the N commonest words only (default: all)"},
        {"negatives", 0, CLI_UNSIGNED, &opt.negatives, "N", "negative samples for each pair of words (default: 5)"},
        {"epochs", 'e', CLI_UNSIGNED, &opt.epochs, "N", "passes over the data (default: 5)"},
        {"rate", 0, CLI_REAL, &opt.rate, "X", "learning rate at the start (default: 0.025)"},
        {"subsample", 0, CLI_REAL, &opt.subsample, "X",
         "thin out words commoner than this; below 0: none (default: 1e-3)"},
        {"all", 0, CLI_FLAG, &all, NULL, "read all functions, not the training part only"},
        OPT_SPLIT(&split),
        OPT_PARTS(&split),
        OPT_SPLIT_SEED(&split),
        OPT_SEED(&opt.seed),
        CLI_OPT_THREADS(&opt.threads),
        CLI_OPT_JSON(&json),
    };
    int first;
    switch (cli_parse(&first, cmd, argc, argv, options, CLI_COUNT(options), 1, 1)) {
    case CLI_HELPED:
        return EXIT_FINE;
    case CLI_BAD:
        return EXIT_TROUBLE;
    }
    if (!out)
        return cli_complain("train i2v: -o FILE says where to write, and is missing");
    if (all)
        opt.split = NULL;
    return train_i2v(out, argv[first], &opt, json);
}

const struct cli_command cli_train_i2v = {
    .name = "train i2v",
    .run = run_i2v,
    .summary = "Learn a vector for each instruction word (skip-gram with negative sampling).",
    .operands = "-o FILE DATASET",
    .about = "Only the training part of the data set is read; give the same --split, --parts and\n"
             "--split-seed to 'train model'.",
    .example = "  binkin train i2v -o openssl.words openssl.data",
};

/* ---- train model ------------------------------------------------------------------ */

struct session {
    struct cli_bar bar;
    char label[32];
    bool json;
    double best_auc;
    unsigned best_epoch;
    int status;
};

/* The checkpoint of the last whole epoch stays; a second way to end would be no safer. */
static void on_interrupt(int sig)
{
    static const char text[] =
        "\nbinkin: interrupted; the same command with --resume goes on from the last whole epoch\n";
    ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);
    (void)n;
    signal(sig, SIG_DFL);
    raise(sig);
}

static void epoch_json(const struct bk_train_epoch *e, int *status)
{
    json_t *o = cli_json_record();
    json_object_set_new(o, "epoch", json_integer(e->epoch));
    json_object_set_new(o, "epochs", json_integer(e->n_epochs));
    json_object_set_new(o, "loss", json_real(e->loss));
    json_object_set_new(o, "penalty", json_real(e->penalty));
    json_object_set_new(o, "validation_auc", json_real(e->validation_auc));
    json_object_set_new(o, "best", json_boolean(e->best));
    json_object_set_new(o, "pairs", json_integer((json_int_t)e->pairs));
    json_object_set_new(o, "seconds", json_real(e->seconds));
    json_object_set_new(o, "seconds_total", json_real(e->seconds_total));
    json_object_set_new(o, "pairs_per_second", json_real(e->pairs_per_second));
    cli_json(o, status);
    fflush(stdout);
}

static void on_epoch(void *ctx, const struct bk_train_epoch *e)
{
    struct session *s = ctx;
    char spent[16], left[16];
    cli_bar_clear(&s->bar);
    if (e->best) {
        s->best_auc = e->validation_auc;
        s->best_epoch = e->epoch;
    }
    if (s->json)
        epoch_json(e, &s->status);
    cli_note("epoch %u/%u  loss %.4f  penalty %.3f  validation AUC %.4f%s  %llu pairs, %.0f a second  %s gone, %s left",
             e->epoch, e->n_epochs, e->loss, e->penalty, e->validation_auc, e->best ? " (best)" : "",
             (unsigned long long)e->pairs, e->pairs_per_second, cli_duration(spent, e->seconds),
             cli_duration(left, e->seconds_left));
    snprintf(s->label, sizeof s->label, "best AUC %.4f", s->best_auc);
}

static void on_progress(void *ctx, const char *what, size_t done, size_t total)
{
    struct session *s = ctx;
    cli_progress(&s->bar, what, done, total);
}

static int train_model(const char *out, const char *data, const char *words, struct bk_train_options *opt, bool json)
{
    struct session s = {.bar.tells_time = true, .json = json};
    struct bk_dataset *d;
    struct bk_error err = {0};
    char safe[512];
    if (!open_dataset(&d, data))
        return EXIT_TROUBLE;
    s.bar.label = s.label;
    opt->on_epoch = on_epoch;
    opt->progress = on_progress;
    opt->ctx = &s;
    bool ignored = signal(SIGINT, on_interrupt) == SIG_IGN;
    if (ignored)
        signal(SIGINT, SIG_IGN);
    int rc = bk_train(out, d, words, opt, &err);
    if (!ignored)
        signal(SIGINT, SIG_DFL);
    cli_bar_clear(&s.bar);
    bk_dataset_close(d);
    if (rc)
        return cli_trouble(&err);
    if (!json && s.best_epoch)
        printf("%s: the model of epoch %u, validation AUC %.4f\n", cli_printable(safe, sizeof safe, out), s.best_epoch,
               s.best_auc);
    else if (!json)
        printf("%s\n", cli_printable(safe, sizeof safe, out));
    return s.status;
}

static int run_model(const struct cli_command *cmd, int argc, char **argv)
{
    struct bk_train_options opt = {.seed = 1, .split = default_split};
    const char *out = NULL, *words = NULL;
    bool json = false;
    const struct cli_option options[] = {
        {"output", 'o', CLI_TEXT, &out, "FILE", "the model file to write (required)"},
        {"words", 'w', CLI_TEXT, &words, "FILE", "word vectors made by 'train i2v' (required but for kind graph)"},
        {"kind", 0, CLI_TEXT, &opt.kind, "KIND",
         "the network: mffa (default) or safe, over the sequence of words; graph, over basic blocks and a sketch of "
         "rare "
         "constants, strings and imported names; fused, over all"},
        {"branches", 0, CLI_TEXT, &opt.branches, "LIST",
         "some of those of kinds graph and fused: sequence,graph,sketch (default: all of the kind's)"},
        {"without", 0, CLI_TEXT, &opt.without, "LIST",
         "what graph and fused do not look at: some of "
         "forms,neutral-forms,edges,callees,immediates,displacements,strings,imports"},
        {"join", 0, CLI_TEXT, &opt.join, "HOW", "several branches: by attention (default) or concat"},
        {"sketch", 0, CLI_UNSIGNED, &opt.sketch, "N", "numbers of the sketch, even (default: 256)"},
        {"states", 0, CLI_UNSIGNED, &opt.states, "N", "numbers of a block's state in the graph branch (default: 64)"},
        {"outputs", 0, CLI_UNSIGNED, &opt.outputs, "N", "numbers that the graph branch makes (default: 128)"},
        {"min-forms", 0, CLI_UNSIGNED, &opt.min_forms, "N",
         "source functions that hold a form of instructions that the model knows (default: 8)"},
        {"aff", 0, CLI_TEXT, &opt.aff, "READING",
         "how mffa fuses its branches: matrix, residual, gate or none, or which it has alone: p or q; with +scale, "
         "+norm, "
         "+linear (default: the kind's)"},
        {"max-insns", 0, CLI_UNSIGNED, &opt.max_insns, "N",
         "instructions of a function whose words are looked at (default: 150, of kind fused 100)"},
        {"epochs", 'e', CLI_UNSIGNED, &opt.epochs, "N", "epochs (default: 50)"},
        {"pairs", 0, CLI_U64, &opt.pairs_per_epoch, "N",
         "pairs an epoch (default: one similar and one dissimilar for each training function; of losses over labels, "
         "which count two functions as a pair: each source function once)"},
        {"batch", 0, CLI_UNSIGNED, &opt.batch, "N",
         "pairs a step (default: 250); of losses over labels functions (512)"},
        {"rate", 0, CLI_REAL, &opt.rate, "X", "learning rate of Adam (default: 0.001)"},
        {"loss", 0, CLI_TEXT, &opt.loss, "LOSS",
         "pairs (the paper's; default of mffa and safe), contrastive: every other partner of a batch is a negative, "
         "or over batches of source functions with several variants each: supcon (supervised contrast; default of "
         "graph and fused), triplet (hardest negative)"},
        {"temperature", 0, CLI_REAL, &opt.temperature, "X", "of contrasts (default: 0.1, of supcon 0.07)"},
        {"margin", 0, CLI_REAL, &opt.margin, "X", "of triplets (default: 0.2)"},
        {"variants", 0, CLI_UNSIGNED, &opt.variants, "K", "functions of a source function in a batch (default: 4)"},
        {"memory", 0, CLI_UNSIGNED, &opt.memory, "N",
         "functions of former batches that a batch is contrasted with too (default: 0)"},
        {"cross-from", 0, CLI_REAL, &opt.cross_from, "P",
         "probability that the next variant comes from an architecture, compiler and level not drawn yet: in the first "
         "epoch (default: 0)"},
        {"cross-to", 0, CLI_REAL, &opt.cross_to, "P", "... and in the last (default: 0)"},
        {"mask-forms", 0, CLI_REAL, &opt.mask_forms, "P", "hide so many forms of instructions (default: 0)"},
        {"drop-blocks", 0, CLI_REAL, &opt.drop_blocks, "P", "hide so many basic blocks (default: 0)"},
        {"drop-items", 0, CLI_REAL, &opt.drop_items, "P", "hide so many items of the sketch (default: 0)"},
        {"schedule", 0, CLI_TEXT, &opt.schedule, "HOW",
         "of the rate: constant (default of mffa and safe) or cosine (of graph and fused)"},
        {"warm-up", 0, CLI_UNSIGNED, &opt.warm_up, "N", "steps over which the rate rises under cosine (default: 0)"},
        {"average", 0, CLI_REAL, &opt.average, "D", "keep the moving average of weights with this decay (default: 0)"},
        {"vectors", 0, CLI_TEXT, &opt.vectors, "HOW",
         "word vectors: frozen (default), as i2v left them; trainable, trained further; random, drawn anew and "
         "trained"},
        {"no-penalty", 0, CLI_FLAG, &opt.no_penalty, NULL, "the loss without || A A^T - I ||, which is still told"},
        {"compat", 0, CLI_TEXT, &opt.compat, "PROGRAM",
         "safe: as SAFE's released program, which differs from its paper (default: none)"},
        OPT_SPLIT(&opt.split),
        OPT_PARTS(&opt.split),
        OPT_SPLIT_SEED(&opt.split),
        OPT_SEED(&opt.seed),
        {"checkpoint", 0, CLI_TEXT, &opt.checkpoint, "FILE", "written each epoch (default: the output with .ckpt)"},
        {"resume", 0, CLI_FLAG, &opt.resume, NULL, "go on from the checkpoint, as if never stopped"},
        {"half", 0, CLI_FLAG, &opt.half, NULL, "store the model in 16-bit numbers: half the size"},
        CLI_OPT_THREADS(&opt.threads),
        CLI_OPT_JSON(&json),
    };
    int first;
    switch (cli_parse(&first, cmd, argc, argv, options, CLI_COUNT(options), 1, 1)) {
    case CLI_HELPED:
        return EXIT_FINE;
    case CLI_BAD:
        return EXIT_TROUBLE;
    }
    if (!out)
        return cli_complain("train model: -o FILE, where to write, is missing");
    return train_model(out, argv[first], words, &opt, json);
}

const struct cli_command cli_train_model = {
    .name = "train model",
    .run = run_model,
    .summary = "Train a model; the epoch with the best validation AUC is kept.",
    .operands = "-o FILE [--words FILE] DATASET",
    .about = "A line on stderr tells of each epoch. Stopped in between, --resume goes on.",
    .example = "  binkin train model -o kin.bkm --kind graph --cross-to 0.7 --average 0.999 kin.data\n"
               "  binkin train model -o openssl.bkm --words openssl.words --epochs 20 openssl.data\n"
               "  binkin train model -o openssl.bkm --words openssl.words --epochs 20 --resume openssl.data",
};
