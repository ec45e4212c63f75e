/* Of widths_priv.h: the inner loops of a stage. Everything is pairs of T; `w` are four complex
 * factors, the first of them real, scaled. */

#undef SWAP_float_16
#undef SWAP_float_32
#undef SWAP_float_64
#undef SWAP_double_16
#undef SWAP_double_32
#undef SWAP_double_64
#define SWAP_float_16  1, 0, 3, 2
#define SWAP_float_32  1, 0, 3, 2, 5, 4, 7, 6
#define SWAP_float_64  1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14
#define SWAP_double_16 1, 0
#define SWAP_double_32 1, 0, 3, 2
#define SWAP_double_64 1, 0, 3, 2, 5, 4, 7, 6
#undef SWAPPED
#undef AT
/* Real and imaginary parts in each other's place. */
#define SWAPPED(v) __builtin_shufflevector((v), (v), NAME(SWAP))
#define AT(p, i)   (*(vec *)(void *)((p) + (i)))
#undef FROM
#define FROM(p, i) (*(const vec *)(const void *)((p) + (i)))

TARGET static void
NAME(fft_run4)(const T *x, T *y, uint64_t step, uint64_t out, T sign, const T w[8], uint64_t count)
{
    uint64_t i = 0;
    vec turn; /* times what SWAPPED gives: times i */

    for (unsigned k = 0; k < LANES; k += 2) {
        turn[k] = -1;
        turn[k + 1] = 1;
    }
    for (; i + LANES <= 2 * count; i += LANES) {
        vec a = FROM(x, i), b = FROM(x, i + step), c = FROM(x, i + 2 * step);
        vec d = FROM(x, i + 3 * step);
        vec p = a + c, m = a - c, s = b + d, j = b - d, u, v, z;

        j = SWAPPED(j) * (turn * sign);
        u = m + j;
        v = p - s;
        z = m - j;
        AT(y, i) = (p + s) * w[0];
        AT(y, i + out) = u * w[2] + SWAPPED(u) * (turn * w[3]);
        AT(y, i + 2 * out) = v * w[4] + SWAPPED(v) * (turn * w[5]);
        AT(y, i + 3 * out) = z * w[6] + SWAPPED(z) * (turn * w[7]);
    }
    for (; i < 2 * count; i += 2) {
        T pr = x[i] + x[i + 2 * step], pi = x[i + 1] + x[i + 2 * step + 1];
        T mr = x[i] - x[i + 2 * step], mi = x[i + 1] - x[i + 2 * step + 1];
        T sr = x[i + step] + x[i + 3 * step], si = x[i + step + 1] + x[i + 3 * step + 1];
        T jr = sign * (x[i + 3 * step + 1] - x[i + step + 1]);
        T ji = sign * (x[i + step] - x[i + 3 * step]);
        T ur = mr + jr, ui = mi + ji, vr = pr - sr, vi = pi - si, zr = mr - jr, zi = mi - ji;

        y[i] = (pr + sr) * w[0];
        y[i + 1] = (pi + si) * w[0];
        y[i + out] = w[2] * ur - w[3] * ui;
        y[i + out + 1] = w[2] * ui + w[3] * ur;
        y[i + 2 * out] = w[4] * vr - w[5] * vi;
        y[i + 2 * out + 1] = w[4] * vi + w[5] * vr;
        y[i + 3 * out] = w[6] * zr - w[7] * zi;
        y[i + 3 * out + 1] = w[6] * zi + w[7] * zr;
    }
}

TARGET static void
NAME(fft_run2)(const T *x, T *y, uint64_t step, uint64_t out, T scale, uint64_t count)
{
    uint64_t i = 0;

    for (; i + LANES <= 2 * count; i += LANES) {
        vec a = FROM(x, i), b = FROM(x, i + step);

        AT(y, i) = (a + b) * scale;
        AT(y, i + out) = (a - b) * scale;
    }
    for (; i < 2 * count; i++) {
        T a = x[i], b = x[i + step];

        y[i] = (a + b) * scale;
        y[i + out] = (a - b) * scale;
    }
}
