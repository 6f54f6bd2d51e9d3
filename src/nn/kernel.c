/* The loops that the compiler vectorises. This file is compiled once for each instruction set with
 * BK_KERNELS naming the table it defines; nothing here may branch on the data. */
#include "nn/nn_int.h"

#include <math.h>
#include <string.h>

/* Partial sums of a reduction: wide enough for two of the widest registers, and the same in every table, so that
 * processors differ by rounding alone. */
enum { LANES = 32 };

#ifdef BK_REAL_DOUBLE

static inline bk_real exp1(bk_real x)
{
    return exp(x);
}
static inline bk_real tanh1(bk_real x)
{
    return tanh(x);
}

#else

/* x = k ln 2 + r with |r| <= ln 2 / 2. Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
 * Returns 2^k. Taylor's series to r^7 leaves 6e-9 of e^r. */
static inline float split_exp(float x, float *expm1_r)
{
    const float magic = 12582912.0f;
    float t = x * 1.44269504f + magic;
    float k = t - magic;
    float r = x - k * 0.693359375f; /* ln 2 in two pieces, the first exact in few bits */
    r = r + k * 2.12194440e-4f;
    float q = 1.0f / 5040;
    q = q * r + 1.0f / 720;
    q = q * r + 1.0f / 120;
    q = q * r + 1.0f / 24;
    q = q * r + 1.0f / 6;
    q = q * r + 0.5f;
    *expm1_r = q * (r * r) + r;
    uint32_t bits;
    memcpy(&bits, &t, sizeof bits);
    bits = (bits + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return scale;
}

static inline float exp1(float x)
{
    float p;
    x = x < -87.3f ? -87.3f : x;
    x = x > 88.3f ? 88.3f : x;
    float scale = split_exp(x, &p);
    return scale * p + scale;
}

/* tanh |x| = expm1(2|x|) / (expm1(2|x|) + 2): small arguments keep their relative accuracy. */
static inline float tanh1(float x)
{
    float p;
    float y = fabsf(x) * 2;
    y = y > 20.0f ? 20.0f : y; /* tanh is 1 in float from 9.01 on */
    float scale = split_exp(y, &p);
    float m = scale * p + (scale - 1);
    return copysignf(m / (m + 2), x);
}

#endif

static inline bk_real sigmoid1(bk_real x)
{
    return 1 / (1 + exp1(-x));
}

/* y = f(x) by whole vectors, then what is left: padded rows all go one way, whatever their number, and have the same bits. */
#define EACH(y, x, n, f)                                                                                               \
    size_t at = 0;                                                                                                     \
    for (; at + BK_PAD <= n; at += BK_PAD)                                                                             \
        for (size_t l = 0; l < BK_PAD; l++)                                                                            \
            y[at + l] = f(x[at + l]);                                                                                  \
    for (; at < n; at++)                                                                                               \
        y[at] = f(x[at]);

static void k_exp(bk_real *y, const bk_real *x, size_t n)
{
    EACH(y, x, n, exp1)
}

static void k_tanh(bk_real *y, const bk_real *x, size_t n)
{
    EACH(y, x, n, tanh1)
}

static void k_sigmoid(bk_real *y, const bk_real *x, size_t n)
{
    EACH(y, x, n, sigmoid1)
}

static inline bk_real lanes_sum(bk_real lane[LANES])
{
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

static bk_real k_dot(const bk_real *a, const bk_real *b, size_t n)
{
    bk_real lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            lane[l] += a[i + l] * b[i + l];
    for (size_t l = 0; i + l < n; l++)
        lane[l] += a[i + l] * b[i + l];
    return lanes_sum(lane);
}

static void k_axpy(bk_real *restrict y, bk_real c, const bk_real *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += c * x[i];
}

static void k_add(bk_real *restrict y, const bk_real *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

static void k_sub(bk_real *restrict y, const bk_real *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] -= x[i];
}

static void k_mul(bk_real *restrict y, const bk_real *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] *= x[i];
}

static void k_max(bk_real *restrict y, const bk_real *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = y[i] > x[i] ? y[i] : x[i];
}

static void k_inverse(bk_real *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = 1 / y[i];
}

static void k_gru_unload(bk_real *restrict dxw, size_t lddxw, const bk_real *restrict gate,
                         const bk_real *restrict cand, const uint32_t *restrict word, size_t rows, size_t w)
{
    for (size_t i = 0; i < rows; i++) {
        k_add(dxw + word[i] * lddxw, gate + i * 2 * w, 2 * w);
        k_add(dxw + word[i] * lddxw + 2 * w, cand + i * w, w);
    }
}

/* What is said of a word: in full or brief. */
static inline __attribute__((always_inline)) bk_real column(struct bk_columns xw, const bool brief, size_t at)
{
    if (!brief)
        return xw.full[at];
    uint32_t bits = (uint32_t)xw.brief[at] << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return (bk_real)x;
}

/* The columns of a word that comes soon: rows of a large table in no order, which no processor foresees. */
enum { SOON = 4 };
static inline __attribute__((always_inline)) void prefetch(struct bk_columns xw, const bool brief, size_t at, size_t n)
{
    for (size_t j = 0; j < n; j += 64 / (brief ? sizeof *xw.brief : sizeof *xw.full))
        if (brief)
            __builtin_prefetch(xw.brief + at + j);
        else
            __builtin_prefetch(xw.full + at + j);
}

static void k_gru_gates(bk_real *restrict gate, bk_real *restrict rh, struct bk_columns xw,
                        const uint32_t *restrict word, const bk_real *restrict prev, size_t ldprev, size_t before,
                        size_t rows, size_t w)
{
    for (size_t i = 0; i < rows; i++) {
        const bk_real *restrict x = xw.full + word[i] * xw.ld, *restrict p = prev + i * ldprev;
        bk_real *restrict g = gate + i * 2 * w, *restrict r = rh + i * w;
        if (i + SOON < rows) /* of the candidate too */
            prefetch(xw, false, word[i + SOON] * xw.ld, 3 * w);
        if (i < before) {
            for (size_t j = 0; j < 2 * w; j++)
                g[j] = sigmoid1(g[j] + x[j]);
            for (size_t j = 0; j < w; j++)
                r[j] = g[j] * p[j];
        } else {
            for (size_t j = 0; j < 2 * w; j++)
                g[j] = sigmoid1(x[j]);
            memset(r, 0, w * sizeof *r);
        }
    }
}

static void k_gru_state(bk_real *restrict h, size_t ldh, bk_real *restrict cand, const bk_real *restrict gate,
                        struct bk_columns xw, const uint32_t *restrict word, const bk_real *restrict prev,
                        size_t ldprev, size_t before, size_t rows, size_t w)
{
    for (size_t i = 0; i < rows; i++) {
        const bk_real *restrict x = xw.full + word[i] * xw.ld;
        const bk_real *restrict p = prev + i * ldprev, *restrict z = gate + i * 2 * w + w;
        bk_real *restrict c = cand + i * w, *restrict out = h + i * ldh;
        if (i < before)
            for (size_t j = 0; j < w; j++) {
                c[j] = tanh1(c[j] + x[j]);
                out[j] = z[j] * p[j] + (1 - z[j]) * c[j];
            }
        else
            for (size_t j = 0; j < w; j++) {
                c[j] = tanh1(x[j]);
                out[j] = (1 - z[j]) * c[j];
            }
    }
}

/* g = dh + carry: the whole gradient of h'. Leaves what flows to the state before through z in carry. */
static void k_gru_state_back(bk_real *restrict carry, bk_real *restrict gate, bk_real *restrict cand,
                             const bk_real *restrict dh, size_t lddh, const bk_real *restrict prev, size_t rows,
                             size_t w)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < w; j++) {
            bk_real g = dh[i * lddh + j] + carry[i * w + j];
            bk_real z = gate[i * 2 * w + w + j], c = cand[i * w + j];
            cand[i * w + j] = g * (1 - z) * (1 - c * c);
            gate[i * 2 * w + w + j] = g * (prev[i * w + j] - c) * z * (1 - z);
            carry[i * w + j] = g * z;
        }
}

static void k_gru_gates_back(bk_real *restrict carry, bk_real *restrict gate, const bk_real *restrict drh,
                             const bk_real *restrict prev, size_t rows, size_t w)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < w; j++) {
            bk_real rg = gate[i * 2 * w + j], d = drh[i * w + j];
            carry[i * w + j] += d * rg;
            gate[i * 2 * w + j] = d * prev[i * w + j] * rg * (1 - rg);
        }
}

static void k_sparse(bk_real *restrict y, size_t ldy, const struct bk_sparse *s, const bk_real *restrict x, size_t ldx,
                     size_t n)
{
    for (size_t i = 0; i < s->rows; i++)
        for (size_t e = s->begin[i]; e < s->begin[i + 1]; e++)
            if (s->weight)
                k_axpy(y + i * ldy, s->weight[e], x + s->id[e] * ldx, n);
            else
                k_add(y + i * ldy, x + s->id[e] * ldx, n);
}

static void k_sparse_back(bk_real *restrict dx, size_t ldx, const struct bk_sparse *s, const bk_real *restrict dy,
                          size_t ldy, size_t n)
{
    for (size_t i = 0; i < s->rows; i++)
        for (size_t e = s->begin[i]; e < s->begin[i + 1]; e++)
            if (s->weight)
                k_axpy(dx + s->id[e] * ldx, s->weight[e], dy + i * ldy, n);
            else
                k_add(dx + s->id[e] * ldx, dy + i * ldy, n);
}

static void k_tanh_back(bk_real *restrict dz, const bk_real *restrict z, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dz[i] *= 1 - z[i] * z[i];
}

static void k_bias(bk_real *restrict y, size_t ldy, const bk_real *restrict bias, size_t rows, size_t n, bool relu)
{
    for (size_t i = 0; i < rows; i++) {
        bk_real *restrict v = y + i * ldy;
        if (relu)
            for (size_t j = 0; j < n; j++) {
                bk_real x = v[j] + bias[j];
                v[j] = x > 0 ? x : 0;
            }
        else
            for (size_t j = 0; j < n; j++)
                v[j] += bias[j];
    }
}

static void k_relu_back(bk_real *restrict dy, const bk_real *restrict y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dy[i] = y[i] > 0 ? dy[i] : 0;
}

static inline __attribute__((always_inline)) void sff_max(const bool brief, bk_real *restrict best,
                                                          uint32_t *restrict arg, const bk_real *restrict s,
                                                          struct bk_columns xw, const uint32_t *restrict word,
                                                          uint32_t first, size_t rows, size_t n)
{
    for (size_t i = 0; i < rows; i++) {
        size_t x = word[i] * xw.ld;
        const bk_real *restrict y = s + i * n;
        bk_real *restrict top = best + i * n;
        if (i + SOON < rows)
            prefetch(xw, brief, word[i + SOON] * xw.ld, n);
        if (arg)
            for (size_t j = 0; j < n; j++)
                arg[i * n + j] = y[j] + column(xw, brief, x + j) > top[j] ? first + (uint32_t)i : arg[i * n + j];
        for (size_t j = 0; j < n; j++) {
            bk_real v = y[j] + column(xw, brief, x + j);
            top[j] = v > top[j] ? v : top[j];
        }
    }
}

static void k_sff_max(bk_real *restrict best, uint32_t *restrict arg, const bk_real *restrict s, struct bk_columns xw,
                      const uint32_t *restrict word, uint32_t first, size_t rows, size_t n)
{
    if (xw.full)
        sff_max(false, best, arg, s, xw, word, first, rows, n);
    else
        sff_max(true, best, NULL, s, xw, word, first, rows, n);
}

/* e_j = exp(c x_j) up to a factor that keeps the largest at 1; returns 1 / sum e, and m = softmax mean of x. */
static inline bk_real soft_weights(bk_real *restrict e, const bk_real *restrict x, size_t n, bk_real c, bk_real top,
                                   bk_real *m, bk_real *m2)
{
    for (size_t j = 0; j < n; j++)
        e[j] = exp1(c * (x[j] - top));
    bk_real s0[LANES] = {0}, s1[LANES] = {0}, s2[LANES] = {0};
    size_t j = 0;
    for (; j + LANES <= n; j += LANES)
        for (size_t l = 0; l < LANES; l++) {
            bk_real ex = e[j + l] * x[j + l];
            s0[l] += e[j + l];
            s1[l] += ex;
            s2[l] += ex * x[j + l];
        }
    for (size_t l = 0; j + l < n; l++) {
        bk_real ex = e[j + l] * x[j + l];
        s0[l] += e[j + l];
        s1[l] += ex;
        s2[l] += ex * x[j + l];
    }
    bk_real inv = 1 / lanes_sum(s0);
    *m = lanes_sum(s1) * inv;
    *m2 = lanes_sum(s2) * inv;
    return inv;
}

static inline void ends(const bk_real *x, size_t n, bk_real *low, bk_real *high)
{
    *low = *high = x[0];
    for (size_t j = 1; j < n; j++) {
        *low = x[j] < *low ? x[j] : *low;
        *high = x[j] > *high ? x[j] : *high;
    }
}

static void k_mix(bk_real *restrict out, const bk_real *restrict x, const bk_real *restrict y, size_t n, bk_real scale,
                  bk_real *restrict e)
{
    bk_real low, high, m2;
    ends(x, n, &low, &high);
    for (size_t i = 0; i < n; i++) {
        bk_real c = scale * y[i];
        soft_weights(e, x, n, c, c > 0 ? high : low, &out[i], &m2);
    }
}

/* With m = sum w x: d out_i / d y_i = scale (sum w x^2 - m^2), d out_i / d x_j = w_j (1 + scale y_i (x_j - m)). */
static void k_mix_back(bk_real *restrict dx, bk_real *restrict dy, const bk_real *restrict dout,
                       const bk_real *restrict x, const bk_real *restrict y, size_t n, bk_real scale,
                       bk_real *restrict e)
{
    bk_real low, high, m, m2;
    ends(x, n, &low, &high);
    for (size_t i = 0; i < n; i++) {
        bk_real c = scale * y[i];
        bk_real inv = soft_weights(e, x, n, c, c > 0 ? high : low, &m, &m2);
        dy[i] += scale * dout[i] * (m2 - m * m);
        bk_real g = dout[i] * inv;
        for (size_t j = 0; j < n; j++)
            dx[j] += g * e[j] * (1 + c * (x[j] - m));
    }
}

static void k_adam(bk_real *restrict params, bk_real *restrict m, bk_real *restrict v, bk_real *const *grads,
                   size_t n_grads, size_t first, size_t n, const bk_real rate[2])
{
    enum { PART = 1024 };
    const bk_real b1 = (bk_real)0.9, b2 = (bk_real)0.999, eps = (bk_real)1e-8;
    const bk_real rate1 = rate[0], root2 = rate[1];
    bk_real g[PART];
    for (size_t at = first, end = first + n; at < end; at += PART) {
        size_t k = end - at < PART ? end - at : PART;
        memset(g, 0, k * sizeof *g);
        for (size_t s = 0; s < n_grads; s++) {
            k_add(g, grads[s] + at, k);
            memset(grads[s] + at, 0, k * sizeof *g);
        }
        bk_real *restrict p = params + at, *restrict mm = m + at, *restrict vv = v + at;
        for (size_t i = 0; i < k; i++) {
            mm[i] = b1 * mm[i] + (1 - b1) * g[i];
            vv[i] = b2 * vv[i] + (1 - b2) * (g[i] * g[i]);
#ifdef BK_REAL_DOUBLE
            p[i] -= rate1 * mm[i] / (sqrt(vv[i]) * root2 + eps);
#else
            p[i] -= rate1 * mm[i] / (sqrtf(vv[i]) * root2 + eps);
#endif
        }
    }
}

const struct bk_kernels BK_KERNELS = {
    .products = &BK_PRODUCTS,
    .exp = k_exp,
    .tanh = k_tanh,
    .sigmoid = k_sigmoid,
    .dot = k_dot,
    .axpy = k_axpy,
    .add = k_add,
    .sub = k_sub,
    .mul = k_mul,
    .max = k_max,
    .inverse = k_inverse,
    .gru_unload = k_gru_unload,
    .gru_gates = k_gru_gates,
    .gru_state = k_gru_state,
    .gru_state_back = k_gru_state_back,
    .gru_gates_back = k_gru_gates_back,
    .sparse = k_sparse,
    .sparse_back = k_sparse_back,
    .tanh_back = k_tanh_back,
    .bias = k_bias,
    .relu_back = k_relu_back,
    .sff_max = k_sff_max,
    .mix = k_mix,
    .mix_back = k_mix_back,
    .adam = k_adam,
};
