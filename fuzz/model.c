/* The model reader over any bytes; with what it accepts a function is embedded. */
#include "model/model.h"
#include "seal_pack.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_texts(const struct bk_strtab *t)
{
    for (uint32_t i = 0; i < bk_strtab_count(t); i++) {
        const char *s = bk_strtab_str(t, i);
        if (bk_strtab_find(t, s, strlen(s)) != i)
            abort();
    }
}

static void use_vectors(const struct bk_model *m, const uint32_t ids[3])
{
    struct bk_error err;
    float *vectors = malloc(3 * m->cfg.net.d * sizeof *vectors);
    if (vectors && !bk_model_vectors(vectors, m, ids, 3, &err) && vectors[0] != 0)
        abort(); /* padding is zero */
    free(vectors);
}

/* Weights may overflow on the way: an error, then, and that is right. */
static void use_input(const struct bk_model *m, const struct bk_input *in)
{
    struct bk_error err;
    float *out = malloc(bk_encoder_outputs(&m->cfg) * bk_encoder_sides(&m->cfg) * sizeof *out);
    for (int p = 0; out && p < BK_PRECISION_COUNT; p++)
        if (bk_model_embed(out, m, in, 1, (enum bk_precision)p, 1, NULL, NULL, &err))
            out[0] = 0;
    free(out);
}

static void use(const struct bk_model *m)
{
    const uint32_t last_word = m->words ? bk_strtab_count(m->words) - 1 : 0,
                   last_form = m->forms ? bk_strtab_count(m->forms) - 1 : 0;
    const uint32_t ids[3] = {0, last_word, 0}, forms[3] = {0, last_form, BK_STR_NONE};
    const uint16_t insns[2] = {1, 2};
    const struct bk_graph_edge edges[2] = {{0, 1, BK_EDGE_FALL}, {1, 0, BK_EDGE_TAKEN}};
    const uint64_t hash[2] = {m->idf.n ? m->idf.hash[m->idf.n - 1] : 0, 77};
    const uint8_t kind[2] = {BK_ITEM_IMMEDIATE, BK_ITEM_IMPORT};
    const float weight[2] = {bk_idf_of(&m->idf, hash[0]), bk_idf_of(&m->idf, hash[1])};
    const struct bk_input in = {.words = {ids, 3},
                                .graph = {.n_nodes = 2,
                                          .n_edges = 2,
                                          .insns = insns,
                                          .forms = forms,
                                          .neutral = forms,
                                          .edges = edges,
                                          .n_insns = 3,
                                          .n_callees = 1},
                                .items = {.hash = hash, .kind = kind, .weight = weight, .n = 2}};
    if (m->words) {
        use_texts(m->words);
        use_vectors(m, ids);
    }
    if (m->forms)
        use_texts(m->forms);
    for (size_t i = 0; i < m->idf.n; i++)
        if (bk_idf_of(&m->idf, m->idf.hash[i]) != m->idf.weight[i])
            abort();
    struct bk_calibrated worth;
    if (bk_calibrated(&worth, m, BK_ARCH_AMD64, BK_ARCH_ARM, 3, 7, 0.5F, 100) &&
        !(worth.probability >= 0 && worth.probability <= 1 && worth.expected_false >= 0))
        abort();
    use_input(m, &in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = calloc(size ? size : 1, 1);
    if (!copy)
        return 0;
    if (size)
        memcpy(copy, data, size);
    seal_pack(copy, size);
    struct bk_model *m;
    struct bk_error err;
    if (!bk_model_open_bytes(&m, copy, size, &err))
        use(m);
    bk_model_close(m);
    free(copy);
    return 0;
}
