/* Of widths_priv.h. A row is at most a few thousand elements: its sum may be in T. */

TARGET static T
NAME(dot_row)(const T *x, const T *y, uint64_t count)
{
    vec sums[2] = {{0}, {0}}, all;
    uint64_t i = 0;
    T sum = 0;

    for (; i + 2 * LANES <= count; i += 2 * LANES) {
        const vec *a = (const vec *)(const void *)(x + i), *b = (const vec *)(const void *)(y + i);

        sums[0] += a[0] * b[0];
        sums[1] += a[1] * b[1];
    }
    all = sums[0] + sums[1];
    for (; i < count; i++)
        sum += x[i] * y[i];
    for (unsigned k = 0; k < LANES; k++)
        sum += all[k];
    return sum;
}
