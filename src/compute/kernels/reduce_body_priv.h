/* Of widths_priv.h. A row is at most a few thousand elements: its sum may be in T. */

/* Elements of `x` where `mask` is set, else of `y`. */
#undef CHOOSE
#undef LESS
#undef MORE
#undef BEFORE
#undef BEHIND
#define CHOOSE(mask, x, y) ((vec)(((mask) & (ivec)(x)) | (~(mask) & (ivec)(y))))
/* Not a number is taken wherever it turns up, and kept. */
#if FLOATING
#define LESS(x, y)   (((x) < (y)) | ((x) != (x)))
#define MORE(x, y)   (((x) > (y)) | ((x) != (x)))
#define BEFORE(x, y) ((x) < (y) || (x) != (x))
#define BEHIND(x, y) ((x) > (y) || (x) != (x))
#else
#define LESS(x, y)   ((ivec)(x) < (ivec)(y))
#define MORE(x, y)   ((ivec)(x) > (ivec)(y))
#define BEFORE(x, y) ((x) < (y))
#define BEHIND(x, y) ((x) > (y))
#endif

TARGET static T
NAME(sum_row)(const T *x, uint64_t count)
{
    vec sums[4] = {{0}, {0}, {0}, {0}}, all;
    uint64_t i = 0;
    T sum = 0;

    for (; i + 4 * LANES <= count; i += 4 * LANES) {
        const vec *from = (const vec *)(const void *)(x + i);

        sums[0] += from[0];
        sums[1] += from[1];
        sums[2] += from[2];
        sums[3] += from[3];
    }
    all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    for (; i < count; i++)
        sum += x[i];
    for (unsigned k = 0; k < LANES; k++)
        sum += all[k];
    return sum;
}

TARGET static T
NAME(least_row)(const T *x, uint64_t count)
{
    SIGNED least = (SIGNED)x[0];
    uint64_t i = 0;

    if (count >= 2 * LANES) {
        const vec *from = (const vec *)(const void *)x;
        vec first = from[0], second = from[1];

        for (i = 2 * LANES; i + 2 * LANES <= count; i += 2 * LANES) {
            from += 2;
            first = CHOOSE(LESS(from[0], first), from[0], first);
            second = CHOOSE(LESS(from[1], second), from[1], second);
        }
        first = CHOOSE(LESS(second, first), second, first);
        for (unsigned k = 0; k < LANES; k++)
            least = BEFORE((SIGNED)first[k], least) ? (SIGNED)first[k] : least;
    }
    for (; i < count; i++)
        least = BEFORE((SIGNED)x[i], least) ? (SIGNED)x[i] : least;
    return (T)least;
}

TARGET static T
NAME(most_row)(const T *x, uint64_t count)
{
    SIGNED most = (SIGNED)x[0];
    uint64_t i = 0;

    if (count >= 2 * LANES) {
        const vec *from = (const vec *)(const void *)x;
        vec first = from[0], second = from[1];

        for (i = 2 * LANES; i + 2 * LANES <= count; i += 2 * LANES) {
            from += 2;
            first = CHOOSE(MORE(from[0], first), from[0], first);
            second = CHOOSE(MORE(from[1], second), from[1], second);
        }
        first = CHOOSE(MORE(second, first), second, first);
        for (unsigned k = 0; k < LANES; k++)
            most = BEHIND((SIGNED)first[k], most) ? (SIGNED)first[k] : most;
    }
    for (; i < count; i++)
        most = BEHIND((SIGNED)x[i], most) ? (SIGNED)x[i] : most;
    return (T)most;
}
