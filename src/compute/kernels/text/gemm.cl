/* A group of 16 x 16 items makes a tile of 64 x 64: 16 elements each, from pieces of A and B that the
 * group shares. Strides are (along rows of the product, along its columns or the sum). */

#define TILE  64
#define DEPTH 16
#define SIDE  16
#define PITCH 65 /* one more than a tile, so that a column is not all in one bank */

#ifdef ALONE
/* An item alone makes the whole tile, 4 rows and 8 columns of it at a time, which are in registers while
 * pieces of A and B, packed once a tile, go by. */
#define DEEP 64
#define HIGH 4
#define WIDE 8

DEVICE void
part(const ELEM *left, const ELEM *right, ELEM *sums)
{
    ELEM sum[HIGH][WIDE];

    for (u32 i = 0; i < HIGH; i++)
        for (u32 k = 0; k < WIDE; k++)
            sum[i][k] = sums[i * TILE + k];
    for (u32 d = 0; d < DEEP; d++)
        for (u32 i = 0; i < HIGH; i++)
            for (u32 k = 0; k < WIDE; k++)
                sum[i][k] += left[d * TILE + i] * right[d * TILE + k];
    for (u32 i = 0; i < HIGH; i++)
        for (u32 k = 0; k < WIDE; k++)
            sums[i * TILE + k] = sum[i][k];
}

/* Up to TILE rows (or columns) of up to DEEP elements each; what is not there is 0. */
DEVICE void
pack(READS from, u64 side, u64 depth, u64 side_stride, u64 depth_stride, ELEM *to)
{
    for (u32 d = 0; d < DEEP; d++)
        for (u32 i = 0; i < TILE; i++)
            to[d * TILE + i] =
                i < side && d < depth ? AT(from, i * side_stride + d * depth_stride) : 0;
}

KERNEL
gemm(READS a, u64 a_at, READS b, u64 b_at, WRITES c, u64 c_at, quad sizes, quad in_strides,
     quad c_strides, ELEM alpha, ELEM beta)
{
    ELEM left[DEEP * TILE], right[DEEP * TILE], sums[TILE * TILE];
    u64 row = GROUP(1) * TILE, col = GROUP(0) * TILE;

    for (; row < sizes.x; row += GROUPS(1) * TILE) {
        for (u64 at = col; at < sizes.y; at += GROUPS(0) * TILE) {
            for (u32 i = 0; i < TILE * TILE; i++)
                sums[i] = 0;
            for (u64 p = 0; p < sizes.z; p += DEEP) {
                pack(a + a_at + row * in_strides.x + p * in_strides.y, sizes.x - row, sizes.z - p,
                     in_strides.x, in_strides.y, left);
                pack(b + b_at + at * in_strides.w + p * in_strides.z, sizes.y - at, sizes.z - p,
                     in_strides.w, in_strides.z, right);
                for (u32 i = 0; i < TILE; i += HIGH)
                    for (u32 k = 0; k < TILE; k += WIDE)
                        part(left + i, right + k, sums + i * TILE + k);
            }
            for (u32 i = 0; i < TILE && row + i < sizes.x; i++) {
                for (u32 k = 0; k < TILE && at + k < sizes.y; k++) {
                    WRITES to = c + c_at + (row + i) * c_strides.x + (at + k) * c_strides.y;

                    AT(to, 0) = alpha * sums[i * TILE + k] + (beta == 0 ? 0 : beta * AT(to, 0));
                }
            }
        }
    }
}
#else
SHARED(some_a, DEPTH * PITCH)
SHARED(some_b, DEPTH * PITCH)

KERNEL
gemm(READS a, u64 a_at, READS b, u64 b_at, WRITES c, u64 c_at, quad sizes, quad in_strides,
     quad c_strides, ELEM alpha, ELEM beta)
{
    USES(some_a);
    USES(some_b);
    u32 tx = ITEM(0), ty = ITEM(1), item = ty * SIDE + tx;
    u64 m = sizes.x, n = sizes.y, depth = sizes.z;

    a += a_at;
    b += b_at;
    c += c_at;
    for (u64 row = GROUP(1) * TILE; row < m; row += GROUPS(1) * TILE) {
        for (u64 col = GROUP(0) * TILE; col < n; col += GROUPS(0) * TILE) {
            ELEM sum[4][4];

            for (u32 i = 0; i < 4; i++)
                for (u32 k = 0; k < 4; k++)
                    sum[i][k] = 0;
            for (u64 p = 0; p < depth; p += DEPTH) {
                for (u32 i = item; i < TILE * DEPTH; i += SIDE * SIDE) {
                    u64 r = row + i / DEPTH, d = p + i % DEPTH;

                    some_a[i % DEPTH * PITCH + i / DEPTH] =
                        r < m && d < depth ? AT(a, r * in_strides.x + d * in_strides.y) : 0;
                    r = col + i % TILE;
                    d = p + i / TILE;
                    some_b[i / TILE * PITCH + i % TILE] =
                        r < n && d < depth ? AT(b, d * in_strides.z + r * in_strides.w) : 0;
                }
                BARRIER();
                for (u32 d = 0; d < DEPTH; d++) {
                    for (u32 i = 0; i < 4; i++) {
                        ELEM left = some_a[d * PITCH + ty + SIDE * i];

                        for (u32 k = 0; k < 4; k++)
                            sum[i][k] += left * some_b[d * PITCH + tx + SIDE * k];
                    }
                }
                BARRIER();
            }
            for (u32 i = 0; i < 4; i++) {
                for (u32 k = 0; k < 4; k++) {
                    u64 r = row + ty + SIDE * i, s = col + tx + SIDE * k;
                    u64 at = r * c_strides.x + s * c_strides.y;

                    if (r < m && s < n)
                        AT(c, at) = alpha * sum[i][k] + (beta == 0 ? 0 : beta * AT(c, at));
                }
            }
        }
    }
}
#endif
