/* Speed of everything but the network, on one thread: a file opened, its functions found, decoded, cut into blocks and worded
 * with a model's vocabulary, beside the two programs one would measure it by. Rounds of each are taken in turn.
 *   decode_speed [FILE...]   one JSON line a file; the model is $BINKIN_MODEL, of kind mffa or safe */
#include "model/model.h"

#include <capstone/capstone.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 7 };

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Sorts `v`, so that the median stands in the middle and the spread at the ends. */
static double median(double v[ROUNDS])
{
    qsort(v, ROUNDS, sizeof *v, by_size);
    return v[ROUNDS / 2];
}

static void die(const struct bk_error *err)
{
    fprintf(stderr, "decode_speed: %s: %s\n", err->file, err->message);
    exit(2);
}

/* ---- the peers ---------------------------------------------------------- */

static csh peer_open(const struct bk_image *img)
{
    static const struct {
        cs_arch arch;
        int mode;
    } of[BK_ARCH_COUNT] = {
        [BK_ARCH_AMD64] = {CS_ARCH_X86, CS_MODE_64},
        [BK_ARCH_I386] = {CS_ARCH_X86, CS_MODE_32},
        [BK_ARCH_ARM] = {CS_ARCH_ARM, CS_MODE_ARM | CS_MODE_V8},
        [BK_ARCH_ARM64] = {CS_ARCH_ARM64, CS_MODE_ARM},
        [BK_ARCH_MIPS] = {CS_ARCH_MIPS, CS_MODE_MIPS32},
        [BK_ARCH_MIPS64] = {CS_ARCH_MIPS, CS_MODE_MIPS64},
    };
    csh cs;
    unsigned mode = (unsigned)of[img->arch].mode | (img->code_big_endian ? (unsigned)CS_MODE_BIG_ENDIAN : 0);
    if (cs_open(of[img->arch].arch, (cs_mode)mode, &cs) != CS_ERR_OK) {
        fprintf(stderr, "decode_speed: capstone cannot start\n");
        exit(2);
    }
    cs_option(cs, CS_OPT_DETAIL, CS_OPT_ON);
    return cs;
}

/* Decodes [addr, end) of a section. Undecodable bytes are stepped over one at a time on x86, else by words. */
static void peer_range(csh cs, const struct bk_image *img, const struct bk_section *s, uint64_t addr, uint64_t end,
                       size_t step)
{
    cs_insn *in = cs_malloc(cs);
    const uint8_t *p = s->data + (addr - s->addr);
    size_t left = (size_t)(end - addr);
    if (img->arch == BK_ARCH_AMD64 || img->arch == BK_ARCH_I386)
        step = 1;
    while (left > 0) {
        while (cs_disasm_iter(cs, &p, &left, &addr, in))
            ;
        size_t skip = left < step ? left : step;
        p += skip;
        left -= skip;
        addr += skip;
    }
    cs_free(in, 1);
}

/* The executable sections; on ARM and AArch64 what the mapping symbols call code, in the mode they name, and in a stripped file the
 * functions, since only they say which mode is which. */
static double peer(const struct bk_image *img, const struct bk_functions *fs)
{
    csh cs = peer_open(img);
    double start = bk_now();
    bool arm = img->arch == BK_ARCH_ARM;
    for (size_t i = 0; i < img->n_sections; i++) {
        const struct bk_section *s = &img->sections[i];
        if (!s->exec || !s->alloc || !s->data)
            continue;
        if (img->n_marks == 0 && !arm)
            peer_range(cs, img, s, s->addr, s->addr + s->size, 4);
        for (size_t k = 0; img->n_marks == 0 && arm && k < fs->n; k++) {
            const struct bk_function *f = &fs->v[k];
            if (f->addr < s->addr || f->addr - s->addr >= s->size)
                continue;
            cs_option(cs, CS_OPT_MODE, f->thumb ? CS_MODE_THUMB | CS_MODE_V8 : CS_MODE_ARM | CS_MODE_V8);
            peer_range(cs, img, s, f->addr, f->addr + f->size, f->thumb ? 2 : 4);
        }
        for (size_t k = 0; k < img->n_marks; k++) {
            const struct bk_mark *m = &img->marks[k];
            if (m->kind == BK_MARK_DATA || m->addr < s->addr || m->addr - s->addr >= s->size)
                continue;
            uint64_t end = s->addr + s->size;
            if (k + 1 < img->n_marks && m[1].addr < end)
                end = m[1].addr;
            bool thumb = m->kind == BK_MARK_T32;
            if (arm)
                cs_option(cs, CS_OPT_MODE, thumb ? CS_MODE_THUMB | CS_MODE_V8 : CS_MODE_ARM | CS_MODE_V8);
            peer_range(cs, img, s, m->addr, end, thumb ? 2 : 4);
        }
    }
    double seconds = bk_now() - start;
    cs_close(&cs);
    return seconds;
}

static const char *objdump_of(enum bk_arch arch)
{
    switch (arch) {
    case BK_ARCH_ARM:
        return "arm-linux-gnueabihf-objdump";
    case BK_ARCH_ARM64:
        return "aarch64-linux-gnu-objdump";
    case BK_ARCH_MIPS:
        return "mipsel-linux-gnu-objdump";
    default:
        return "objdump";
    }
}

/* Seconds of objdump -d, less than 0 where there is none. */
static double objdump(enum bk_arch arch, const char *path)
{
    char command[4096];
    snprintf(command, sizeof command, "%s -d '%s' >/dev/null 2>&1", objdump_of(arch), path);
    double start = bk_now();
    FILE *f = strchr(path, '\'') ? NULL : popen(command, "r");
    return f && pclose(f) == 0 ? bk_now() - start : -1;
}

/* ---- ours ---------------------------------------------------------------- */

struct counts {
    size_t functions, insns, words, unknown, blocks;
};

/* What embedding does before the network. */
static double ours(struct counts *n, const char *path, const struct bk_model *model)
{
    struct bk_error err = {0};
    struct bk_image_file *file;
    struct bk_functions *fs;
    struct bk_decoder *d;
    struct bk_word_seq seq = {0};
    *n = (struct counts){0};
    double start = bk_now();
    if (bk_image_file_open(&file, path, &err))
        die(&err);
    for (size_t m = 0; m < file->n_images; m++) {
        if (bk_functions_find(&fs, &file->images[m], &err) || bk_decoder_new(&d, fs, &err))
            die(&err);
        for (size_t i = 0; i < fs->n; i++) {
            const struct bk_body *body;
            if (bk_decoder_body(&body, d, i, &err) ||
                bk_word_seq_find(&seq, model->words, body, model->cfg.net.max_insns, &err))
                die(&err);
            n->functions++;
            n->insns += body->n_insns;
            n->blocks += body->n_blocks;
            n->words += seq.n;
            n->unknown += seq.n_unknown;
        }
        bk_decoder_free(d);
        bk_functions_free(fs);
    }
    bk_word_seq_done(&seq);
    bk_image_file_close(file);
    return bk_now() - start;
}

static void measure(const char *path, const struct bk_model *model)
{
    struct bk_error err = {0};
    struct bk_image_file *file;
    struct bk_functions *fs;
    if (bk_image_file_open(&file, path, &err) || bk_functions_find(&fs, &file->images[0], &err))
        die(&err);
    const struct bk_image *img = &file->images[0];
    struct counts n;
    double mine[ROUNDS], theirs[ROUNDS], dump[ROUNDS];
    for (int r = 0; r < ROUNDS; r++) {
        theirs[r] = peer(img, fs);
        mine[r] = ours(&n, path, model);
        dump[r] = objdump(img->arch, path);
    }
    double m = median(mine), t = median(theirs), o = median(dump);
    printf("{\"row\":\"decode\",\"file\":\"%s\",\"arch\":\"%s\",\"ours_s\":%.4f,\"ours_spread\":[%.4f,%.4f],\"peer\":"
           "\"capstone 4.0.2 loop with details\",\"peer_s\":%.4f,\"peer_spread\":[%.4f,%.4f],\"ratio\":%.3f,",
           path, bk_arch_name(img->arch), m, mine[0], mine[ROUNDS - 1], t, theirs[0], theirs[ROUNDS - 1], m / t);
    if (o >= 0)
        printf("\"objdump_s\":%.4f,\"objdump_spread\":[%.4f,%.4f],", o, dump[0], dump[ROUNDS - 1]);
    printf("\"insns\":%zu,\"functions\":%zu,\"blocks\":%zu,\"words\":%zu,\"unknown\":%zu}\n", n.insns, n.functions,
           n.blocks, n.words, n.unknown);
    fflush(stdout);
    bk_functions_free(fs);
    bk_image_file_close(file);
}

int main(int argc, char **argv)
{
    struct bk_error err = {0};
    struct bk_model *model;
    const char *path = getenv("BINKIN_MODEL");
    if (bk_model_open(&model, path ? path : BK_MODEL_SOURCE, &err))
        die(&err);
    if (!model->words) {
        fputs("decode_speed: BINKIN_MODEL names no model of words\n", stderr);
        return 1;
    }
    if (argc < 2)
        measure("/usr/lib/x86_64-linux-gnu/libcrypto.so.3", model);
    for (int i = 1; i < argc; i++)
        measure(argv[i], model);
    bk_model_close(model);
    return 0;
}
