#include "gemm_priv.h"

#define SYN_BODY "gemm_body_priv.h"
#include "widths_priv.h"

#define ADDRESS_float_16  &gemm_tiles_float_16
#define ADDRESS_float_32  &gemm_tiles_float_32
#define ADDRESS_float_64  &gemm_tiles_float_64
#define ADDRESS_double_16 &gemm_tiles_double_16
#define ADDRESS_double_32 &gemm_tiles_double_32
#define ADDRESS_double_64 &gemm_tiles_double_64

const struct syn_gemm_tiles *
syn_gemm_tiles(enum syn_dtype dtype)
{
    static const struct syn_gemm_tiles *const narrow[] = SYN_WIDTHS_OF(ADDRESS, float);
    static const struct syn_gemm_tiles *const wide[] = SYN_WIDTHS_OF(ADDRESS, double);

    return dtype == SYN_DTYPE_FP32 ? narrow[syn_vector_width()] : wide[syn_vector_width()];
}
