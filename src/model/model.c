/* The model file. The layout is in doc/format.md. */
#include "model/model.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define MODEL_KIND  "modl"
#define MODEL_MAJOR 3 /* the newest that is read */
#define COMPAT_SAFE "safe"

static void put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* ---- binary16 --------------------------------------------------------- */

uint16_t bk_half_from_float(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    uint32_t sign = u >> 16 & 0x8000;
    u &= 0x7fffffff;
    if (u > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (u >= 0x477ff000) /* 65520: halfway between the largest half and the next power of two */
        return (uint16_t)(sign | 0x7c00);
    uint32_t mant, shift;
    if (u >= 0x38800000) { /* 2^-14, the smallest normal half */
        mant = u - (112u << 23);
        shift = 13;
    } else {
        uint32_t e = u >> 23;
        if (e < 102) /* below 2^-25: less than half of the smallest */
            return (uint16_t)sign;
        mant = (u & 0x7fffff) | 0x800000;
        shift = 126 - e;
    }
    uint32_t q = mant >> shift, rest = mant & ((1u << shift) - 1), tie = 1u << (shift - 1);
    if (rest > tie || (rest == tie && (q & 1)))
        q++; /* a carry runs into the exponent, as it should */
    return (uint16_t)(sign | q);
}

float bk_half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, mant = h & 0x3ff, u;
    if (e == 31) {
        u = sign | 0x7f800000 | mant << 13;
    } else if (e > 0) {
        u = sign | (e + 112) << 23 | mant << 13;
    } else if (mant == 0) {
        u = sign;
    } else {
        uint32_t up = (uint32_t)__builtin_clz(mant) - 21; /* brings the leading one to bit 10 */
        u = sign | (113 - up) << 23 | (mant << up & 0x3ff) << 13;
    }
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

#if defined(__SSE2__)
/* Four halves, each in the upper half of its lane. Subnormal ones become the difference of two normal numbers, which is
 * exact whatever the caller's state says of subnormal floats. */
static __m128i four_halves(__m128i x)
{
    __m128i m = _mm_srli_epi32(_mm_and_si128(x, _mm_set1_epi32(0x7fff0000)), 3);
    __m128i normal = _mm_add_epi32(m, _mm_set1_epi32(112 << 23));
    __m128i small = _mm_castps_si128(
        _mm_sub_ps(_mm_castsi128_ps(_mm_add_epi32(m, _mm_set1_epi32(113 << 23))), _mm_set1_ps(0x1p-14f)));
    __m128i is_small = _mm_cmplt_epi32(m, _mm_set1_epi32(1 << 23));
    __m128i abs = _mm_or_si128(_mm_and_si128(is_small, small), _mm_andnot_si128(is_small, normal));
    return _mm_or_si128(abs, _mm_and_si128(x, _mm_set1_epi32((int)0x80000000)));
}
#endif

/* `n` numbers of an entry; false: one is not finite, and what it became means nothing. */
static bool halves_read(float *out, const uint8_t *p, size_t n)
{
    size_t i = 0;
    bool finite = true;
#if defined(__SSE2__)
    const __m128i zero = _mm_setzero_si128(), exponent = _mm_set1_epi16(0x7c00);
    __m128i bad = zero;
    for (; n - i >= 8; i += 8) {
        __m128i h = _mm_loadu_si128((const __m128i *)(const void *)(p + 2 * i));
        bad = _mm_or_si128(bad, _mm_cmpeq_epi16(_mm_and_si128(h, exponent), exponent));
        _mm_storeu_si128((__m128i *)(void *)(out + i), four_halves(_mm_unpacklo_epi16(zero, h)));
        _mm_storeu_si128((__m128i *)(void *)(out + i + 4), four_halves(_mm_unpackhi_epi16(zero, h)));
    }
    finite = _mm_movemask_epi8(bad) == 0;
#endif
    for (; i < n; i++) {
        uint16_t h = (uint16_t)(p[2 * i] | p[2 * i + 1] << 8);
        out[i] = bk_half_to_float(h);
        finite &= (h & 0x7c00) != 0x7c00;
    }
    return finite;
}

static bool floats_read(float *out, const uint8_t *p, size_t n)
{
    uint32_t worst = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t u = get_u32(p + 4 * i), abs = u & 0x7fffffff;
        memcpy(&out[i], &u, 4);
        worst = abs > worst ? abs : worst;
    }
    return worst < 0x7f800000;
}

/* ---- parts shared with word-vector files -------------------------------- */

int bk_vocabulary_read(struct bk_strtab **out, struct bk_cursor c, struct bk_error *err)
{
    *out = NULL;
    uint32_t n = bk_read_u32(&c);
    if (c.failed || n == 0 || n > c.size - c.pos)
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "vocabulary of %u words in %zu bytes", n, c.size);
    struct bk_strtab *t = bk_strtab_new();
    if (!t)
        return bk_fail_nomem(err, n);
    int rc = BK_OK;
    for (uint32_t i = 0; i < n && !rc; i++) {
        const char *s = bk_read_str(&c);
        size_t len = s ? strlen(s) : 0;
        bool good = s && len < BK_WORD_MAX && (len == 0) == (i == 0);
        for (size_t k = 0; good && k < len; k++)
            good = s[k] > ' ' && s[k] <= '~';
        if (!good) {
            rc = bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "vocabulary: word %u is not one", i);
            break;
        }
        uint32_t id = bk_strtab_intern(t, s, len);
        if (id == BK_STR_NONE)
            rc = bk_fail_nomem(err, len);
        else if (id != i)
            rc = bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "vocabulary: word %u repeats word %u", i, id);
    }
    if (!rc && c.pos != c.size)
        rc = bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "vocabulary: %zu bytes after the last word", c.size - c.pos);
    if (rc)
        bk_strtab_free(t);
    else
        *out = t;
    return rc;
}

int bk_vocabulary_write(uint8_t **out, size_t *size, const struct bk_strtab *words, struct bk_error *err)
{
    uint32_t n = bk_strtab_count(words);
    size_t total = 4;
    for (uint32_t i = 0; i < n; i++)
        total += strlen(bk_strtab_str(words, i)) + 1;
    uint8_t *p = malloc(total);
    if (!p)
        return bk_fail_nomem(err, total);
    put_u32(p, n);
    size_t at = 4;
    for (uint32_t i = 0; i < n; i++) {
        const char *s = bk_strtab_str(words, i);
        size_t len = strlen(s) + 1;
        memcpy(p + at, s, len);
        at += len;
    }
    *out = p;
    *size = total;
    return BK_OK;
}

int bk_floats_check(struct bk_cursor c, const char *name, size_t rows, size_t cols, struct bk_error *err)
{
    size_t n, bytes;
    if (!bk_mul_size(&n, rows, cols) || !bk_mul_size(&bytes, n, 4) || (c.size != bytes && c.size != bytes / 2))
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "%s: %zu bytes are not %zu x %zu numbers", name, c.size, rows,
                       cols);
    return BK_OK;
}

int bk_floats_read(float *out, struct bk_cursor c, const char *name, size_t n, struct bk_error *err)
{
    int rc = bk_floats_check(c, name, n, 1, err);
    if (rc)
        return rc;
    if (c.size == 2 * n ? halves_read(out, c.data, n) : floats_read(out, c.data, n))
        return BK_OK;
    size_t i = 0;
    while (i + 1 < n && isfinite(out[i]))
        i++;
    return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "%s: number %zu is not finite", name, i);
}

int bk_floats_write(uint8_t **out, size_t *size, const char *name, const float *v, size_t n, bool half,
                    struct bk_error *err)
{
    size_t width = half ? 2 : 4, total;
    uint8_t *p = bk_mul_size(&total, n, width) ? malloc(total ? total : 1) : NULL;
    if (!p)
        return bk_fail_nomem(err, n);
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(v[i])) {
            free(p);
            return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "%s: number %zu is not finite", name, i);
        }
        uint32_t u;
        memcpy(&u, &v[i], 4);
        if (half) {
            u = bk_half_from_float(v[i]);
            if ((u & 0x7c00) == 0x7c00) {
                free(p);
                return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET, "%s: %g is too large for binary16", name, (double)v[i]);
            }
            p[2 * i] = (uint8_t)u;
            p[2 * i + 1] = (uint8_t)(u >> 8);
        } else {
            put_u32(p + 4 * i, u);
        }
    }
    *out = p;
    *size = total;
    return BK_OK;
}

void bk_arch_list(char out[BK_ARCH_LIST_MAX], uint32_t archs)
{
    size_t at = 0;
    out[0] = 0;
    for (int a = BK_ARCH_NONE + 1; a < BK_ARCH_COUNT; a++)
        if (archs >> a & 1)
            at += (size_t)snprintf(out + at, BK_ARCH_LIST_MAX - at, "%s%s", at ? "," : "", bk_arch_name(a));
}

bool bk_arch_list_parse(uint32_t *archs, const char *text)
{
    *archs = 0;
    for (;;) {
        char name[16];
        size_t n = strcspn(text, ",");
        if (n == 0 || n >= sizeof name)
            return false;
        memcpy(name, text, n);
        name[n] = 0;
        enum bk_arch a = bk_arch_parse(name);
        if (a == BK_ARCH_NONE)
            return false;
        *archs |= 1u << a;
        if (!text[n])
            return true;
        text += n + 1;
    }
}

int bk_tokens_check(const char *what, const char *name, uint32_t version, struct bk_error *err)
{
    if (strcmp(name, BK_TOKENS_NAME) != 0 || version != BK_TOKENS_VERSION)
        return bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET, "%s made with the token rules %.32s/%u, not %s/%d", what, name,
                       version, BK_TOKENS_NAME, BK_TOKENS_VERSION);
    return BK_OK;
}

/* ---- reading ------------------------------------------------------------ */

enum { ENCODER_FACTS = 11 }; /* numbers of the entry "encoder" */

/* Whether a model of this kind has it. */
static bool has_encoder(const char *kind)
{
    return strcmp(kind, "graph") == 0 || strcmp(kind, "fused") == 0;
}

/* What bk_model.owner points at; the model lives inside. */
struct holder {
    struct bk_model m;
    struct bk_pack *pack; /* words, forms and rows are in its mapping */
    struct bk_strtab *words, *forms;
    uint64_t *idf_hash;
    float *idf_weight;
    const uint8_t *rows; /* word vectors as the file has them */
    bool half;           /* binary16 */
    float *params;
    char *provenance;
    struct bk_calibration calibration;
};

void bk_model_close(struct bk_model *m)
{
    if (!m)
        return;
    struct holder *h = m->owner;
    bk_model_cache_free(m->cache);
    bk_strtab_free(h->words);
    bk_strtab_free(h->forms);
    free(h->idf_hash);
    free(h->idf_weight);
    free(h->params);
    free(h->provenance);
    bk_pack_close(h->pack);
    free(h);
}

/* The entry "compat", which most models lack. */
static int read_compat(struct bk_model *m, const struct bk_pack *p, struct bk_error *err)
{
    struct bk_cursor c;
    if (bk_pack_entry(&c, p, "compat", NULL))
        return BK_OK;
    const char *form = bk_read_str(&c);
    m->cfg.net.compat_safe = !c.failed && c.pos == c.size && strcmp(form, COMPAT_SAFE) == 0;
    return m->cfg.net.compat_safe ? BK_OK : bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "compat: not \"" COMPAT_SAFE "\"");
}

/* The entry "encoder", which a model has that is more than the sequence. */
static int read_encoder(struct bk_model *m, const struct bk_pack *p, struct bk_error *err)
{
    struct bk_encoder_config *e = &m->cfg;
    struct bk_graph_config *g = &e->graph;
    struct bk_cursor c;
    int rc = bk_pack_entry(&c, p, "encoder", err);
    if (rc)
        return rc;
    const uint32_t branches = bk_read_u32(&c), hidden = bk_read_u32(&c), attention = bk_read_u32(&c);
    uint32_t *sizes[] = {&g->forms, &g->s, &g->rounds, &g->a, &g->r, &g->n, &g->max_nodes, &e->sketch};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        *sizes[i] = bk_read_u32(&c);
    if (c.failed || c.pos != c.size || attention > 1)
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "encoder: not its %d numbers", ENCODER_FACTS);
    if (branches & ~e->branches)
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "encoder: branches %#x are not some of those of kind %s",
                       branches, m->kind);
    e->branches = branches;
    e->hidden = hidden;
    e->attention = attention;
    return BK_OK;
}

/* The file is at fault, not the caller. */
static int as_format(int rc, struct bk_error *err)
{
    if (rc != BK_EINVAL && rc != BK_ELIMIT)
        return rc;
    if (err)
        err->code = BK_EFORMAT;
    return BK_EFORMAT;
}

static int read_config(struct bk_model *m, const struct bk_pack *p, struct bk_error *err)
{
    struct bk_cursor c;
    int rc = bk_pack_entry(&c, p, "config", err);
    if (rc)
        return rc;
    const char *tokens = bk_read_str(&c);
    uint32_t version = bk_read_u32(&c);
    bool has_tokens = !c.failed;
    const char *kind = bk_read_str(&c), *aff = bk_read_str(&c), *archs = bk_read_str(&c);
    uint32_t *dims[] = {&m->cfg.net.d, &m->cfg.net.u, &m->cfg.net.a,        &m->cfg.net.r,
                        &m->cfg.net.e, &m->cfg.net.n, &m->cfg.net.max_insns};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        *dims[i] = bk_read_u32(&c);
    m->split_by = bk_read_u32(&c);
    for (int i = 0; i < 3; i++)
        m->split_parts[i] = bk_read_u32(&c);
    m->split_seed = bk_read_u64(&c);
    m->dataset_hash = bk_read_u64(&c);
    if (has_tokens && (rc = bk_tokens_check("model", tokens, version, err)))
        return rc;
    if (c.failed)
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "config: cut off after %zu bytes", c.size);
    struct bk_encoder_config usual;
    if (!bk_encoder_config_default(&usual, kind))
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "config: kind \"%.16s\" is not known", kind);
    memcpy(m->kind, kind, strlen(kind));
    m->cfg.branches = usual.branches;
    if (!bk_arch_list_parse(&m->archs, archs))
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "config: architectures \"%.64s\" are not known", archs);
    rc = bk_net_config_set_aff(&m->cfg.net, aff, err);
    if (!rc)
        rc = read_compat(m, p, err);
    if (!rc && has_encoder(m->kind))
        rc = read_encoder(m, p, err);
    if (!rc)
        rc = bk_encoder_config_check(&m->cfg, err);
    return as_format(rc, err);
}

/* Opens a table of texts in place; a file of version 1.0 has no index, its texts are copied. */
static int read_texts(struct bk_strtab **out, const struct bk_pack *p, const char *name, const char *index_name,
                      struct bk_error *err)
{
    struct bk_cursor c, index;
    int rc = bk_pack_entry(&c, p, name, err);
    if (rc)
        return rc;
    if (bk_pack_entry(&index, p, index_name, NULL))
        return bk_vocabulary_read(out, c, err);
    uint32_t n = bk_read_u32(&c);
    if (c.failed || n == 0)
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "%s of %u words in %zu bytes", name, n, c.size);
    if ((rc = bk_strtab_open(out, bk_cursor_at(c.data + c.pos, c.size - c.pos, 0, false), index, err)))
        return rc;
    if (bk_strtab_count(*out) != n)
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "%s: %u words, %u in its index", name, n, bk_strtab_count(*out));
    uint8_t odd = 0; /* without a branch: the compiler takes many bytes at a time */
    for (size_t i = c.pos; i < c.size; i++)
        odd |= (uint8_t)((uint8_t)(c.data[i] - '!') > '~' - '!') & (uint8_t)(c.data[i] != 0);
    bool good = !odd;
    for (uint32_t i = 0; i < n; i++) {
        size_t len = bk_strtab_len(*out, i);
        good &= len < BK_WORD_MAX && (len == 0) == (i == 0);
    }
    return good ? BK_OK : bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "%s: not all of its %u words are words", name, n);
}

static int read_words(struct holder *h, struct bk_error *err)
{
    int rc = read_texts(&h->words, h->pack, "vocabulary", "vocabulary.index", err);
    if (rc)
        return rc;
    h->m.words = h->words;
    for (int a = BK_ARCH_NONE + 1; a < BK_ARCH_COUNT; a++) {
        const char *unknown = bk_word_unknown(a);
        if (h->m.archs >> a & 1 && bk_strtab_find(h->words, unknown, strlen(unknown)) == BK_STR_NONE)
            return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "vocabulary: no word %s, but trained for %s", unknown,
                           bk_arch_name(a));
    }
    struct bk_cursor c;
    size_t v = bk_strtab_count(h->words), d = h->m.cfg.net.d;
    if ((rc = bk_pack_entry(&c, h->pack, "word_vectors", err)) || (rc = bk_floats_check(c, "word_vectors", v, d, err)))
        return rc;
    h->rows = c.data;
    h->half = c.size == 2 * v * d;
    size_t row = d * (h->half ? 2 : 4);
    for (size_t i = 0; i < row; i++)
        if (c.data[i] != 0)
            return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "word_vectors: row 0, the padding, is not zero");
    return BK_OK;
}

static int read_forms(struct holder *h, struct bk_error *err)
{
    int rc = read_texts(&h->forms, h->pack, "forms", "forms.index", err);
    h->m.forms = h->forms;
    if (!rc && bk_strtab_count(h->forms) != h->m.cfg.graph.forms)
        rc = bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "forms: %u of them, %u in the configuration",
                     bk_strtab_count(h->forms), h->m.cfg.graph.forms);
    return rc;
}

/* The last weight is that of an item which is not there. */
static int read_idf(struct holder *h, struct bk_error *err)
{
    struct bk_cursor hashes, weights;
    int rc = bk_pack_entry(&hashes, h->pack, "items", err);
    if (!rc)
        rc = bk_pack_entry(&weights, h->pack, "items.idf", err);
    if (rc)
        return rc;
    const size_t n = hashes.size / 8;
    if (hashes.size % 8)
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "items: %zu bytes are not rows of 8", hashes.size);
    if ((rc = bk_floats_check(weights, "items.idf", n + 1, 1, err)))
        return rc;
    h->idf_hash = bk_calloc(n + 1, sizeof *h->idf_hash);
    h->idf_weight = bk_calloc(n + 1, sizeof *h->idf_weight);
    if (!h->idf_hash || !h->idf_weight)
        return bk_fail_nomem(err, n * sizeof *h->idf_hash);
    for (size_t i = 0; i < n; i++) {
        h->idf_hash[i] = bk_read_u64(&hashes);
        if (i > 0 && h->idf_hash[i] <= h->idf_hash[i - 1])
            return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "items: not in their order at %zu", i);
    }
    rc = bk_floats_read(h->idf_weight, weights, "items.idf", n + 1, err);
    h->m.idf = (struct bk_idf){.n = n, .hash = h->idf_hash, .weight = h->idf_weight, .other = h->idf_weight[n]};
    return rc;
}

float bk_idf_of(const struct bk_idf *idf, uint64_t hash)
{
    size_t low = 0, high = idf->n;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        if (idf->hash[mid] < hash)
            low = mid + 1;
        else
            high = mid;
    }
    return low < idf->n && idf->hash[low] == hash ? idf->weight[low] : idf->other;
}

/* Name of a tensor's entry. */
static void tensor_entry(char out[32], const struct bk_tensor *t)
{
    snprintf(out, 32, "net.%s", t->name);
}

static int read_params(struct holder *h, struct bk_error *err)
{
    struct bk_tensor t[BK_ENCODER_MAX_TENSORS];
    struct bk_cursor c[BK_ENCODER_MAX_TENSORS];
    size_t n = bk_encoder_tensors(t, &h->m.cfg), total = bk_encoder_n_params(&h->m.cfg);
    char name[32];
    for (size_t i = 0; i < n; i++) { /* all sizes stand before the block is allocated */
        tensor_entry(name, &t[i]);
        int rc = bk_pack_entry(&c[i], h->pack, name, err);
        if (rc || (rc = bk_floats_check(c[i], name, t[i].rows, t[i].cols, err)))
            return rc;
    }
    h->params = bk_alloc_large(total, sizeof(float));
    if (!h->params)
        return bk_fail_nomem(err, total * sizeof(float));
    h->m.params = h->params;
    for (size_t i = 0; i < n; i++) {
        tensor_entry(name, &t[i]);
        int rc = bk_floats_read(h->params + t[i].offset, c[i], name, t[i].rows * t[i].cols, err);
        if (rc)
            return rc;
    }
    return BK_OK;
}

/* The entry "calibration", which may be missing. */
#define CALIBRATION "calibration"

static int read_calibration(struct holder *h, struct bk_error *err)
{
    struct bk_cursor c;
    if (bk_pack_entry(&c, h->pack, CALIBRATION, NULL))
        return BK_OK;
    uint32_t n_classes = bk_read_u32(&c);
    for (size_t i = 0; i < BK_CALIBRATION_CLASSES; i++) {
        struct bk_calibration_class *k = &h->calibration.v[i];
        k->n = bk_read_u32(&c);
        if (c.failed || n_classes != BK_CALIBRATION_CLASSES || k->n > BK_CALIBRATION_KNOTS)
            return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, CALIBRATION ": class %zu of %u has %u knots", i, n_classes,
                           k->n);
        float *lists[] = {k->score, k->tail, k->odds};
        for (size_t l = 0; l < 3; l++) {
            const uint8_t *bytes = bk_read_bytes(&c, 4 * (size_t)k->n);
            struct bk_cursor part = bk_cursor_at(bytes, c.failed ? 0 : 4 * (size_t)k->n, 0, false);
            int rc = bk_floats_read(lists[l], part, CALIBRATION, k->n, err);
            if (rc)
                return rc;
        }
    }
    if (c.pos != c.size)
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, CALIBRATION ": %zu bytes after the last class", c.size - c.pos);
    h->m.calibration = &h->calibration;
    return bk_calibration_check(&h->calibration, err);
}

/* What is shown to people and parsed by the command line is a JSON object and nothing else. */
static int check_provenance(const char *text, size_t size, int code, struct bk_error *err)
{
    json_error_t je;
    json_t *j = json_loadb(text, size, 0, &je);
    bool object = json_is_object(j);
    json_decref(j);
    if (!object)
        return bk_fail(err, code, BK_NO_OFFSET, "provenance: not a JSON object");
    return BK_OK;
}

static int read_provenance(struct holder *h, const struct bk_pack *p, struct bk_error *err)
{
    struct bk_cursor c;
    int rc = bk_pack_entry(&c, p, "provenance", err);
    if (rc)
        return rc;
    const char *text = (const char *)bk_read_bytes(&c, c.size);
    if (!text)
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "provenance: empty");
    if ((rc = check_provenance(text, c.size, BK_EFORMAT, err)))
        return rc;
    h->provenance = strndup(text, c.size);
    h->m.provenance = h->provenance;
    return h->provenance ? BK_OK : bk_fail_nomem(err, c.size);
}

/* Takes the pack over. */
static int read_pack(struct bk_model **out, struct bk_pack *p, struct bk_error *err)
{
    struct holder *h = calloc(1, sizeof *h);
    if (!h) {
        bk_pack_close(p);
        return bk_fail_nomem(err, sizeof *h);
    }
    h->pack = p;
    h->m.owner = h;
    h->m.cache = bk_model_cache_new();
    if (!h->m.cache) {
        bk_model_close(&h->m);
        return bk_fail_nomem(err, sizeof *h);
    }
    h->m.hash = bk_pack_hash(p);
    int rc = read_config(&h->m, p, err);
    if (!rc && bk_encoder_has(&h->m.cfg, BK_BRANCH_SEQUENCE))
        rc = read_words(h, err);
    if (!rc && bk_encoder_has(&h->m.cfg, BK_BRANCH_GRAPH))
        rc = read_forms(h, err);
    if (!rc && bk_encoder_has(&h->m.cfg, BK_BRANCH_SKETCH))
        rc = read_idf(h, err);
    if (!rc)
        rc = read_params(h, err);
    if (!rc)
        rc = read_provenance(h, p, err);
    if (!rc)
        rc = read_calibration(h, err);
    if (rc)
        bk_model_close(&h->m);
    else
        *out = &h->m;
    return rc;
}

int bk_model_open(struct bk_model **out, const char *path, struct bk_error *err)
{
    struct bk_pack *p;
    *out = NULL;
    int rc = bk_pack_open(&p, path, MODEL_KIND, MODEL_MAJOR, err);
    if (!rc)
        rc = read_pack(out, p, err);
    if (rc)
        bk_error_file(err, path, NULL);
    return rc;
}

int bk_model_open_bytes(struct bk_model **out, const uint8_t *data, size_t size, struct bk_error *err)
{
    struct bk_pack *p;
    *out = NULL;
    int rc = bk_pack_open_bytes(&p, data, size, MODEL_KIND, MODEL_MAJOR, err);
    return rc ? rc : read_pack(out, p, err);
}

int bk_model_vectors(float *out, const struct bk_model *m, const uint32_t *ids, size_t n, struct bk_error *err)
{
    uint32_t v = bk_strtab_count(m->words);
    size_t d = m->cfg.net.d;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] >= v)
            return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "word id %u of %u", ids[i], v);
        float *row = out + i * d;
        bool finite = true;
        if (m->word_vectors) {
            memcpy(row, m->word_vectors + ids[i] * d, d * sizeof *row);
            for (size_t k = 0; k < d; k++)
                finite &= isfinite(row[k]) != 0;
        } else {
            const struct holder *h = m->owner;
            finite =
                h->half ? halves_read(row, h->rows + ids[i] * d * 2, d) : floats_read(row, h->rows + ids[i] * d * 4, d);
        }
        if (!finite)
            return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "word_vectors: the vector of word %u is not finite", ids[i]);
    }
    return BK_OK;
}

/* ---- writing ------------------------------------------------------------ */

/* Buffers that must live until the pack is committed: config, vocabulary and index, word vectors, encoder, forms and index, items and idf,
 * tensors. */
struct buffers {
    uint8_t *v[9 + BK_ENCODER_MAX_TENSORS];
    size_t n;
};

static int add_buffer(struct bk_pack_writer *w, struct buffers *b, const char *name, uint8_t *data, size_t size,
                      struct bk_error *err)
{
    b->v[b->n++] = data;
    return bk_pack_add(w, name, data, size, err);
}

static int add_config(struct bk_pack_writer *w, struct buffers *b, const struct bk_model *m, struct bk_error *err)
{
    char aff[64], archs[BK_ARCH_LIST_MAX];
    bk_net_config_aff(aff, &m->cfg.net);
    bk_arch_list(archs, m->archs);
    uint8_t *buf = calloc(1, 512);
    if (!buf)
        return bk_fail_nomem(err, 512);
    uint8_t *p = buf;
    p = (uint8_t *)stpcpy((char *)p, BK_TOKENS_NAME) + 1;
    put_u32(p, BK_TOKENS_VERSION);
    p += 4;
    p = (uint8_t *)stpcpy((char *)p, m->kind) + 1;
    p = (uint8_t *)stpcpy((char *)p, aff) + 1;
    p = (uint8_t *)stpcpy((char *)p, archs) + 1;
    const uint32_t facts[] = {m->cfg.net.d,
                              m->cfg.net.u,
                              m->cfg.net.a,
                              m->cfg.net.r,
                              m->cfg.net.e,
                              m->cfg.net.n,
                              m->cfg.net.max_insns,
                              m->split_by,
                              m->split_parts[0],
                              m->split_parts[1],
                              m->split_parts[2],
                              (uint32_t)m->split_seed,
                              (uint32_t)(m->split_seed >> 32),
                              (uint32_t)m->dataset_hash,
                              (uint32_t)(m->dataset_hash >> 32)};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++, p += 4)
        put_u32(p, facts[i]);
    return add_buffer(w, b, "config", buf, (size_t)(p - buf), err);
}

static int add_vectors(struct bk_pack_writer *w, struct buffers *b, const struct bk_model *m, bool half,
                       struct bk_error *err)
{
    size_t v = bk_strtab_count(m->words), d = m->cfg.net.d, size;
    float *rows = bk_calloc(v, d * sizeof *rows);
    if (!rows)
        return bk_fail_nomem(err, v * d * sizeof *rows);
    int rc = BK_OK;
    for (uint32_t i = 0; i < v && !rc; i++)
        rc = bk_model_vectors(rows + i * d, m, &i, 1, err);
    uint8_t *data;
    if (rc == BK_EFORMAT) /* in memory it is the caller who gave that number */
        rc = BK_EINVAL;
    if (!rc)
        rc = bk_floats_write(&data, &size, "word_vectors", rows, v * d, half, err);
    free(rows);
    return rc ? rc : add_buffer(w, b, "word_vectors", data, size, err);
}

static int add_encoder(struct bk_pack_writer *w, struct buffers *b, const struct bk_model *m, struct bk_error *err)
{
    const struct bk_encoder_config *e = &m->cfg;
    const struct bk_graph_config *g = &e->graph;
    const uint32_t facts[ENCODER_FACTS] = {e->branches, e->hidden, e->attention, g->forms,     g->s,     g->rounds,
                                           g->a,        g->r,      g->n,         g->max_nodes, e->sketch};
    uint8_t *buf = bk_calloc(ENCODER_FACTS, 4);
    if (!buf)
        return bk_fail_nomem(err, sizeof facts);
    for (size_t i = 0; i < ENCODER_FACTS; i++)
        put_u32(buf + 4 * i, facts[i]);
    return add_buffer(w, b, "encoder", buf, sizeof facts, err);
}

static int add_texts(struct bk_pack_writer *w, struct buffers *b, const struct bk_strtab *t, const char *name,
                     const char *index_name, struct bk_error *err)
{
    uint8_t *data;
    size_t size;
    int rc = bk_vocabulary_write(&data, &size, t, err);
    if (!rc)
        rc = add_buffer(w, b, name, data, size, err);
    if (!rc)
        rc = bk_strtab_index(&data, &size, t, err);
    return rc ? rc : add_buffer(w, b, index_name, data, size, err);
}

static int add_idf(struct bk_pack_writer *w, struct buffers *b, const struct bk_idf *idf, bool half,
                   struct bk_error *err)
{
    float *weights = bk_calloc(idf->n + 1, sizeof *weights);
    uint8_t *hashes = bk_calloc(idf->n + 1, 8), *data;
    size_t size;
    if (!weights || !hashes) {
        free(weights);
        free(hashes);
        return bk_fail_nomem(err, idf->n * 8);
    }
    for (size_t i = 0; i < idf->n; i++) {
        put_u32(hashes + 8 * i, (uint32_t)idf->hash[i]);
        put_u32(hashes + 8 * i + 4, (uint32_t)(idf->hash[i] >> 32));
        weights[i] = idf->weight[i];
    }
    weights[idf->n] = idf->other;
    int rc = add_buffer(w, b, "items", hashes, 8 * idf->n, err);
    if (!rc)
        rc = bk_floats_write(&data, &size, "items.idf", weights, idf->n + 1, half, err);
    free(weights);
    return rc ? rc : add_buffer(w, b, "items.idf", data, size, err);
}

/* What the branches need besides tensors. */
static int add_branches(struct bk_pack_writer *w, struct buffers *b, const struct bk_model *m, bool half,
                        struct bk_error *err)
{
    int rc = BK_OK;
    if (m->cfg.net.compat_safe)
        rc = bk_pack_add(w, "compat", COMPAT_SAFE, sizeof COMPAT_SAFE, err);
    if (!rc && has_encoder(m->kind))
        rc = add_encoder(w, b, m, err);
    if (!rc && bk_encoder_has(&m->cfg, BK_BRANCH_SEQUENCE)) {
        rc = add_texts(w, b, m->words, "vocabulary", "vocabulary.index", err);
        if (!rc)
            rc = add_vectors(w, b, m, half, err);
    }
    if (!rc && bk_encoder_has(&m->cfg, BK_BRANCH_GRAPH))
        rc = add_texts(w, b, m->forms, "forms", "forms.index", err);
    if (!rc && bk_encoder_has(&m->cfg, BK_BRANCH_SKETCH))
        rc = add_idf(w, b, &m->idf, half, err);
    return rc;
}

static int add_all(struct bk_pack_writer *w, struct buffers *b, const struct bk_model *m, bool half,
                   struct bk_error *err)
{
    uint8_t *data;
    size_t size;
    int rc = add_config(w, b, m, err);
    if (!rc)
        rc = add_branches(w, b, m, half, err);
    struct bk_tensor t[BK_ENCODER_MAX_TENSORS];
    size_t n = bk_encoder_tensors(t, &m->cfg);
    for (size_t i = 0; i < n && !rc; i++) {
        char name[32];
        tensor_entry(name, &t[i]);
        rc = bk_floats_write(&data, &size, name, m->params + t[i].offset, t[i].rows * t[i].cols, half, err);
        if (!rc)
            rc = add_buffer(w, b, name, data, size, err);
    }
    return rc ? rc : bk_pack_add(w, "provenance", m->provenance, strlen(m->provenance), err);
}

/* The oldest format that holds it. */
static int create(struct bk_pack_writer **w, const struct bk_model *m, const char *path, struct bk_error *err)
{
    const unsigned major = has_encoder(m->kind) ? 3 : m->cfg.net.compat_safe ? 2 : 1;
    return bk_pack_create(w, path, MODEL_KIND, major, major == 1, err);
}

int bk_model_save(const struct bk_model *m, const char *path, bool half, struct bk_error *err)
{
    struct bk_pack_writer *w;
    struct buffers b = {{0}, 0};
    int rc = bk_encoder_config_check(&m->cfg, err);
    if (!rc && m->archs == 0)
        rc = bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "a model trained for no architecture");
    if (!rc)
        rc = check_provenance(m->provenance, strlen(m->provenance), BK_EINVAL, err);
    if (!rc)
        rc = create(&w, m, path, err);
    if (!rc) {
        rc = add_all(w, &b, m, half, err);
        if (rc)
            bk_pack_abort(w);
        else
            rc = bk_pack_commit(w, err);
    }
    for (size_t i = 0; i < b.n; i++)
        free(b.v[i]);
    if (rc)
        bk_error_file(err, path, NULL);
    return rc;
}

static size_t put_calibration(uint8_t *out, const struct bk_calibration *c)
{
    uint8_t *p = out;
    put_u32(p, BK_CALIBRATION_CLASSES);
    p += 4;
    for (size_t i = 0; i < BK_CALIBRATION_CLASSES; i++) {
        const struct bk_calibration_class *k = &c->v[i];
        put_u32(p, k->n);
        p += 4;
        const float *lists[] = {k->score, k->tail, k->odds};
        for (size_t l = 0; l < 3; l++)
            for (size_t j = 0; j < k->n; j++, p += 4) {
                uint32_t u;
                memcpy(&u, &lists[l][j], 4);
                put_u32(p, u);
            }
    }
    return (size_t)(p - out);
}

int bk_model_save_calibrated(const struct bk_model *m, const struct bk_calibration *c, const char *path,
                             struct bk_error *err)
{
    const struct holder *h = m->owner;
    struct bk_pack_writer *w;
    uint8_t data[4 + BK_CALIBRATION_CLASSES * (4 + 3 * 4 * BK_CALIBRATION_KNOTS)];
    int rc = bk_calibration_check(c, err);
    if (!rc)
        rc = bk_pack_copy(&w, h->pack, path, CALIBRATION, err);
    if (!rc) {
        rc = bk_pack_add(w, CALIBRATION, data, put_calibration(data, c), err);
        if (rc)
            bk_pack_abort(w);
        else
            rc = bk_pack_commit(w, err);
    }
    if (rc)
        bk_error_file(err, path, NULL);
    return rc;
}
