/* The networks of MFFA-Net and SAFE: configurations, and which tensors there are. */
#include "model/net_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- configuration ------------------------------------------------------ */

static const char *const aff_names[] = {
#define AFF_NAME(id, name) name,
    BK_AFFS(AFF_NAME)
#undef AFF_NAME
};

size_t bk_net_sides(const struct bk_net_config *c)
{
    return c->compat_safe ? 2 : 1;
}

bool bk_net_config_default(struct bk_net_config *out, const char *kind)
{
    *out = (struct bk_net_config){.d = 100, .u = 100, .a = 250, .r = 10, .e = 2000, .n = 100, .max_insns = 150};
    if (strcmp(kind, "mffa") == 0) {
        out->aff = BK_AFF_NONE;
        out->aff_norm = true;
    } else if (strcmp(kind, "safe") == 0) {
        out->aff = BK_AFF_P;
    } else {
        return false;
    }
    return true;
}

size_t bk_net_outputs(const struct bk_net_config *c)
{
    return c->aff_linear ? c->n : fused_size(c);
}

static bool same_part(const char *part, size_t n, const char *name)
{
    return strlen(name) == n && memcmp(part, name, n) == 0;
}

int bk_net_config_set_aff(struct bk_net_config *cfg, const char *text, struct bk_error *err)
{
    struct bk_net_config c = *cfg;
    size_t n = strcspn(text, "+"), found = BK_AFF_COUNT;
    for (size_t i = 0; i < BK_AFF_COUNT; i++)
        if (same_part(text, n, aff_names[i]))
            found = i;
    if (found == BK_AFF_COUNT)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "aff \"%.*s\" is none of matrix, residual, gate, none, p, q",
                       (int)(n < 40 ? n : 40), text);
    c.aff = (enum bk_aff)found;
    c.aff_scale = c.aff_norm = c.aff_linear = false;
    for (const char *part = text + n; *part == '+'; part += n) {
        part++;
        n = strcspn(part, "+");
        bool *flag = same_part(part, n, "scale")    ? &c.aff_scale
                     : same_part(part, n, "norm")   ? &c.aff_norm
                     : same_part(part, n, "linear") ? &c.aff_linear
                                                    : NULL;
        if (!flag || *flag)
            return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "aff modifier \"%.*s\" is %s", (int)(n < 40 ? n : 40), part,
                           flag ? "there twice" : "none of scale, norm, linear");
        *flag = true;
    }
    if (c.aff_scale && !has_cross(&c))
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "aff \"%s\" has no cross matrix to scale", aff_names[found]);
    *cfg = c;
    return BK_OK;
}

void bk_net_config_aff(char out[64], const struct bk_net_config *cfg)
{
    snprintf(out, 64, "%s%s%s%s", aff_names[cfg->aff], cfg->aff_scale ? "+scale" : "", cfg->aff_norm ? "+norm" : "",
             cfg->aff_linear ? "+linear" : "");
}

int bk_net_config_check(const struct bk_net_config *cfg, struct bk_error *err)
{
    const struct {
        const char *name;
        uint32_t value, limit;
    } sizes[] = {{"d", cfg->d, 4096},
                 {"u", cfg->u, 4096},
                 {"a", cfg->a, 4096},
                 {"r", cfg->r, 256},
                 {"e", cfg->e, 65536},
                 {"n", cfg->n, 4096},
                 {"max_insns", cfg->max_insns, 65536}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value == 0 || sizes[i].value > sizes[i].limit)
            return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET, "network size %s is %u, allowed are 1 to %u", sizes[i].name,
                           sizes[i].value, sizes[i].limit);
    if (cfg->u % 2)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "network size u is %u, but two directions share it evenly",
                       cfg->u);
    if ((unsigned)cfg->aff >= BK_AFF_COUNT)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "aff number %u is unknown", (unsigned)cfg->aff);
    if (cfg->aff_scale && !has_cross(cfg))
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "aff \"%s\" has no cross matrix to scale", aff_names[cfg->aff]);
    if (bk_net_n_params(cfg) > (size_t)1 << 28)
        return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET, "network of %zu numbers, allowed are %zu", bk_net_n_params(cfg),
                       (size_t)1 << 28);
    return BK_OK;
}

/* ---- tensors ------------------------------------------------------------- */

struct layout bk_net_layout(const struct bk_net_config *c)
{
    size_t s = c->u / 2, at = 0;
    struct layout l = {0};
#define LAYOUT_PLACE(field, name, rows, cols, init, present)                                                           \
    if (present) {                                                                                                     \
        l.field = at;                                                                                                  \
        at += (size_t)(rows) * (cols);                                                                                 \
    }
    NET_TENSORS(LAYOUT_PLACE)
#undef LAYOUT_PLACE
    l.total = at;
    return l;
}

size_t bk_net_tensors(struct bk_tensor out[BK_NET_MAX_TENSORS], const struct bk_net_config *c)
{
    const struct layout l = bk_net_layout(c);
    size_t s = c->u / 2, n = 0;
#define TENSOR_ENTRY(field, text, r, k, init, present)                                                                 \
    if (present)                                                                                                       \
        out[n++] = (struct bk_tensor){.name = text, .rows = r, .cols = k, .offset = l.field};
    NET_TENSORS(TENSOR_ENTRY)
#undef TENSOR_ENTRY
    return n;
}

size_t bk_net_n_params(const struct bk_net_config *cfg)
{
    return bk_net_layout(cfg).total;
}

void bk_tensor_init(bk_real *w, size_t rows, size_t cols, enum init how, struct bk_rng *rng)
{
    /* Glorot and Bengio 2010, equation 16 */
    double limit = how == INIT_GLOROT ? sqrt(6.0 / (double)(rows + cols)) : 0.1;
    for (size_t i = 0; i < rows * cols; i++)
        w[i] = how == INIT_GLOROT || how == INIT_TENTH ? (bk_real)((2 * bk_rng_unit(rng) - 1) * limit)
                                                       : (bk_real)(how == INIT_ONE);
}

void bk_net_init(bk_real *params, const struct bk_net_config *c, struct bk_rng *rng)
{
    const struct layout l = bk_net_layout(c);
    size_t s = c->u / 2;
#define TENSOR_INIT(field, name, rows, cols, init, present)                                                            \
    if (present)                                                                                                       \
        bk_tensor_init(params + l.field, rows, cols, init, rng);
    NET_TENSORS(TENSOR_INIT)
#undef TENSOR_INIT
}
