/* Speed of the network on made-up functions: lengths log-normal with mean about 60, cut at 150, words by Zipf's law over
 * 20,000. Prints functions embedded and pairs trained per second with 1 and 2 threads.
 *   net_speed [kind [aff [seconds]]] */
#include "model/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_WORDS = 20000, BATCH = 250, SHARD = 64, N_SHARDS = (BATCH + SHARD - 1) / SHARD, POOL = 4096 };

struct bench {
    struct bk_net_config cfg;
    size_t n_params, o;
    bk_real *words, *params, *m, *v, *f, *df;
    bk_real *grads[N_SHARDS];
    struct bk_pass *passes[N_SHARDS]; /* one a shard: activations live from forward to backward */
    double penalties[N_SHARDS], penalty_scale;
    struct bk_seq *pool, *batch;
    struct bk_prepared *prepared;
    uint64_t step;
    bool failed;
};

static void *must(void *p)
{
    if (!p) {
        fprintf(stderr, "net_speed: out of memory\n");
        exit(2);
    }
    return p;
}

static double normal(struct bk_rng *rng)
{
    return sqrt(-2 * log(1 - bk_rng_unit(rng))) * cos(6.283185307179586 * bk_rng_unit(rng));
}

static void make_pool(struct bench *b, struct bk_rng *rng)
{
    double *cumulative = must(bk_calloc(N_WORDS, sizeof *cumulative)), sum = 0, mean = 0;
    for (size_t i = 1; i < N_WORDS; i++)
        cumulative[i] = sum += 1 / (double)i;
    b->pool = must(bk_calloc(POOL, sizeof *b->pool));
    for (size_t i = 0; i < POOL; i++) {
        double len = exp(3.9 + 0.9 * normal(rng));
        size_t n = len < 1 ? 1 : len > 150 ? 150 : (size_t)len;
        uint32_t *ids = must(bk_calloc(n, sizeof *ids));
        for (size_t t = 0; t < n; t++) {
            double at = bk_rng_unit(rng) * sum;
            size_t low = 1, high = N_WORDS - 1;
            while (low < high) {
                size_t mid = (low + high) / 2;
                if (cumulative[mid] < at)
                    low = mid + 1;
                else
                    high = mid;
            }
            ids[t] = (uint32_t)low;
        }
        b->pool[i] = (struct bk_seq){ids, n};
        mean += (double)n / POOL;
    }
    printf("mean length %.1f\n", mean);
    free(cumulative);
}

static void forward_shard(void *ctx, size_t item, unsigned worker)
{
    struct bench *b = ctx;
    size_t from = item * SHARD, n = BATCH - from < SHARD ? BATCH - from : SHARD;
    (void)worker;
    if (bk_pass_forward(b->passes[item], b->f + from * b->o, b->prepared, b->words, N_WORDS, b->batch + from, n, true,
                        &b->penalties[item], NULL))
        b->failed = true;
}

static void backward_shard(void *ctx, size_t item, unsigned worker)
{
    struct bench *b = ctx;
    (void)worker;
    bk_pass_backward(b->passes[item], b->grads[item], b->prepared, b->df + item * SHARD * b->o, b->penalty_scale);
}

static void adam_range(void *ctx, size_t item, unsigned worker)
{
    struct bench *b = ctx;
    size_t from = item * BK_ADAM_RANGE, n = b->n_params - from;
    (void)worker;
    bk_adam(b->params, b->m, b->v, b->grads, N_SHARDS, from, n < BK_ADAM_RANGE ? n : BK_ADAM_RANGE, b->step, 0.001);
}

static void run(struct bench *b, unsigned threads, bool train, double seconds)
{
    uint32_t left[2 * BATCH], right[2 * BATCH];
    int8_t y[2 * BATCH];
    size_t done = 0;
    double loss = 0, times[4] = {0};
    /* function 2i and 2i + 1 are kin; the partner that is not stands two further */
    for (uint32_t i = 0; i < BATCH; i++) {
        left[i] = i;
        right[i] = i % 2 ? (i + 2) % BATCH : i + 1;
        y[i] = i % 2 ? -1 : 1;
    }
    double begin = bk_now();
    while (bk_now() - begin < seconds && !b->failed) {
        b->batch = b->pool + done % (POOL - BATCH);
        double t0 = bk_now();
        if (train)
            bk_prepare(b->prepared, b->params, threads);
        bk_par_for(N_SHARDS, threads, forward_shard, b);
        double t1 = bk_now();
        done += BATCH;
        times[0] += t1 - t0;
        if (!train)
            continue;
        memset(b->df, 0, BATCH * b->o * sizeof *b->df);
        loss = bk_cosine_loss(b->df, NULL, b->f, b->o, left, right, y, BATCH);
        double penalty = 0;
        for (size_t i = 0; i < N_SHARDS; i++)
            penalty += b->penalties[i];
        b->penalty_scale = penalty > 0 ? 0.5 / sqrt(penalty) : 0;
        double t2 = bk_now();
        bk_par_for(N_SHARDS, threads, backward_shard, b);
        double t3 = bk_now();
        b->step++;
        bk_par_for((b->n_params + BK_ADAM_RANGE - 1) / BK_ADAM_RANGE, threads, adam_range, b);
        times[1] += t2 - t1;
        times[2] += t3 - t2;
        times[3] += bk_now() - t3;
    }
    double total = bk_now() - begin;
    if (train)
        printf("%u threads: %7.0f pairs/s trained (forward %.0f%%, loss %.0f%%, backward %.0f%%, Adam %.0f%%; last "
               "loss %.1f)\n",
               threads, (double)done / total, 100 * times[0] / total, 100 * times[1] / total, 100 * times[2] / total,
               100 * times[3] / total, loss);
    else
        printf("%u threads: %7.0f functions/s embedded\n", threads, (double)done / total);
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    struct bk_rng rng;
    struct bk_error err;
    const char *kind = argc > 1 ? argv[1] : "mffa";
    double seconds = argc > 3 ? strtod(argv[3], NULL) : 3;
    if (!bk_net_config_default(&b.cfg, kind) || (argc > 2 && bk_net_config_set_aff(&b.cfg, argv[2], &err))) {
        fprintf(stderr, "usage: net_speed [mffa|safe [aff [seconds]]]\n");
        return 2;
    }
    char aff[64];
    bk_net_config_aff(aff, &b.cfg);
    bk_rng_seed(&rng, 1, 0);
    bk_fpu_flush_denormals();
    b.n_params = bk_net_n_params(&b.cfg);
    b.o = bk_net_outputs(&b.cfg);
    b.params = must(bk_calloc(b.n_params, sizeof *b.params));
    b.m = must(bk_calloc(b.n_params, sizeof *b.m));
    b.v = must(bk_calloc(b.n_params, sizeof *b.v));
    b.words = must(bk_calloc((size_t)N_WORDS * b.cfg.d, sizeof *b.words));
    b.f = must(bk_calloc(BATCH * b.o, sizeof *b.f));
    b.df = must(bk_calloc(BATCH * b.o, sizeof *b.df));
    for (size_t i = b.cfg.d; i < (size_t)N_WORDS * b.cfg.d; i++)
        b.words[i] = (bk_real)(normal(&rng) * 0.3);
    bk_net_init(b.params, &b.cfg, &rng);
    make_pool(&b, &rng);
    if (bk_prepared_new(&b.prepared, &b.cfg, true, &err))
        return 2;
    bk_prepare(b.prepared, b.params, 1);
    for (size_t i = 0; i < N_SHARDS; i++) {
        b.grads[i] = must(bk_calloc(b.n_params, sizeof *b.grads[i]));
        if (bk_pass_new(&b.passes[i], &b.cfg, &err)) {
            fprintf(stderr, "net_speed: %s\n", err.message);
            return 2;
        }
    }
    printf("%s, aff %s, %zu parameters, %s\n", kind, aff, b.n_params, bk_cpu_name(bk_cpu()));
    for (unsigned threads = 1; threads <= 2; threads++) {
        run(&b, threads, false, seconds);
        run(&b, threads, true, seconds);
    }
    for (size_t i = 0; i < N_SHARDS; i++) {
        bk_pass_free(b.passes[i]);
        free(b.grads[i]);
    }
    for (size_t i = 0; i < POOL; i++)
        free((void *)(uintptr_t)b.pool[i].ids);
    free(b.pool);
    free(b.params);
    free(b.m);
    free(b.v);
    free(b.words);
    free(b.f);
    free(b.df);
    return b.failed ? 2 : 0;
}
