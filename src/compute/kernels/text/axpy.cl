KERNEL
axpy(ELEM a, GLOBAL const ELEM *x, u64 x_at, GLOBAL ELEM *y, u64 y_at, quad sizes, quad x_strides,
     quad y_strides, u64 count)
{
    for (EACH(i, count)) {
        u64 to = y_at + place(i, sizes, y_strides);

        y[to] = y[to] + a * x[x_at + place(i, sizes, x_strides)];
    }
}
