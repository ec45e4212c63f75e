/* One stage of Stockham's algorithm, which sorts as it goes: `length` is what is left to transform,
 * `stride` how many such transforms lie interleaved. Complex numbers are pairs. */

#if defined(VULKAN) || defined(ALONE)
/* GLSL's own are coarse in fp32 and missing in fp64; C has none without its library. Angles here are
 * at most a quarter of a turn. */
#ifdef VULKAN
#define TURN 6.28318530717958647692lf
#else
#define TURN 6.28318530717958647692
#endif
#define TERM(n, rest) (1 - square * (AS(ELEM, 1) / AS(ELEM, (n) * ((n)-1))) * (rest))

DEVICE ELEM
COS(ELEM x)
{
    ELEM square = x * x, rest = TERM(14, TERM(16, TERM(18, TERM(20, TERM(22, 1)))));

    return TERM(2, TERM(4, TERM(6, TERM(8, TERM(10, TERM(12, rest))))));
}

DEVICE ELEM
SIN(ELEM x)
{
    ELEM square = x * x, rest = TERM(15, TERM(17, TERM(19, TERM(21, TERM(23, 1)))));

    return x * TERM(3, TERM(5, TERM(7, TERM(9, TERM(11, TERM(13, rest))))));
}
#else
#define TURN   6.28318530717958647692
#define COS(x) cos(x)
#define SIN(x) sin(x)
#endif

KERNEL
fft_stage(READS from, u64 from_at, WRITES to, u64 to_at, u64 from_row,
          u64 to_row, u64 rows, u64 count, u64 length, ELEM sign, ELEM scale)
{
    u64 radix = length == 2 ? 2 : 4, part = length / radix, stride = count / length;

    for (u64 row = GROUP(1); row < rows; row += GROUPS(1)) {
        READS x = from + 2 * (from_at + row * from_row);
        WRITES y = to + 2 * (to_at + row * to_row);

        for (EACH(t, count / radix)) {
            u64 p = t / stride, q = t % stride, at = 2 * (q + stride * p);
            u64 to_y = 2 * (q + stride * radix * p), gap = 2 * stride * part;
            ELEM ar = AT(x, at), ai = AT(x, at + 1), br = AT(x, at + gap), bi = AT(x, at + gap + 1);

            if (radix == 2) {
                AT(y, to_y) = (ar + br) * scale;
                AT(y, to_y + 1) = (ai + bi) * scale;
                AT(y, to_y + 2 * stride) = (ar - br) * scale;
                AT(y, to_y + 2 * stride + 1) = (ai - bi) * scale;
            } else {
                ELEM angle = sign * AS(ELEM, TURN) * AS(ELEM, p) / AS(ELEM, length);
                ELEM w1r = COS(angle), w1i = SIN(angle);
                ELEM w2r = w1r * w1r - w1i * w1i, w2i = 2 * w1r * w1i;
                ELEM w3r = w1r * w2r - w1i * w2i, w3i = w1r * w2i + w1i * w2r;
                ELEM cr = AT(x, at + 2 * gap), ci = AT(x, at + 2 * gap + 1);
                ELEM dr = AT(x, at + 3 * gap), di = AT(x, at + 3 * gap + 1);
                ELEM pr = ar + cr, pi = ai + ci, mr = ar - cr, mi = ai - ci;
                ELEM sr = br + dr, si = bi + di;
                ELEM jr = -sign * (bi - di), ji = sign * (br - dr); /* sign i (b - d) */
                ELEM ur = mr + jr, ui = mi + ji, vr = pr - sr, vi = pi - si;
                ELEM zr = mr - jr, zi = mi - ji;

                AT(y, to_y) = (pr + sr) * scale;
                AT(y, to_y + 1) = (pi + si) * scale;
                to_y += 2 * stride;
                AT(y, to_y) = (w1r * ur - w1i * ui) * scale;
                AT(y, to_y + 1) = (w1r * ui + w1i * ur) * scale;
                to_y += 2 * stride;
                AT(y, to_y) = (w2r * vr - w2i * vi) * scale;
                AT(y, to_y + 1) = (w2r * vi + w2i * vr) * scale;
                to_y += 2 * stride;
                AT(y, to_y) = (w3r * zr - w3i * zi) * scale;
                AT(y, to_y + 1) = (w3r * zi + w3i * zr) * scale;
            }
        }
    }
}

/* A transform of one element: itself. */
KERNEL
fft_copy(READS from, u64 from_at, WRITES to, u64 to_at, u64 from_row, u64 to_row,
         u64 rows)
{
    for (EACH(row, rows)) {
        AT(to, 2 * (to_at + row * to_row)) = AT(from, 2 * (from_at + row * from_row));
        AT(to, 2 * (to_at + row * to_row) + 1) = AT(from, 2 * (from_at + row * from_row) + 1);
    }
}
