KERNEL
neutral(ELEM value, WRITES y, u64 y_at, quad sizes, quad strides, u64 count)
{
    for (EACH(i, count))
        AT(y, y_at + place(i, sizes, strides)) = value;
}
