/* The reader of trials over any bytes, for a small data set; what it accepts is judged. */
#include "train/judge.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define N_FUNCTIONS 24

/* Eight labels in three builds; hash and keys are small, so that they are easily met. */
struct small {
    struct bk_data_func funcs[N_FUNCTIONS];
    struct bk_data_label labels[8];
    struct bk_data_file files[3];
    struct bk_dataset d;
    uint32_t ids[N_FUNCTIONS];
};

static bool small_init(struct small *s)
{
    static const char *const levels[] = {"O0", "O2", "O3"};
    struct bk_strtab *words = bk_strtab_new();
    if (!words || bk_strtab_intern(words, "X_ret", 5) == BK_STR_NONE ||
        bk_strtab_intern(words, "X_nop", 5) == BK_STR_NONE)
        return false;
    for (uint32_t i = 0; i < 3; i++)
        s->files[i] = (struct bk_data_file){
            .project = "p", .version = "1", .compiler = "gcc-12", .level = levels[i], .arch = BK_ARCH_AMD64};
    for (uint32_t i = 0; i < 8; i++)
        s->labels[i].key = i;
    for (uint32_t i = 0; i < N_FUNCTIONS; i++) {
        s->ids[i] = i % 5 % 2;
        s->funcs[i] = (struct bk_data_func){
            .label = i / 3, .file = i % 3, .key = i, .n_blocks = 1 + i % 4, .n_words = 1, .words = &s->ids[i]};
    }
    s->d = (struct bk_dataset){.n = N_FUNCTIONS,
                               .n_labels = 8,
                               .n_files = 3,
                               .v = s->funcs,
                               .labels = s->labels,
                               .files = s->files,
                               .words = words};
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct small s = {0};
    struct bk_trial *t;
    struct bk_error err;
    if (!small_init(&s))
        return 0;
    if (!bk_trial_load_bytes(&t, data, size, &s.d, &err)) {
        const size_t pools[] = {2, 10, 1000};
        const struct bk_judge_options opt = {.pools = pools, .n_pools = 3, .threads = 1};
        const struct bk_subject subject = {NULL, BK_BASELINE_COUNTS};
        struct bk_judged r;
        if (!bk_judge(&r, t, &subject, &opt, &err))
            bk_judged_done(&r);
        bk_trial_free(t);
    }
    bk_strtab_free((struct bk_strtab *)(uintptr_t)s.d.words);
    return 0;
}
