/* The model reader over any bytes; with what it accepts a function is embedded. */
#include "model/model.h"
#include "seal_pack.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const struct bk_model *m)
{
    uint32_t ids[3] = {0, bk_strtab_count(m->words) - 1, 0};
    const struct bk_input in = {.words = {ids, 3}};
    struct bk_error err;
    float *vectors = malloc(3 * m->cfg.net.d * sizeof *vectors);
    if (vectors && !bk_model_vectors(vectors, m, ids, 3, &err) && vectors[0] != 0)
        abort(); /* padding is zero */
    free(vectors);
    for (uint32_t i = 0; i < bk_strtab_count(m->words); i++) {
        const char *word = bk_strtab_str(m->words, i);
        if (bk_strtab_find(m->words, word, strlen(word)) != i)
            abort();
    }
    struct bk_calibrated worth;
    if (bk_calibrated(&worth, m, BK_ARCH_AMD64, BK_ARCH_ARM, 3, 7, 0.5F, 100) &&
        !(worth.probability >= 0 && worth.probability <= 1 && worth.expected_false >= 0))
        abort();
    float *out = malloc(bk_encoder_outputs(&m->cfg) * sizeof *out);
    /* Weights may overflow on the way: an error, then, and that is right. */
    for (int p = 0; out && p < BK_PRECISION_COUNT; p++)
        if (bk_model_embed(out, m, &in, 1, (enum bk_precision)p, 1, NULL, NULL, &err))
            out[0] = 0;
    free(out);
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
