/* One stage of Stockham's algorithm, which sorts as it goes: `length` is what is left to transform,
 * `stride` how many such transforms lie interleaved. Complex numbers are pairs. */

#define TURN 6.28318530717958647692

KERNEL
fft_stage(GLOBAL const REAL *from, u64 from_at, GLOBAL REAL *to, u64 to_at, u64 from_row,
          u64 to_row, u64 rows, u64 count, u64 length, REAL sign, REAL scale)
{
    u64 radix = length == 2 ? 2 : 4, part = length / radix, stride = count / length;

    for (u64 row = GROUP(1); row < rows; row += GROUPS(1)) {
        GLOBAL const REAL *x = from + 2 * (from_at + row * from_row);
        GLOBAL REAL *y = to + 2 * (to_at + row * to_row);

        for (EACH(t, count / radix)) {
            u64 p = t / stride, q = t % stride, in = 2 * (q + stride * p);
            u64 out = 2 * (q + stride * radix * p), step = 2 * stride * part;
            REAL ar = x[in], ai = x[in + 1], br = x[in + step], bi = x[in + step + 1];

            if (radix == 2) {
                y[out] = (ar + br) * scale;
                y[out + 1] = (ai + bi) * scale;
                y[out + 2 * stride] = (ar - br) * scale;
                y[out + 2 * stride + 1] = (ai - bi) * scale;
            } else {
                REAL angle = sign * (REAL)TURN * (REAL)p / (REAL)length;
                REAL w1r = cos(angle), w1i = sin(angle);
                REAL w2r = w1r * w1r - w1i * w1i, w2i = 2 * w1r * w1i;
                REAL w3r = w1r * w2r - w1i * w2i, w3i = w1r * w2i + w1i * w2r;
                REAL cr = x[in + 2 * step], ci = x[in + 2 * step + 1];
                REAL dr = x[in + 3 * step], di = x[in + 3 * step + 1];
                REAL pr = ar + cr, pi = ai + ci, mr = ar - cr, mi = ai - ci;
                REAL sr = br + dr, si = bi + di;
                REAL jr = -sign * (bi - di), ji = sign * (br - dr); /* sign i (b - d) */
                REAL ur = mr + jr, ui = mi + ji, vr = pr - sr, vi = pi - si;
                REAL zr = mr - jr, zi = mi - ji;

                y[out] = (pr + sr) * scale;
                y[out + 1] = (pi + si) * scale;
                out += 2 * stride;
                y[out] = (w1r * ur - w1i * ui) * scale;
                y[out + 1] = (w1r * ui + w1i * ur) * scale;
                out += 2 * stride;
                y[out] = (w2r * vr - w2i * vi) * scale;
                y[out + 1] = (w2r * vi + w2i * vr) * scale;
                out += 2 * stride;
                y[out] = (w3r * zr - w3i * zi) * scale;
                y[out + 1] = (w3r * zi + w3i * zr) * scale;
            }
        }
    }
}

/* A transform of one element: itself. */
KERNEL
fft_copy(GLOBAL const REAL *from, u64 from_at, GLOBAL REAL *to, u64 to_at, u64 from_row, u64 to_row,
         u64 rows)
{
    for (EACH(row, rows)) {
        to[2 * (to_at + row * to_row)] = from[2 * (from_at + row * from_row)];
        to[2 * (to_at + row * to_row) + 1] = from[2 * (from_at + row * from_row) + 1];
    }
}
