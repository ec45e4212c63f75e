/* What kinds of processor and of number there are. Both come from one table each: kinds.def,
 * dtypes.def. */
#ifndef SYNOR_KIND_H
#define SYNOR_KIND_H

#include <synor/base/core.h>

#ifdef __cplusplus
extern "C" {
#endif

enum syn_kind {
#define SYN_KIND(symbol, name, text) SYN_KIND_##symbol,
#include <synor/kinds.def>
#undef SYN_KIND
    SYN_KINDS
};

enum syn_dtype {
#define SYN_DTYPE(symbol, name, bits, class, column, text) SYN_DTYPE_##symbol,
#include <synor/dtypes.def>
#undef SYN_DTYPE
    SYN_DTYPES
};

enum syn_dtype_class {
    SYN_DTYPE_FLOAT,
    SYN_DTYPE_SIGNED,
    SYN_DTYPE_UNSIGNED,
    SYN_DTYPE_COMPLEX,
};

/** One row of dtypes.def. All texts are static. */
struct syn_dtype_info {
    const char *name;
    unsigned bits;
    enum syn_dtype_class family; /* not `class`: C++ reads this header too */
    const char *column;          /* of a profile; NULL: no vendor rates it */
    const char *text;
};

/** A set of kinds or dtypes is a uint32_t of SYN_BIT(SYN_KIND_x) or SYN_BIT(SYN_DTYPE_x). */
static_assert(SYN_KINDS <= 32 && SYN_DTYPES <= 32, "sets are 32 bits");

/** "gpu"; the name is static. `kind` must be one. */
SYN_API const char *syn_kind_name(enum syn_kind kind);
/** A sentence about it, static. */
SYN_API const char *syn_kind_text(enum syn_kind kind);
/** False, and nothing set, when there is no such kind. */
SYN_API bool syn_kind_parse(const char *name, enum syn_kind *ret_kind);

/** The row of `dtype`, which must be one. Static. */
SYN_API const struct syn_dtype_info *syn_dtype_info(enum syn_dtype dtype);
/** "bf16"; static. */
SYN_API const char *syn_dtype_name(enum syn_dtype dtype);
/** False, and nothing set, when there is no such type. */
SYN_API bool syn_dtype_parse(const char *name, enum syn_dtype *ret_dtype);
/** Bytes that `count` packed elements take, rounded up to whole bytes; UINT64_MAX when that is more
 * than 2^63 - 1. */
SYN_API uint64_t syn_dtype_bytes(enum syn_dtype dtype, uint64_t count);

#ifdef __cplusplus
}
#endif
#endif
