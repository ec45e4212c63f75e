/* A bitonic network in which every comparison puts the smaller first: elements behind the end would
 * be larger than all and never move, so they need not exist. Not a number is larger than all. */

#define BLOCK_MAX 512

SHARED(mine, BLOCK_MAX)

DEVICE bool
after(ELEM a, ELEM b)
{
    return ODD(a) ? !ODD(b) : a > b;
}

/* The pair number `t` of a stage: of halves that mirror each other, or of halves side by side. */
DEVICE u64
lower(u64 t, u64 reach)
{
    return t / reach * reach * 2 + t % reach;
}

DEVICE u64
upper(u64 t, u64 reach, u32 mirror)
{
    u64 base = t / reach * reach * 2;

    return mirror != 0 ? base + reach * 2 - 1 - t % reach : base + t % reach + reach;
}

KERNEL
sort_stage(WRITES a, u64 at, u64 count, u64 pairs, u64 reach, u32 mirror)
{
    a += at;
    for (EACH(t, pairs)) {
        u64 i = lower(t, reach), k = upper(t, reach, mirror);

        if (k < count && after(AT(a, i), AT(a, k))) {
            ELEM held = AT(a, i);

            AT(a, i) = AT(a, k);
            AT(a, k) = held;
        }
    }
}

/* The stages from `reach` down to pairs of neighbours, and, if `whole`, all before them: a block of two
 * elements an item. */
KERNEL
sort_block(WRITES a, u64 at, u64 count, u32 whole)
{
    USES(mine);
    u32 block = ITEMS(0) * 2, t = ITEM(0);
    u64 base = GROUP(0) * block;
    u32 held = AS(u32, count - base < block ? count - base : block);

    a += at + base;
    if (t < held)
        mine[t] = AT(a, t);
    if (t + block / 2 < held)
        mine[t + block / 2] = AT(a, t + block / 2);
    BARRIER();
    for (u32 size = whole != 0 ? 2 : block; size <= block; size *= 2) {
        for (u32 reach = size / 2; reach > 0; reach /= 2) {
            u32 mirror = whole != 0 && reach == size / 2 ? 1 : 0;
            u32 i = AS(u32, lower(t, reach)), k = AS(u32, upper(t, reach, mirror));

            if (k < held && after(mine[i], mine[k])) {
                ELEM other = mine[i];

                mine[i] = mine[k];
                mine[k] = other;
            }
            BARRIER();
        }
    }
    if (t < held)
        AT(a, t) = mine[t];
    if (t + block / 2 < held)
        AT(a, t + block / 2) = mine[t + block / 2];
}

/* Who sorts alone needs no network: a heap, whose largest element goes behind those that are left. */
DEVICE void
sink(WRITES a, u64 root, u64 count)
{
    ELEM held = AT(a, root);

    for (u64 child = 2 * root + 1; child < count; child = 2 * root + 1) {
        if (child + 1 < count && after(AT(a, child + 1), AT(a, child)))
            child++;
        if (!after(AT(a, child), held))
            break;
        AT(a, root) = AT(a, child);
        root = child;
    }
    AT(a, root) = held;
}

KERNEL
sort_alone(WRITES a, u64 at, u64 count)
{
    a += at;
    for (u64 root = count / 2; root > 0; root--)
        sink(a, root - 1, count);
    for (u64 left = count; left > 1; left--) {
        ELEM most = AT(a, 0);

        AT(a, 0) = AT(a, left - 1);
        AT(a, left - 1) = most;
        sink(a, 0, left - 1);
    }
}
