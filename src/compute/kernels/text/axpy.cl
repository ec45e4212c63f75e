KERNEL
axpy(ELEM a, READS x, u64 x_at, WRITES y, u64 y_at, quad sizes, quad x_strides, quad y_strides,
     u64 count)
{
    for (EACH(i, count)) {
        u64 to = y_at + place(i, sizes, y_strides);

        AT(y, to) = AT(y, to) + a * AT(x, x_at + place(i, sizes, x_strides));
    }
}
