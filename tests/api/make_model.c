/* make_model: a model with random weights that knows the words of the given files, so that the command
 * line can be tried without training.
 *
 *     make_model OUT FILE...
 */
#include "code/code.h"
#include "feature/feature.h"
#include "image/image.h"
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

static int fail(const struct bk_error *err)
{
    char line[600];
    fprintf(stderr, "make_model: %s\n", bk_error_format(line, sizeof line, err));
    return 1;
}

/* Adds the words of one file to the vocabulary and its architectures to *archs. */
static int learn_file(struct bk_strtab *words, uint32_t *archs, const char *path, struct bk_error *err)
{
    struct bk_image_file *file;
    struct bk_word_seq seq = {0};
    int rc = bk_image_file_open(&file, path, err);
    if (rc)
        return rc;
    for (size_t m = 0; m < file->n_images && !rc; m++) {
        const struct bk_image *img = &file->images[m];
        struct bk_functions *fs = NULL;
        struct bk_decoder *d = NULL;
        const struct bk_body *body;
        const char *unknown = bk_word_unknown(img->arch);
        bk_strtab_intern(words, unknown, strlen(unknown));
        *archs |= 1u << img->arch;
        rc = bk_functions_find(&fs, img, err);
        if (!rc)
            rc = bk_decoder_new(&d, fs, err);
        for (size_t i = 0; !rc && i < fs->n; i++) {
            rc = bk_decoder_body(&body, d, i, err);
            if (!rc)
                rc = bk_word_seq_intern(&seq, words, body, 0, err);
        }
        bk_decoder_free(d);
        bk_functions_free(fs);
    }
    bk_word_seq_done(&seq);
    bk_image_file_close(file);
    return rc;
}

static int save(const char *path, const struct bk_strtab *words, uint32_t archs, struct bk_error *err)
{
    struct bk_model m = {
        .kind = "mffa", .archs = archs, .words = words, .provenance = "{}", .split_parts = {8, 1, 1}, .split_seed = 1};
    struct bk_rng rng;
    if (!bk_encoder_config_default(&m.cfg, "mffa"))
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "no mffa");
    m.cfg.net.e = 64; /* a small dense layer: the test wants a model, not a good one */
    size_t n_words = bk_strtab_count(words), n_params = bk_net_n_params(&m.cfg.net);
    float *vectors = calloc(n_words * m.cfg.net.d, sizeof *vectors), *params = calloc(n_params, sizeof *params);
    int rc = vectors && params ? BK_OK : bk_fail_nomem(err, n_params);
    if (!rc) {
        bk_rng_seed(&rng, 1, 0);
        bk_net_init(params, &m.cfg.net, &rng);
        for (size_t i = m.cfg.net.d; i < n_words * m.cfg.net.d; i++)
            vectors[i] = (float)(2 * bk_rng_unit(&rng) - 1);
        m.word_vectors = vectors;
        m.params = params;
        rc = bk_model_save(&m, path, false, err);
    }
    free(vectors);
    free(params);
    return rc;
}

int main(int argc, char **argv)
{
    struct bk_error err = {.offset = BK_NO_OFFSET};
    struct bk_strtab *words = bk_strtab_new();
    uint32_t archs = 0;
    if (argc < 3 || !words || bk_strtab_intern(words, "", 0) != 0)
        return 1;
    int rc = BK_OK;
    for (int i = 2; i < argc && !rc; i++)
        rc = learn_file(words, &archs, argv[i], &err);
    if (!rc)
        rc = save(argv[1], words, archs, &err);
    bk_strtab_free(words);
    return rc ? fail(&err) : 0;
}
