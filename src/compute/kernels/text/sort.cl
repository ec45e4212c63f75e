/* A bitonic network in which every comparison puts the smaller first: elements behind the end would
 * be larger than all and never move, so they need not exist. Not a number is larger than all. */

#define BLOCK_MAX 512

DEVICE int
after(ELEM a, ELEM b)
{
    return a > b || (a != a && b == b);
}

/* The pair number `t` of a stage: of halves that mirror each other, or of halves side by side. */
DEVICE u64
lower(u64 t, u64 half)
{
    return t / half * half * 2 + t % half;
}

DEVICE u64
upper(u64 t, u64 half, u32 mirror)
{
    u64 base = t / half * half * 2;

    return mirror ? base + half * 2 - 1 - t % half : base + t % half + half;
}

KERNEL
sort_stage(GLOBAL ELEM *a, u64 at, u64 count, u64 pairs, u64 half, u32 mirror)
{
    a += at;
    for (EACH(t, pairs)) {
        u64 i = lower(t, half), k = upper(t, half, mirror);

        if (k < count && after(a[i], a[k])) {
            ELEM held = a[i];

            a[i] = a[k];
            a[k] = held;
        }
    }
}

/* The stages from `half` down to pairs of neighbours, and, if `all`, all before them: a block of two
 * elements an item. */
KERNEL
sort_block(GLOBAL ELEM *a, u64 at, u64 count, u32 all)
{
    SHARED(ELEM, mine, BLOCK_MAX);
    u32 block = ITEMS(0) * 2, t = ITEM(0);
    u64 base = GROUP(0) * block;
    u32 held = (u32)(count - base < block ? count - base : block);

    a += at + base;
    if (t < held)
        mine[t] = a[t];
    if (t + block / 2 < held)
        mine[t + block / 2] = a[t + block / 2];
    BARRIER();
    for (u32 size = all ? 2 : block; size <= block; size *= 2) {
        for (u32 half = size / 2; half > 0; half /= 2) {
            u32 mirror = all && half == size / 2;
            u32 i = (u32)lower(t, half), k = (u32)upper(t, half, mirror);

            if (k < held && after(mine[i], mine[k])) {
                ELEM other = mine[i];

                mine[i] = mine[k];
                mine[k] = other;
            }
            BARRIER();
        }
    }
    if (t < held)
        a[t] = mine[t];
    if (t + block / 2 < held)
        a[t + block / 2] = mine[t + block / 2];
}
