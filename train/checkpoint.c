/* checkpoint: a training between two epochs, as a file. The layout is in doc/format.md. */
#include "learn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N_FACTS 6 /* u64 each of the entry "state" */

static void put_u64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static void put_double(uint8_t *p, double v)
{
    uint64_t u;
    memcpy(&u, &v, sizeof u);
    put_u64(p, u);
}

static double read_double(struct bk_cursor *c)
{
    uint64_t u = bk_read_u64(c);
    double v;
    memcpy(&v, &u, sizeof v);
    return v;
}

/* The blocks and their entries, the last only where weights are averaged. */
enum { BLOCKS = 5 };
static const char *const block_name[BLOCKS] = {"params", "moment1", "moment2", "best", "average"};

/* Returns how many there are. */
static int blocks(float *out[BLOCKS], const struct bk_trainer_state *s)
{
    out[0] = s->params;
    out[1] = s->moment1;
    out[2] = s->moment2;
    out[3] = s->best;
    out[4] = s->average;
    return s->average ? BLOCKS : BLOCKS - 1;
}

int bk_checkpoint_save(const struct bk_trainer_state *s, const char *path, struct bk_error *err)
{
    struct bk_pack_writer *w;
    uint8_t state[8 * N_FACTS], seconds[8], *history = bk_calloc(s->epoch ? s->epoch : 1, 24), *data[BLOCKS] = {0};
    const uint64_t facts[N_FACTS] = {s->options_hash, s->n_params, s->steps, s->pairs, s->epoch, s->best_epoch};
    float *block[BLOCKS];
    const int n_blocks = blocks(block, s);
    for (int i = 0; i < N_FACTS; i++)
        put_u64(state + 8 * i, facts[i]);
    put_double(seconds, s->seconds);
    int rc = history ? BK_OK : bk_fail_nomem(err, s->epoch * (size_t)24);
    for (unsigned i = 0; i < s->epoch && !rc; i++) {
        put_double(history + 24 * (size_t)i, s->history[i].loss);
        put_double(history + 24 * (size_t)i + 8, s->history[i].penalty);
        put_double(history + 24 * (size_t)i + 16, s->history[i].auc);
    }
    if (!rc)
        rc = bk_pack_create(&w, path, BK_CKPT_KIND, BK_CKPT_MAJOR, BK_CKPT_MINOR, err);
    if (!rc) {
        if (!(rc = bk_pack_add(w, "state", state, sizeof state, err)) &&
            !(rc = bk_pack_add(w, "seconds", seconds, sizeof seconds, err)))
            rc = bk_pack_add(w, "history", history, s->epoch * (size_t)24, err);
        for (int i = 0; i < n_blocks && !rc; i++) {
            size_t size;
            if (!(rc = bk_floats_write(&data[i], &size, block_name[i], block[i], s->n_params, false, err)))
                rc = bk_pack_add(w, block_name[i], data[i], size, err);
        }
        if (rc)
            bk_pack_abort(w);
        else
            rc = bk_pack_commit(w, err);
    }
    for (int i = 0; i < BLOCKS; i++)
        free(data[i]);
    free(history);
    if (rc)
        bk_error_file(err, path, NULL);
    return rc;
}

static int read_state(struct bk_trainer_state *s, const struct bk_pack *p, struct bk_error *err)
{
    struct bk_cursor c, h;
    int rc = bk_pack_entry(&c, p, "state", err);
    if (rc || (rc = bk_pack_entry(&h, p, "history", err)))
        return rc;
    uint64_t facts[N_FACTS];
    for (int i = 0; i < N_FACTS; i++)
        facts[i] = bk_read_u64(&c);
    if (c.failed || facts[4] == 0 || facts[4] > UINT32_MAX || facts[5] > facts[4] || h.size / 24 != facts[4] ||
        h.size % 24)
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "state and history do not agree");
    if (facts[0] != s->options_hash || facts[1] != s->n_params)
        return bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET,
                       "checkpoint of a training with other options, data set, split or word vectors");
    struct bk_cursor t;
    if ((rc = bk_pack_entry(&t, p, "seconds", err)))
        return rc;
    double seconds = read_double(&t);
    if (t.failed || !(seconds >= 0) || !isfinite(seconds))
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "seconds: no time that epochs can take");
    struct bk_history *history = bk_calloc(facts[4], sizeof *history);
    if (!history)
        return bk_fail_nomem(err, facts[4] * sizeof *history);
    for (size_t i = 0; i < facts[4]; i++) {
        history[i].loss = read_double(&h);
        history[i].penalty = read_double(&h);
        history[i].auc = read_double(&h);
    }
    free(s->history);
    s->history = history;
    s->steps = facts[2];
    s->pairs = facts[3];
    s->seconds = seconds;
    s->epoch = (unsigned)facts[4];
    s->best_epoch = (unsigned)facts[5];
    return BK_OK;
}

int bk_checkpoint_load(struct bk_trainer_state *s, const char *path, struct bk_error *err)
{
    struct bk_pack *p;
    int rc = bk_pack_open(&p, path, BK_CKPT_KIND, BK_CKPT_MAJOR, err);
    if (!rc) {
        float *block[BLOCKS];
        const int n_blocks = blocks(block, s);
        rc = read_state(s, p, err);
        for (int i = 0; i < n_blocks && !rc; i++) {
            struct bk_cursor c;
            if (!(rc = bk_pack_entry(&c, p, block_name[i], err)))
                rc = bk_floats_read(block[i], c, block_name[i], s->n_params, err);
        }
        bk_pack_close(p);
    }
    if (rc)
        bk_error_file(err, path, NULL);
    return rc;
}
