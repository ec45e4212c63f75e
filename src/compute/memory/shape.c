#include "memory_priv.h"

#include <string.h>

/* Dimensions of more than one element, the finest stride first. */
static unsigned
order_dims(const struct syn_shape *shape, unsigned *ret_dims)
{
    unsigned count = 0;

    for (unsigned d = 0; d < shape->dims; d++) {
        unsigned at = count;

        if (shape->sizes[d] == 1)
            continue;
        for (; at > 0 && shape->strides[ret_dims[at - 1]] > shape->strides[d]; at--)
            ret_dims[at] = ret_dims[at - 1];
        ret_dims[at] = d;
        count++;
    }
    return count;
}

uint64_t
syn_shape_bits(const struct syn_shape *shape)
{
    return syn_dtype_info(shape->dtype)->bits;
}

uint64_t
syn_shape_count(const struct syn_shape *shape)
{
    uint64_t count = 1;

    for (unsigned d = 0; d < shape->dims; d++)
        count *= shape->sizes[d];
    return count;
}

uint64_t
syn_shape_span(const struct syn_shape *shape)
{
    uint64_t last = 0;

    for (unsigned d = 0; d < shape->dims; d++)
        last += (shape->sizes[d] - 1) * shape->strides[d];
    return syn_dtype_bytes(shape->dtype, last + 1);
}

/* Strides of a packed layout. The sizes were checked. */
static void
fill_strides(struct syn_shape *shape, bool columns)
{
    uint64_t stride = 1;

    for (unsigned i = 0; i < shape->dims; i++) {
        unsigned d = columns ? i : shape->dims - 1 - i;

        shape->strides[d] = stride;
        stride *= shape->sizes[d];
    }
}

static bool
same_strides(const struct syn_shape *a, const struct syn_shape *b)
{
    for (unsigned d = 0; d < a->dims; d++) {
        if (a->sizes[d] > 1 && a->strides[d] != b->strides[d])
            return false;
    }
    return true;
}

void
syn_shape_label(struct syn_shape *shape)
{
    struct syn_shape packed = *shape;

    shape->layout = SYN_LAYOUT_ROWS;
    fill_strides(&packed, false);
    if (same_strides(shape, &packed))
        return;
    shape->layout = SYN_LAYOUT_COLUMNS;
    fill_strides(&packed, true);
    if (!same_strides(shape, &packed))
        shape->layout = SYN_LAYOUT_STRIDED;
}

void
syn_shape_pack(const struct syn_shape *shape, struct syn_shape *ret_packed)
{
    struct syn_shape packed = *shape;
    unsigned dims[SYN_DIMS_MAX] = {0}, count = order_dims(shape, dims);
    uint64_t stride = 1;

    for (unsigned i = 0; i < count; i++) {
        packed.strides[dims[i]] = stride;
        stride *= packed.sizes[dims[i]];
    }
    for (unsigned d = 0; d < packed.dims; d++) {
        if (packed.sizes[d] == 1)
            packed.strides[d] = 1;
    }
    syn_shape_label(&packed);
    *ret_packed = packed;
}

/* Each dimension begins beyond the end of the finer ones: no element twice, and every box of it is
 * rows, slices, and so on. */
static int
check_strides(const struct syn_shape *shape, struct syn_err *err)
{
    unsigned dims[SYN_DIMS_MAX] = {0}, count = order_dims(shape, dims);
    uint64_t bits = syn_shape_bits(shape);
    syn_u128 last = 0;

    for (unsigned i = 0; i < count; i++) {
        uint64_t stride = shape->strides[dims[i]];

        if (stride <= last)
            return SYN_FAIL(err, SYN_E_INVALID,
                            "strides[%u]: elements lie on others, or dimensions interleave",
                            dims[i]);
        if (bits < 8 && (i == 0 ? stride != 1 : (syn_u128)stride * bits % 8 != 0))
            return SYN_FAIL(err, SYN_E_INVALID, "strides[%u]: a row begins within a byte", dims[i]);
        last += (syn_u128)stride * (shape->sizes[dims[i]] - 1);
        if (last > SYN_TENSOR_BYTES_MAX)
            break;
    }
    if ((last + 1) * bits / 8 > SYN_TENSOR_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "strides: a tensor has at most 2^62 bytes");
    return SYN_OK;
}

int
syn_shape_complete(struct syn_shape *shape, struct syn_err *err)
{
    syn_u128 bits = 0;

    if ((unsigned)shape->dtype >= SYN_DTYPES)
        return SYN_FAIL(err, SYN_E_INVALID, "dtype: there is no number format %u",
                        (unsigned)shape->dtype);
    if ((unsigned)shape->layout > SYN_LAYOUT_STRIDED)
        return SYN_FAIL(err, SYN_E_INVALID, "layout: there is no layout %u",
                        (unsigned)shape->layout);
    if (shape->dims > SYN_DIMS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "dims: at most %d, not %u", SYN_DIMS_MAX, shape->dims);
    bits = syn_shape_bits(shape);
    for (unsigned d = 0; d < shape->dims; d++) {
        if (shape->sizes[d] == 0)
            return SYN_FAIL(err, SYN_E_INVALID, "sizes[%u]: at least 1", d);
        if (shape->sizes[d] > SYN_TENSOR_BYTES_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "sizes[%u]: a tensor has at most 2^62 bytes", d);
        bits *= shape->sizes[d];
        if (bits / 8 > SYN_TENSOR_BYTES_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "sizes[%u]: a tensor has at most 2^62 bytes", d);
    }
    if (shape->layout == SYN_LAYOUT_STRIDED)
        return check_strides(shape, err);
    fill_strides(shape, shape->layout == SYN_LAYOUT_COLUMNS);
    return SYN_OK;
}

void
syn_box_plan(const struct syn_shape *dst, const struct syn_shape *src, struct syn_box *ret_box)
{
    unsigned dims[SYN_DIMS_MAX] = {0}, count = order_dims(src, dims), i = 0;
    uint64_t bits = syn_shape_bits(src), run = 1;
    struct syn_box box = {0};

    for (; i < count && src->strides[dims[i]] == run && dst->strides[dims[i]] == run; i++)
        run *= src->sizes[dims[i]];
    box.row_bytes = syn_dtype_bytes(src->dtype, run);
    for (; i < count; i++) {
        uint64_t from = src->strides[dims[i]] * bits / 8, to = dst->strides[dims[i]] * bits / 8;
        unsigned last = box.dims - 1;

        if (box.dims > 0 && from == box.src_pitch[last] * box.counts[last] &&
            to == box.dst_pitch[last] * box.counts[last]) {
            box.counts[last] *= src->sizes[dims[i]];
            continue;
        }
        box.counts[box.dims] = src->sizes[dims[i]];
        box.src_pitch[box.dims] = from;
        box.dst_pitch[box.dims++] = to;
    }
    *ret_box = box;
}

void
syn_box_copy(const struct syn_box *box, char *dst, const char *src)
{
    uint64_t at[SYN_DIMS_MAX] = {0};
    unsigned d = 0;

    do {
        memcpy(dst, src, box->row_bytes);
        for (d = 0; d < box->dims; d++) {
            dst += box->dst_pitch[d];
            src += box->src_pitch[d];
            if (++at[d] < box->counts[d])
                break;
            dst -= box->dst_pitch[d] * box->counts[d];
            src -= box->src_pitch[d] * box->counts[d];
            at[d] = 0;
        }
    } while (d < box->dims);
}

bool
syn_shape_same_places(const struct syn_shape *a, const struct syn_shape *b)
{
    for (unsigned d = 0; d < a->dims; d++) {
        if (a->sizes[d] > 1 && a->strides[d] != b->strides[d])
            return false;
    }
    return true;
}

void
syn_shape_copy(const struct syn_shape *dst_shape, void *dst, const struct syn_shape *src_shape,
               const void *src)
{
    struct syn_box box;

    syn_box_plan(dst_shape, src_shape, &box);
    syn_box_copy(&box, dst, src);
}
