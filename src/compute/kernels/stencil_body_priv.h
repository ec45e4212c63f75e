/* Of widths_priv.h. `around` are the rows above and below, and before and behind if there are four;
 * all rows have the neighbours of their first and last element beside them. */

TARGET static void
NAME(stencil_row)(T *to, const T *from, const T *const around[4], unsigned count_around,
                  const T factors[2], uint64_t count)
{
    T keep = factors[0], side = factors[1];
    uint64_t i = 0;

    for (; i + LANES <= count; i += LANES) {
        vec sum =
            *(const vec *)(const void *)(from + i - 1) + *(const vec *)(const void *)(from + i + 1);

        for (unsigned k = 0; k < count_around; k += 2)
            sum += *(const vec *)(const void *)(around[k] + i) +
                   *(const vec *)(const void *)(around[k + 1] + i);
        *(vec *)(void *)(to + i) = keep * *(const vec *)(const void *)(from + i) + side * sum;
    }
    for (; i < count; i++) {
        T sum = from[i - 1] + from[i + 1];

        for (unsigned k = 0; k < count_around; k += 2)
            sum += around[k][i] + around[k + 1][i];
        to[i] = keep * from[i] + side * sum;
    }
}
