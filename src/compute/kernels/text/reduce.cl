/* Each group leaves one element in `y`; a second launch of one group is the rest. */

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

SHARED(mine, 256)

KERNEL
reduce(READS x, u64 x_at, WRITES y, u64 y_at, quad sizes, quad strides, u64 count, u32 what)
{
    USES(mine);
    u32 item = ITEM(0);
    u64 first = GROUP(0) * ITEMS(0) + item;
    ELEM value = what == SUM ? 0 : AT(x, x_at);

    if (first < count)
        value = AT(x, x_at + place(first, sizes, strides));
    for (u64 i = first + GROUPS(0) * ITEMS(0); i < count; i += GROUPS(0) * ITEMS(0))
        value = both(value, AT(x, x_at + place(i, sizes, strides)), what);
    mine[item] = value;
    BARRIER();
    for (u32 reach = ITEMS(0) / 2; reach > 0; reach /= 2) {
        if (item < reach)
            mine[item] = both(mine[item], mine[item + reach], what);
        BARRIER();
    }
    if (item == 0)
        AT(y, y_at + GROUP(0)) = mine[0];
}
