/* Each group leaves one element in `z`; a second launch, of one group, adds those to the result.
 */
SHARED(mine, 256)

KERNEL
products(READS x, u64 x_at, READS y, u64 y_at, WRITES z, u64 z_at, quad sizes, quad x_strides,
         quad y_strides, u64 count)
{
    USES(mine);
    u32 item = ITEM(0);
    ELEM value = 0;

    for (EACH(i, count))
        value += AT(x, x_at + place(i, sizes, x_strides)) * AT(y, y_at + place(i, sizes, y_strides));
    mine[item] = value;
    BARRIER();
    for (u32 reach = ITEMS(0) / 2; reach > 0; reach /= 2) {
        if (item < reach)
            mine[item] += mine[item + reach];
        BARRIER();
    }
    if (item == 0)
        AT(z, z_at + GROUP(0)) = mine[0];
}

KERNEL
total(READS parts, WRITES z, u64 z_at, u64 count)
{
    USES(mine);
    u32 item = ITEM(0);
    ELEM value = 0;

    for (EACH(i, count))
        value += AT(parts, i);
    mine[item] = value;
    BARRIER();
    for (u32 reach = ITEMS(0) / 2; reach > 0; reach /= 2) {
        if (item < reach)
            mine[item] += mine[item + reach];
        BARRIER();
    }
    if (item == 0)
        AT(z, z_at) += mine[0];
}
