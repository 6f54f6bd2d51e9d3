/* One step of i2v for one instruction set: i2v.c includes this once for each, after #define STEP name, STEP_TARGET attribute,
 * WIDTH floats of a register (a divisor of LANES), PAIRED contexts whose products are summed side by side.
 *
 * Memory is read once for a group: the rows stay in registers and the first-level cache while all contexts meet all targets. Results
 * are the same for every set: a product has LANES partial sums, added by halves; all else is element by element. */

#define VEC         JOIN(STEP, _vec)
#define JOIN(a, b)  JOIN_(a, b)
#define JOIN_(a, b) a##b

typedef float VEC __attribute__((vector_size(WIDTH * sizeof(float))));

STEP_TARGET static void STEP(struct group *g, size_t stride, float rate, const float *sigmoid)
{
    _Alignas(64) float part[CONTEXTS * TARGETS * LANES], step[CONTEXTS * TARGETS];
    size_t n = g->n_in, all = (n + 1) / 2 * 2;
    if (n < all)
        g->in[n] = g->in[0]; /* counted for nothing */
    for (size_t c = 0; c < all; c += PAIRED) {
        VEC sum[PAIRED][TARGETS][LANES / WIDTH] = {0};
        for (size_t i = 0; i < stride; i += LANES)
            for (size_t p = 0; p < LANES / WIDTH; p++)
                for (size_t b = 0; b < PAIRED; b++) {
                    VEC h = *(const VEC *)(g->in[c + b] + i + p * WIDTH);
                    for (size_t k = 0; k < TARGETS; k++)
                        sum[b][k][p] += h * *(const VEC *)(g->out[k] + i + p * WIDTH);
                }
        for (size_t b = 0; b < PAIRED; b++)
            for (size_t k = 0; k < TARGETS; k++)
                for (size_t p = 0; p < LANES / WIDTH; p++)
                    *(VEC *)(part + ((c + b) * TARGETS + k) * LANES + p * WIDTH) = sum[b][k][p];
    }
    find_steps(step, part, all, g, rate, sigmoid);
    for (size_t i = 0; i < stride; i += WIDTH) {
        VEC old[TARGETS], new[TARGETS];
        for (size_t k = 0; k < TARGETS; k++)
            old[k] = new[k] = *(const VEC *)(g->out[k] + i);
        for (size_t c = 0; c < n; c++) {
            VEC h = *(const VEC *)(g->in[c] + i), move = step[c * TARGETS] * old[0];
            new[0] += step[c * TARGETS] * h;
            for (size_t k = 1; k < TARGETS; k++) {
                move += step[c * TARGETS + k] * old[k];
                new[k] += step[c * TARGETS + k] * h;
            }
            *(VEC *)(g->in[c] + i) = h + move;
        }
        for (size_t k = 0; k < TARGETS; k++)
            *(VEC *)(g->out[k] + i) = new[k];
    }
}

#undef VEC
#undef JOIN
#undef JOIN_
#undef STEP
#undef STEP_TARGET
#undef WIDTH
#undef PAIRED
