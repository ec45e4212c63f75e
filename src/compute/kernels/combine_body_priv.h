/* Of widths_priv.h. */

/* Elements of `x` where `mask` is set, else of `y`. Not a number is taken wherever it turns up. */
#undef CHOOSE
#undef LESS
#undef MORE
#define CHOOSE(mask, x, y) ((vec)(((mask) & (ivec)(x)) | (~(mask) & (ivec)(y))))
#if FLOATING
#define LESS(x, y) (((x) < (y)) | ((x) != (x)))
#define MORE(x, y) (((x) > (y)) | ((x) != (x)))
#else
#define LESS(x, y) ((ivec)(x) < (ivec)(y))
#define MORE(x, y) ((ivec)(x) > (ivec)(y))
#endif

/* y = y and x, by `what`. Returns how many are done: what fills no vector is left. */
TARGET static uint64_t
NAME(combine_row)(unsigned what, const T *x, T *y, uint64_t count)
{
    uint64_t i = 0;

    for (; i + LANES <= count; i += LANES) {
        const vec from = *(const vec *)(const void *)(x + i);
        vec *to = (vec *)(void *)(y + i);

        if (what == SYN_WHAT_SUM)
            *to += from;
        else if (what == SYN_WHAT_PRODUCT)
            *to *= from;
        else if (what == SYN_WHAT_LEAST)
            *to = CHOOSE(LESS(from, *to), from, *to);
        else
            *to = CHOOSE(MORE(from, *to), from, *to);
    }
    return i;
}
