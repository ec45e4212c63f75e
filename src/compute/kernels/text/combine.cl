#define SUM     0
#define LEAST   1
#define PRODUCT 3

/* Not a number is the result wherever it turns up. */
DEVICE ELEM
both(ELEM a, ELEM b, u32 what)
{
    if (what == SUM)
        return a + b;
    if (what == PRODUCT)
        return a * b;
    if (what == LEAST)
        return b < a || ODD(b) ? b : a;
    return b > a || ODD(b) ? b : a;
}

KERNEL
combine(READS x, u64 x_at, WRITES y, u64 y_at, quad sizes, quad x_strides, quad y_strides, u64 count,
        u32 what)
{
    for (EACH(i, count)) {
        u64 to = y_at + place(i, sizes, y_strides);

        AT(y, to) = both(AT(y, to), AT(x, x_at + place(i, sizes, x_strides)), what);
    }
}
