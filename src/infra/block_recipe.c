/* Recipes: a block as slices of other blocks and what is new in it.
 *
 *     version 1              byte
 *     block size             varint
 *     count of bases         varint, then that many digests, in the order of their first use
 *     count of parts         varint, then for each: length << 1 | is a slice   varint
 *                            and of a slice: number of its base, offset in it   varints
 *     bytes of the parts that are no slices, in order
 *
 * One block has one spelling: numbers are shortest, no two literal parts are neighbours, every base
 * is used. Whether the parts give the right block is not for the recipe to say: a read checks what
 * comes out against the block's digest, as always. */
#include "block_priv.h"

#include <synor/base/mem.h>
#include <synor/base/varint.h>

#define RECIPE_VERSION 1

static SYN_MUST int
fail_recipe(struct syn_err *err)
{
    return SYN_FAIL(err, SYN_E_CORRUPT, "the recipe is damaged");
}

static void
put_number(struct syn_buf *out, uint64_t value)
{
    uint8_t bytes[SYN_VARINT_MAX];

    syn_buf_add(out, bytes, syn_varint_encode(value, bytes));
}

int
syn_recipe_encode(const struct syn_recipe *recipe, struct syn_buf *out, struct syn_err *err)
{
    syn_buf_addc(out, RECIPE_VERSION);
    put_number(out, recipe->size);
    put_number(out, recipe->bases_count);
    syn_buf_add(out, recipe->bases, recipe->bases_count * sizeof(recipe->bases[0]));
    put_number(out, recipe->parts_count);
    for (size_t i = 0; i < recipe->parts_count; i++) {
        const struct syn_recipe_part *part = &recipe->parts[i];
        bool slice = part->base != SYN_RECIPE_LITERAL;

        put_number(out, (uint64_t)part->len << 1 | slice);
        if (slice) {
            put_number(out, part->base);
            put_number(out, part->offset);
        }
    }
    if (recipe->literal_len > 0)
        syn_buf_add(out, recipe->literal, recipe->literal_len);
    return syn_buf_ok(out, err);
}

struct reader {
    const uint8_t *at;
    const uint8_t *end;
};

static SYN_MUST bool
take_number(struct reader *reader, uint64_t max, uint64_t *ret_value)
{
    size_t used = syn_varint_decode(reader->at, (size_t)(reader->end - reader->at), ret_value);

    reader->at += used;
    return used > 0 && *ret_value <= max;
}

/* Bases are counted as they are first used, so a part names a known one or the next. */
static SYN_MUST bool
take_part(struct reader *reader, const struct syn_recipe *recipe, unsigned *bases_used,
          struct syn_recipe_part *part)
{
    uint64_t number = 0;
    uint64_t base = 0;
    uint64_t offset = 0;

    if (!take_number(reader, SYN_BLOCK_BYTES_MAX << 1 | 1, &number) || number >> 1 == 0)
        return false;
    *part = (struct syn_recipe_part){.base = SYN_RECIPE_LITERAL, .len = (uint32_t)(number >> 1)};
    if ((number & 1) == 0)
        return true;
    if (!take_number(reader, recipe->bases_count, &base) || base > *bases_used ||
        base == recipe->bases_count ||
        !take_number(reader, SYN_BLOCK_BYTES_MAX - part->len, &offset))
        return false;
    *bases_used += base == *bases_used;
    part->base = (uint32_t)base;
    part->offset = (uint32_t)offset;
    return true;
}

static SYN_MUST bool
take_parts(struct reader *reader, struct syn_recipe *recipe)
{
    unsigned bases_used = 0;
    size_t literal = 0;
    size_t size = 0;
    bool before = false; /* a literal part just before */

    for (size_t i = 0; i < recipe->parts_count; i++) {
        struct syn_recipe_part *part = &recipe->parts[i];

        if (!take_part(reader, recipe, &bases_used, part) || part->len > recipe->size - size ||
            (before && part->base == SYN_RECIPE_LITERAL))
            return false;
        size += part->len;
        before = part->base == SYN_RECIPE_LITERAL;
        literal += before ? part->len : 0;
    }
    recipe->literal = reader->at;
    recipe->literal_len = literal;
    return size == recipe->size && bases_used == recipe->bases_count &&
           literal == (size_t)(reader->end - reader->at);
}

int
syn_recipe_decode(const void *data, size_t len, struct syn_recipe *ret, struct syn_err *err)
{
    struct reader reader = {data, (const uint8_t *)data + len};
    uint64_t size = 0;
    uint64_t bases = 0;
    uint64_t parts = 0;

    if (len == 0 || *reader.at++ != RECIPE_VERSION ||
        !take_number(&reader, SYN_BLOCK_BYTES_MAX, &size) ||
        !take_number(&reader, SYN_RECIPE_BASES_MAX, &bases) || bases == 0 ||
        (size_t)(reader.end - reader.at) < bases * SYN_DIGEST_BYTES)
        return fail_recipe(err);
    ret->size = (uint32_t)size;
    ret->bases_count = (unsigned)bases;
    memcpy(ret->bases, reader.at, bases * SYN_DIGEST_BYTES);
    reader.at += bases * SYN_DIGEST_BYTES;
    if (!take_number(&reader, SYN_RECIPE_PARTS_MAX, &parts))
        return fail_recipe(err);
    ret->parts_count = (size_t)parts;
    return take_parts(&reader, ret) ? SYN_OK : fail_recipe(err);
}

void
syn_recipe_fill_literals(const struct syn_recipe *recipe, uint8_t *out)
{
    const uint8_t *literal = recipe->literal;

    for (size_t i = 0; i < recipe->parts_count; i++) {
        const struct syn_recipe_part *part = &recipe->parts[i];

        if (part->base == SYN_RECIPE_LITERAL) {
            memcpy(out, literal, part->len);
            literal += part->len;
        }
        out += part->len;
    }
}

int
syn_recipe_fill_base(const struct syn_recipe *recipe, unsigned base, const uint8_t *data,
                     size_t len, uint8_t *out, struct syn_err *err)
{
    for (size_t i = 0; i < recipe->parts_count; i++) {
        const struct syn_recipe_part *part = &recipe->parts[i];

        if (part->base == base) {
            if (part->offset > len || part->len > len - part->offset)
                return fail_recipe(err);
            memcpy(out, data + part->offset, part->len);
        }
        out += part->len;
    }
    return SYN_OK;
}

/* ---- finding one ----------------------------------------------------------------------------- */

struct cover {
    const uint8_t *data;
    size_t len;
    size_t done; /* everything before is in a part */
    struct syn_recipe *recipe;
    struct syn_buf *literal;
};

static SYN_MUST bool
add_literal(struct cover *cover, size_t until)
{
    if (until == cover->done)
        return true;
    if (cover->recipe->parts_count == SYN_RECIPE_PARTS_MAX)
        return false;
    cover->recipe->parts[cover->recipe->parts_count++] = (struct syn_recipe_part){
        .base = SYN_RECIPE_LITERAL, .len = (uint32_t)(until - cover->done)};
    syn_buf_add(cover->literal, cover->data + cover->done, until - cover->done);
    cover->done = until;
    return true;
}

/* How far do the bytes agree, forward from both places and backward before them? */
static size_t
agree_forward(const uint8_t *a, const uint8_t *b, size_t max)
{
    const size_t step = 4096;
    size_t len = 0;

    while (max - len >= step && memcmp(a + len, b + len, step) == 0)
        len += step;
    while (len < max && a[len] == b[len])
        len++;
    return len;
}

static size_t
agree_backward(const uint8_t *a, const uint8_t *b, size_t max)
{
    const size_t step = 4096;
    size_t len = 0;

    while (max - len >= step && memcmp(a - len - step, b - len - step, step) == 0)
        len += step;
    while (len < max && a[-1 - (ptrdiff_t)len] == b[-1 - (ptrdiff_t)len])
        len++;
    return len;
}

/* Cover the block around one anchor with a slice. False when the recipe would grow too long. */
static SYN_MUST bool
add_slice(struct cover *cover, size_t at, const struct syn_recipe_base *base)
{
    size_t before = agree_backward(cover->data + at, base->data + base->offset,
                                   SYN_MIN(at - cover->done, base->offset));
    size_t behind = agree_forward(cover->data + at, base->data + base->offset,
                                  SYN_MIN(cover->len - at, base->len - base->offset));
    struct syn_recipe *recipe = cover->recipe;
    unsigned number = 0;

    if (before + behind < SYN_RECIPE_SLICE_MIN)
        return true;
    while (number < recipe->bases_count &&
           memcmp(recipe->bases[number], base->digest, SYN_DIGEST_BYTES) != 0)
        number++;
    if (number == SYN_RECIPE_BASES_MAX)
        return true;
    if (!add_literal(cover, at - before) || recipe->parts_count == SYN_RECIPE_PARTS_MAX)
        return false;
    if (number == recipe->bases_count)
        memcpy(recipe->bases[recipe->bases_count++], base->digest, SYN_DIGEST_BYTES);
    recipe->parts[recipe->parts_count++] =
        (struct syn_recipe_part){.base = number,
                                 .offset = (uint32_t)(base->offset - before),
                                 .len = (uint32_t)(before + behind)};
    cover->done = at + behind;
    return true;
}

int
syn_recipe_find(const struct syn_recipe_source *source, const void *data, size_t len,
                struct syn_recipe *recipe, struct syn_buf *literal, struct syn_err *err)
{
    struct cover cover = {.data = data, .len = len, .recipe = recipe, .literal = literal};
    int rc;

    recipe->size = (uint32_t)len;
    recipe->bases_count = 0;
    recipe->parts_count = 0;
    for (size_t i = 0; i < source->count; i++) {
        struct syn_recipe_base base;

        if (source->anchors[i].at < cover.done)
            continue;
        rc = source->find(source->arg, source->anchors[i].hash, &base, err);
        if (rc < 0)
            return rc;
        if (rc == SYN_RECIPE_NO_BASE)
            continue;
        assert(base.offset <= base.len);
        if (!add_slice(&cover, source->anchors[i].at, &base))
            return SYN_RECIPE_NONE;
    }
    if (recipe->bases_count == 0 || !add_literal(&cover, len))
        return SYN_RECIPE_NONE;
    rc = syn_buf_ok(literal, err);
    if (rc < 0)
        return rc;
    recipe->literal = (const uint8_t *)literal->data;
    recipe->literal_len = literal->len;
    return literal->len <= len / SYN_RECIPE_LITERAL_SHARE ? SYN_OK : SYN_RECIPE_NONE;
}
