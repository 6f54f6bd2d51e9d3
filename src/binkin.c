/* The facade: glue between the rooms behind include/binkin.h, no algorithm of its own. */
#include "binkin_int.h"
#include "feature/feature.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STRING_(x)   #x
#define STRING(x)    STRING_(x)
#define DECODE_CHUNK 2048 /* functions decoded between two reports of progress */

const char *bk_version(void)
{
    return STRING(BK_VERSION_MAJOR) "." STRING(BK_VERSION_MINOR) "." STRING(BK_VERSION_PATCH);
}

const char *bk_instructions(void)
{
    return bk_cpu_name(bk_cpu());
}

/* ---- models ----------------------------------------------------------- */

/* Where the model is when the caller names none. */
static const char *default_model(void)
{
    const char *path = getenv("BINKIN_MODEL");
    if (path && *path)
        return path;
    return access(BK_MODEL_INSTALLED, R_OK) == 0 ? BK_MODEL_INSTALLED : BK_MODEL_SOURCE;
}

int bk_model_load(struct bk_model **out, const char *path, struct bk_error *err)
{
    bk_error_clear(err);
    return bk_model_open(out, path ? path : default_model(), err);
}

void bk_model_free(struct bk_model *m)
{
    bk_model_close(m);
}

/* "amd64, armhf" */
static void archs_text(char *out, size_t size, uint32_t archs)
{
    size_t used = 0;
    out[0] = 0;
    for (int a = BK_ARCH_NONE + 1; a < BK_ARCH_COUNT; a++) {
        if (!(archs >> a & 1))
            continue;
        int n = snprintf(out + used, size - used, "%s%s", used ? ", " : "", bk_arch_name((enum bk_arch)a));
        if (n < 0 || (size_t)n >= size - used)
            return;
        used += (size_t)n;
    }
}

void bk_model_describe(struct bk_model_info *out, const struct bk_model *m)
{
    *out = (struct bk_model_info){
        .kind = m->kind,
        .tokens = BK_TOKENS_NAME "/" STRING(BK_TOKENS_VERSION),
        .provenance = m->provenance,
        .dim = bk_encoder_outputs(&m->cfg),
        .n_words = m->words ? bk_strtab_count(m->words) : 0,
        .n_forms = m->forms ? bk_strtab_count(m->forms) : 0,
        .n_items = m->idf.n,
        .n_params = bk_encoder_n_params(&m->cfg),
        .max_insns = bk_encoder_has(&m->cfg, BK_BRANCH_GRAPH) ? BK_MAX_SEEN : m->cfg.net.max_insns,
        .calibrated = m->calibration != NULL,
        .hash = m->hash,
    };
    if (bk_encoder_has(&m->cfg, BK_BRANCH_SEQUENCE))
        bk_net_config_aff(out->aff, &m->cfg.net);
    bk_branches_text(out->branches, m->cfg.branches);
    archs_text(out->archs, sizeof out->archs, m->archs);
}

/* ---- binaries --------------------------------------------------------- */

int bk_binary_open(struct bk_binary **out, const char *path, struct bk_error *err)
{
    bk_error_clear(err);
    *out = NULL;
    struct bk_binary *b = calloc(1, sizeof *b);
    if (!b)
        return bk_fail_nomem(err, sizeof *b);
    int rc = bk_image_file_open(&b->file, path, err);
    if (rc) {
        free(b);
        return rc;
    }
    size_t n = n_members(b);
    b->members = bk_calloc(n, sizeof *b->members);
    b->first = bk_calloc(n + 1, sizeof *b->first);
    rc = b->members && b->first ? BK_OK : bk_fail_nomem(err, n * sizeof *b->members);
    for (size_t i = 0; i < n && !rc; i++) {
        rc = bk_functions_find(&b->members[i], &b->file->images[i], err);
        if (!rc)
            b->first[i + 1] = b->first[i] + b->members[i]->n;
    }
    if (rc) {
        bk_error_file(err, path, NULL);
        bk_binary_close(b);
        return rc;
    }
    *out = b;
    return BK_OK;
}

void bk_binary_close(struct bk_binary *b)
{
    if (!b)
        return;
    for (size_t i = 0; b->members && i < n_members(b); i++)
        bk_functions_free(b->members[i]);
    free(b->members);
    free(b->first);
    bk_image_file_close(b->file);
    free(b);
}

const char *bk_binary_path(const struct bk_binary *b)
{
    return b->file->path;
}

size_t bk_binary_n_troubles(const struct bk_binary *b)
{
    return b->file->n_troubles;
}

const struct bk_error *bk_binary_trouble(const struct bk_binary *b, size_t i)
{
    return i < b->file->n_troubles ? &b->file->troubles[i] : NULL;
}

size_t bk_binary_n_members(const struct bk_binary *b)
{
    return n_members(b);
}

static const char *kind_name(enum bk_image_kind kind)
{
    switch (kind) {
    case BK_IMAGE_EXEC:
        return "executable";
    case BK_IMAGE_SHARED:
        return "shared";
    case BK_IMAGE_OBJECT:
        return "object";
    }
    return "unknown";
}

void bk_binary_member(struct bk_member_info *out, const struct bk_binary *b, size_t i)
{
    *out = (struct bk_member_info){0};
    if (i >= n_members(b))
        return;
    const struct bk_image *img = &b->file->images[i];
    *out = (struct bk_member_info){
        .member = img->member,
        .arch = bk_arch_name(img->arch),
        .kind = kind_name(img->kind),
        .big_endian = img->big_endian,
        .stripped = !img->has_symtab,
        .n_sections = img->n_sections,
        .n_symbols = img->n_symbols,
        .n_unwinds = img->n_unwinds,
        .first_function = b->first[i],
        .n_functions = b->members[i]->n,
        .n_cut = b->members[i]->n_cut,
        .n_dropped = b->members[i]->n_dropped,
    };
    for (size_t s = 0; s < img->n_sections; s++)
        if (img->sections[s].alloc && img->sections[s].exec)
            out->code_bytes += img->sections[s].size;
}

size_t bk_binary_n_functions(const struct bk_binary *b)
{
    return b->first[n_members(b)];
}

static const char *bound_name(enum bk_bound_source bound)
{
    switch (bound) {
    case BK_BOUND_SYMBOL:
        return "symbol";
    case BK_BOUND_NEXT_SYMBOL:
        return "next-symbol";
    case BK_BOUND_EH_FRAME:
        return "eh_frame";
    case BK_BOUND_EXIDX:
        return "exidx";
    }
    return "unknown";
}

void bk_binary_function(struct bk_function_info *out, const struct bk_binary *b, size_t i)
{
    *out = (struct bk_function_info){0};
    if (i >= bk_binary_n_functions(b))
        return;
    const struct bk_function *f = function_at(b, i);
    size_t m = member_of(b, i);
    *out = (struct bk_function_info){
        .name = f->n_names ? f->names[0] : NULL,
        .names = f->names,
        .n_names = f->n_names,
        .addr = f->addr,
        .size = f->size,
        .arch = bk_arch_name(b->file->images[m].arch),
        .bound = bound_name(f->bound),
        .member = m,
    };
}

/* ---- finding a function ------------------------------------------------ */

static bool parse_address(uint64_t *out, const char *s)
{
    if (s[0] != '0' || (s[1] != 'x' && s[1] != 'X') || !s[2] ||
        strspn(s + 2, "0123456789abcdefABCDEF") != strlen(s + 2))
        return false;
    if (strlen(s + 2) > 16)
        return false;
    *out = strtoull(s + 2, NULL, 16);
    return true;
}

bool bk_has_name(const struct bk_function *f, const char *name, size_t len, bool of_source)
{
    for (size_t k = 0; k < f->n_names; k++) {
        size_t n = of_source ? bk_source_name_len(f->names[k]) : strlen(f->names[k]);
        if (n == len && memcmp(f->names[k], name, n) == 0)
            return true;
    }
    return false;
}

/* Whether `what` begins with "member:" of this image; *rest is what follows. */
static bool in_member(const char **rest, const struct bk_image *img, const char *what)
{
    size_t n = img->member ? strlen(img->member) : 0;
    if (!n || strncmp(what, img->member, n) != 0 || what[n] != ':')
        return false;
    *rest = what + n + 1;
    return true;
}

static void found_one(size_t *out, size_t cap, size_t *n, size_t i)
{
    if (*n < cap)
        out[*n] = i;
    ++*n;
}

static size_t find_pass(size_t *out, size_t cap, const struct bk_binary *b, const char *what, bool by_member,
                        bool of_source)
{
    size_t n = 0;
    for (size_t m = 0; m < n_members(b); m++) {
        const struct bk_functions *fs = b->members[m];
        const char *name = what;
        uint64_t addr;
        if (by_member && !in_member(&name, &b->file->images[m], what))
            continue;
        if (parse_address(&addr, name)) {
            size_t i = bk_functions_at(fs, addr);
            if (i != SIZE_MAX)
                found_one(out, cap, &n, b->first[m] + i);
            continue;
        }
        for (size_t i = 0; i < fs->n; i++)
            if (bk_has_name(&fs->v[i], name, strlen(name), of_source))
                found_one(out, cap, &n, b->first[m] + i);
    }
    return n;
}

size_t bk_binary_find_all(size_t *out, size_t cap, const struct bk_binary *b, const char *what)
{
    for (int pass = 0; pass < 4; pass++) {
        size_t n = find_pass(out, cap, b, what, pass & 1, pass & 2);
        if (n)
            return n;
    }
    return 0;
}

int bk_binary_find(size_t *out, size_t *n_found, const struct bk_binary *b, const char *what, struct bk_error *err)
{
    bk_error_clear(err);
    size_t first = 0, n = bk_binary_find_all(&first, 1, b, what);
    if (n_found)
        *n_found = n;
    if (!n) {
        int rc =
            bk_fail(err, BK_ENOTFOUND, BK_NO_OFFSET, "no function %s%s", strncmp(what, "0x", 2) ? "" : "at ", what);
        bk_error_file(err, b->file->path, NULL);
        return rc;
    }
    *out = first;
    return BK_OK;
}

/* ---- decoding many functions ------------------------------------------- */

struct body_worker {
    struct bk_decoder *decoder; /* of `member` */
    size_t member;
    size_t failed; /* lowest item that failed, SIZE_MAX: none */
    struct bk_error err;
};

struct body_walk {
    const struct bk_binary *b;
    const size_t *list; /* NULL: first, first + 1, ... */
    size_t first, begin;
    body_fn *fn;
    void *ctx;
    struct body_worker *workers;
};

static int walk_one(struct body_walk *w, size_t i, unsigned worker, struct bk_error *err)
{
    struct body_worker *me = &w->workers[worker];
    size_t f = w->list ? w->list[i] : w->first + i, m = member_of(w->b, f);
    if (!me->decoder || me->member != m) {
        bk_decoder_free(me->decoder);
        me->decoder = NULL;
        int rc = bk_decoder_new(&me->decoder, w->b->members[m], err);
        if (rc)
            return rc;
        me->member = m;
    }
    const struct bk_body *body;
    int rc = bk_decoder_body(&body, me->decoder, f - w->b->first[m], err);
    return rc ? rc : w->fn(w->ctx, i, worker, body, err);
}

static void walk_item(void *ctx, size_t item, unsigned worker)
{
    struct body_walk *w = ctx;
    struct body_worker *me = &w->workers[worker];
    struct bk_error err = {.offset = BK_NO_OFFSET};
    size_t i = w->begin + item;
    int rc = walk_one(w, i, worker, &err);
    if (!rc || i >= me->failed)
        return;
    err.code = rc;
    me->failed = i;
    me->err = err;
}

static int check_list(const struct bk_binary *b, const size_t *list, size_t n, struct bk_error *err)
{
    size_t total = bk_binary_n_functions(b);
    for (size_t i = 0; i < n; i++)
        if (list[i] >= total)
            return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "function %zu of %zu", list[i], total);
    return BK_OK;
}

/* Decodes `n` functions and hands each to `fn`; of several failures the first of the list is reported. */
static int walk_bodies(struct body_walk *w, size_t n, unsigned threads, bk_progress_fn *progress, void *progress_ctx,
                       struct bk_error *err)
{
    unsigned n_workers = bk_par_threads(threads);
    w->workers = bk_calloc(n_workers, sizeof *w->workers);
    if (!w->workers)
        return bk_fail_nomem(err, n_workers * sizeof *w->workers);
    for (unsigned k = 0; k < n_workers; k++)
        w->workers[k].failed = SIZE_MAX;
    size_t failed = SIZE_MAX;
    int rc = BK_OK;
    for (w->begin = 0; w->begin < n && failed == SIZE_MAX; w->begin += DECODE_CHUNK) {
        size_t chunk = n - w->begin < DECODE_CHUNK ? n - w->begin : DECODE_CHUNK;
        bk_par_for(chunk, n_workers, walk_item, w);
        if (progress)
            progress(progress_ctx, "decoding", w->begin + chunk, n);
        for (unsigned k = 0; k < n_workers; k++) {
            if (w->workers[k].failed >= failed)
                continue;
            failed = w->workers[k].failed;
            rc = w->workers[k].err.code;
            if (err)
                *err = w->workers[k].err;
        }
    }
    for (unsigned k = 0; k < n_workers; k++)
        bk_decoder_free(w->workers[k].decoder);
    free(w->workers);
    if (rc) {
        size_t m = member_of(w->b, w->list ? w->list[failed] : w->first + failed);
        bk_error_file(err, w->b->file->path, w->b->file->images[m].member);
    }
    return rc;
}

static int stats_body(void *ctx, size_t i, unsigned worker, const struct bk_body *body, struct bk_error *err)
{
    (void)worker;
    (void)err;
    struct bk_function_stats *out = ctx;
    out[i] = (struct bk_function_stats){
        .n_insns = body->n_insns,
        .n_blocks = body->n_blocks,
        .n_edges = body->n_edges,
        .n_callees = body->n_callees,
        .bytes_code = body->bytes_code,
        .bytes_data = body->bytes_data,
        .bytes_bad = body->bytes_bad,
    };
    return BK_OK;
}

int bk_binary_stats(struct bk_function_stats *out, const struct bk_binary *b, size_t first, size_t n, unsigned threads,
                    struct bk_error *err)
{
    bk_error_clear(err);
    size_t total = bk_binary_n_functions(b);
    if (!bk_range_inside(first, n, total))
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "functions %zu to %zu of %zu", first, first + n, total);
    struct body_walk w = {.b = b, .first = first, .fn = stats_body, .ctx = out};
    return walk_bodies(&w, n, threads, NULL, NULL, err);
}

struct word_walk {
    bk_insn_fn *fn;
    void *ctx;
    int stopped; /* what the caller's function returned */
};

static int words_body(void *ctx, size_t i, unsigned worker, const struct bk_body *body, struct bk_error *err)
{
    (void)i;
    (void)worker;
    (void)err;
    struct word_walk *w = ctx;
    char word[BK_WORD_MAX];
    for (size_t k = 0; k < body->n_blocks; k++) {
        const struct bk_block *block = &body->blocks[k];
        for (uint32_t j = block->first; j < block->first + block->n; j++) {
            bk_word_write(word, body->arch, &body->insns[j]);
            w->stopped = w->fn(w->ctx, body->insns[j].addr, word, k);
            if (w->stopped)
                return BK_OK;
        }
    }
    return BK_OK;
}

int bk_binary_words(const struct bk_binary *b, size_t i, bk_insn_fn *fn, void *ctx, struct bk_error *err)
{
    bk_error_clear(err);
    struct word_walk words = {.fn = fn, .ctx = ctx};
    struct body_walk w = {.b = b, .list = &i, .fn = words_body, .ctx = &words};
    int rc = check_list(b, &i, 1, err);
    if (!rc)
        rc = walk_bodies(&w, 1, 1, NULL, NULL, err);
    return rc ? rc : words.stopped;
}

/* ---- vectors ------------------------------------------------------------ */

void bk_binary_inputs_done(struct inputs *in)
{
    for (unsigned k = 0; in->reader && k < in->n_workers; k++)
        bk_input_reader_free(in->reader[k]);
    free(in->reader);
    free(in->v);
    free(in->n_known);
    free(in->n_unknown);
    free(in->n_blocks);
}

static int input_body(void *ctx, size_t i, unsigned worker, const struct bk_body *body, struct bk_error *err)
{
    struct inputs *in = ctx;
    if (!in->reader[worker])
        in->reader[worker] = bk_input_reader_new(in->model);
    if (!in->reader[worker])
        return bk_fail_nomem(err, 0);
    in->n_blocks[i] = body->n_blocks;
    const struct bk_image *img = &in->binary->file->images[member_of(in->binary, in->list[i])];
    int rc = in->also ? in->also(in->also_ctx, i, worker, body, err) : BK_OK;
    if (rc)
        return rc;
    return bk_input_read(&in->v[i], &in->n_known[i], &in->n_unknown[i], in->reader[worker], img, body, err);
}

static int check_archs(const struct bk_model *m, const struct bk_binary *b, const size_t *list, size_t n,
                       struct bk_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const struct bk_image *img = &b->file->images[member_of(b, list[i])];
        if (m->archs >> img->arch & 1)
            continue;
        char known[64];
        archs_text(known, sizeof known, m->archs);
        int rc = bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET, "is %s code, the model was trained for %s",
                         bk_arch_name(img->arch), *known ? known : "nothing");
        bk_error_file(err, b->file->path, img->member);
        return rc;
    }
    return BK_OK;
}

/* Decodes the functions of `list`; end with bk_binary_inputs_done() also on failure. */
int bk_binary_inputs_read(struct inputs *in, const struct bk_model *m, const struct bk_binary *b, const size_t *list,
                          size_t n, const struct bk_embed_options *opt, struct bk_error *err)
{
    in->model = m;
    in->binary = b;
    in->list = list;
    int rc = check_list(b, list, n, err);
    if (!rc && !opt->any_arch)
        rc = check_archs(m, b, list, n, err);
    if (rc)
        return rc;
    in->n_workers = bk_par_threads(opt->threads);
    in->v = bk_calloc(n, sizeof *in->v);
    in->n_known = bk_calloc(n, sizeof *in->n_known);
    in->n_unknown = bk_calloc(n, sizeof *in->n_unknown);
    in->n_blocks = bk_calloc(n, sizeof *in->n_blocks);
    in->reader = bk_calloc(in->n_workers, sizeof *in->reader);
    if (!in->v || !in->n_known || !in->n_unknown || !in->n_blocks || !in->reader)
        return bk_fail_nomem(err, n * sizeof *in->v);
    struct body_walk w = {.b = b, .list = list, .fn = input_body, .ctx = in};
    return walk_bodies(&w, n, opt->threads, opt->progress, opt->progress_ctx, err);
}

static void embed_progress(void *ctx, size_t done, size_t total)
{
    const struct bk_embed_options *opt = ctx;
    opt->progress(opt->progress_ctx, "embedding", done, total);
}

int bk_binary_inputs_embed(float *out, const struct inputs *in, size_t n, const struct bk_embed_options *opt,
                           struct bk_error *err)
{
    struct bk_embed_options copy = *opt;
    return bk_model_embed(out, in->model, in->v, n, bk_model_precision(opt->int8), opt->threads,
                          opt->progress ? embed_progress : NULL, &copy, err);
}

int bk_embed(float *out, float *unknown, const struct bk_model *m, const struct bk_binary *b, const size_t *functions,
             size_t n, const struct bk_embed_options *opt, struct bk_error *err)
{
    bk_error_clear(err);
    struct bk_embed_options none = {0};
    struct inputs in = {0};
    opt = opt ? opt : &none;
    int rc = bk_binary_inputs_read(&in, m, b, functions, n, opt, err);
    if (!rc)
        rc = bk_binary_inputs_embed(out, &in, n, opt, err);
    for (size_t i = 0; !rc && unknown && i < n; i++)
        unknown[i] = in.n_unknown[i] ? (float)in.n_unknown[i] / (float)(in.n_known[i] + in.n_unknown[i]) : 0;
    bk_binary_inputs_done(&in);
    return rc;
}

/* Both functions in one batch: the weights are made ready once. */
static int compare(float *score, size_t blocks[2], const struct bk_model *m, const struct bk_binary *a, size_t fa,
                   const struct bk_binary *b, size_t fb, const struct bk_embed_options *opt, struct bk_error *err)
{
    struct bk_embed_options none = {0};
    struct inputs in[2] = {{0}};
    size_t dim = bk_encoder_outputs(&m->cfg);
    opt = opt ? opt : &none;
    float *v = bk_calloc(2 * dim, sizeof *v);
    int rc = v ? bk_binary_inputs_read(&in[0], m, a, &fa, 1, opt, err) : bk_fail_nomem(err, 2 * dim * sizeof *v);
    if (!rc)
        rc = bk_binary_inputs_read(&in[1], m, b, &fb, 1, opt, err);
    if (!rc) {
        const struct bk_input both[2] = {in[0].v[0], in[1].v[0]};
        rc = bk_model_embed(v, m, both, 2, bk_model_precision(opt->int8), 1, NULL, NULL, err);
    }
    double sum = 0;
    for (size_t i = 0; !rc && i < dim; i++)
        sum += (double)v[i] * (double)v[dim + i];
    *score = (float)sum;
    for (size_t i = 0; !rc && i < 2; i++)
        blocks[i] = in[i].n_blocks[0];
    bk_binary_inputs_done(&in[0]);
    bk_binary_inputs_done(&in[1]);
    free(v);
    return rc;
}

int bk_compare(float *score, const struct bk_model *m, const struct bk_binary *a, size_t fa, const struct bk_binary *b,
               size_t fb, const struct bk_embed_options *opt, struct bk_error *err)
{
    bk_error_clear(err);
    size_t blocks[2];
    return compare(score, blocks, m, a, fa, b, fb, opt, err);
}

static enum bk_arch arch_of(const struct bk_binary *b, size_t i)
{
    return b->file->images[member_of(b, i)].arch;
}

int bk_score_describe(struct bk_score *out, const struct bk_model *m, const struct bk_binary *a, size_t fa,
                      const struct bk_binary *b, size_t fb, size_t pool, const struct bk_embed_options *opt,
                      struct bk_error *err)
{
    bk_error_clear(err);
    struct bk_calibrated worth;
    size_t blocks[2];
    *out = (struct bk_score){0};
    int rc = compare(&out->cosine, blocks, m, a, fa, b, fb, opt, err);
    if (rc)
        return rc;
    bk_calibrated(&worth, m, arch_of(a, fa), arch_of(b, fb), blocks[0], blocks[1], out->cosine,
                  pool ? pool : bk_binary_n_functions(b));
    out->probability = worth.probability;
    out->expected_false = worth.expected_false;
    return BK_OK;
}
