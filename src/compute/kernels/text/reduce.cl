/* Each group leaves one element in `out`; a second launch of one group is the rest. */

#define SUM   0
#define LEAST 1

/* Not a number is the result wherever it turns up. */
DEVICE ELEM
both(ELEM a, ELEM b, u32 what)
{
    if (what == SUM)
        return a + b;
    if (what == LEAST)
        return b < a || ODD(b) ? b : a;
    return b > a || ODD(b) ? b : a;
}

KERNEL
reduce(GLOBAL const ELEM *x, u64 x_at, GLOBAL ELEM *out, u64 out_at, quad sizes, quad strides,
       u64 count, u32 what)
{
    SHARED(ELEM, mine, 256);
    u32 item = ITEM(0);
    u64 first = GROUP(0) * ITEMS(0) + item;
    ELEM value = what == SUM ? 0 : x[x_at];

    if (first < count)
        value = x[x_at + place(first, sizes, strides)];
    for (u64 i = first + GROUPS(0) * ITEMS(0); i < count; i += GROUPS(0) * ITEMS(0))
        value = both(value, x[x_at + place(i, sizes, strides)], what);
    mine[item] = value;
    BARRIER();
    for (u32 reach = ITEMS(0) / 2; reach > 0; reach /= 2) {
        if (item < reach)
            mine[item] = both(mine[item], mine[item + reach], what);
        BARRIER();
    }
    if (item == 0)
        out[out_at + GROUP(0)] = mine[0];
}
