/* Of widths_priv.h. */

TARGET static void
NAME(axpy_row)(T a, const T *x, T *y, uint64_t count)
{
    uint64_t i = 0;

    for (; i + 2 * LANES <= count; i += 2 * LANES) {
        const vec *from = (const vec *)(const void *)(x + i);
        vec *to = (vec *)(void *)(y + i);
        vec first = to[0] + a * from[0], second = to[1] + a * from[1];

        to[0] = first;
        to[1] = second;
    }
    for (; i < count; i++)
        y[i] += a * x[i];
}
