/* One step. Sizes and strides are of three dimensions, y to w, the first of size 1 where there are
 * two; sizes.x says whether there are three. */
KERNEL
stencil(READS from, u64 from_at, WRITES to, u64 to_at, quad sizes, quad from_strides,
        quad to_strides, ELEM keep, ELEM side)
{
    u64 count = sizes.y * sizes.z * sizes.w;

    for (EACH(i, count)) {
        u64 x = i % sizes.w, y = i / sizes.w % sizes.z, z = i / sizes.w / sizes.z;
        u64 at = from_at + place(i, sizes, from_strides);
        ELEM value = AT(from, at);

        if (x > 0 && x + 1 < sizes.w && y > 0 && y + 1 < sizes.z &&
            (sizes.x == 0 || (z > 0 && z + 1 < sizes.y))) {
            ELEM sum = AT(from, at - from_strides.w) + AT(from, at + from_strides.w) +
                       AT(from, at - from_strides.z) + AT(from, at + from_strides.z);

            if (sizes.x != 0)
                sum = sum + AT(from, at - from_strides.y) + AT(from, at + from_strides.y);
            value = keep * value + side * sum;
        }
        AT(to, to_at + place(i, sizes, to_strides)) = value;
    }
}
