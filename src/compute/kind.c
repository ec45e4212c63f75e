#include <synor/kind.h>

#include <string.h>

static const struct {
    const char *name, *text;
} kinds[] = {
#define SYN_KIND(symbol, name, text) [SYN_KIND_##symbol] = {name, text},
#include <synor/kinds.def>
#undef SYN_KIND
};

static const struct syn_dtype_info dtypes[] = {
#define SYN_DTYPE(symbol, name, bits, class, column, text) \
    [SYN_DTYPE_##symbol] = {name, bits, SYN_DTYPE_##class, column, text},
#include <synor/dtypes.def>
#undef SYN_DTYPE
};

const char *
syn_kind_name(enum syn_kind kind)
{
    assert(kind < SYN_KINDS);
    return kinds[kind].name;
}

const char *
syn_kind_text(enum syn_kind kind)
{
    assert(kind < SYN_KINDS);
    return kinds[kind].text;
}

bool
syn_kind_parse(const char *name, enum syn_kind *ret_kind)
{
    for (unsigned i = 0; i < SYN_KINDS; i++) {
        if (strcmp(kinds[i].name, name) == 0) {
            *ret_kind = (enum syn_kind)i;
            return true;
        }
    }
    return false;
}

const struct syn_dtype_info *
syn_dtype_info(enum syn_dtype dtype)
{
    assert(dtype < SYN_DTYPES);
    return &dtypes[dtype];
}

const char *
syn_dtype_name(enum syn_dtype dtype)
{
    return syn_dtype_info(dtype)->name;
}

bool
syn_dtype_parse(const char *name, enum syn_dtype *ret_dtype)
{
    for (unsigned i = 0; i < SYN_DTYPES; i++) {
        if (strcmp(dtypes[i].name, name) == 0) {
            *ret_dtype = (enum syn_dtype)i;
            return true;
        }
    }
    return false;
}

uint64_t
syn_dtype_bytes(enum syn_dtype dtype, uint64_t count)
{
    syn_u128 bytes = ((syn_u128)count * syn_dtype_info(dtype)->bits + 7) / 8;

    return bytes > INT64_MAX ? UINT64_MAX : (uint64_t)bytes;
}
