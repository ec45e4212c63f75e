#include "driver_suite.h"

#include <string.h>

const char syn_suite_opencl[] =
    "kernel void axpy(float a, global const float *x, global float *y, uint n)\n"
    "{ size_t i = get_global_id(0); if (i < n) y[i] += a * x[i]; }\n"
    "kernel void iota(global int *y, uint n, int first)\n"
    "{ size_t i = get_global_id(0); if (i < n) y[i] = first + (int)i; }\n";

const char syn_suite_glsl[] =
    "layout(buffer_reference, scalar, buffer_reference_align = 4) buffer floats { float at; };\n"
    "layout(buffer_reference, scalar, buffer_reference_align = 4) buffer ints { int at; };\n"
    "KERNEL axpy(float a, floats x, floats y, uint n)\n"
    "{ uint i = gl_GlobalInvocationID.x; if (i < n) (y + i).at += a * (x + i).at; }\n"
    "KERNEL iota(ints y, uint n, int first)\n"
    "{ uint i = gl_GlobalInvocationID.x; if (i < n) (y + i).at = first + int(i); }\n";

const char syn_suite_cuda[] =
    "extern \"C\" __global__ void axpy(float a, const float *x, float *y, unsigned n)\n"
    "{ unsigned i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) y[i] += a * x[i]; }\n"
    "extern \"C\" __global__ void iota(int *y, unsigned n, int first)\n"
    "{ unsigned i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) y[i] = first + (int)i; }\n";

/* Each call is a group, which is one item; where it stands is at 196608. */
const char syn_suite_wasm[] =
    "(module (import \"env\" \"memory\" (memory 1))\n"
    " (func $at (param $y i32) (result i32)\n"
    "  (i32.add (local.get $y) (i32.shl (i32.load (i32.const 196608)) (i32.const 2))))\n"
    " (func $beyond (param $n i32) (result i32)\n"
    "  (i32.ge_u (i32.load (i32.const 196608)) (local.get $n)))\n"
    " (func (export \"axpy\") (param $a f32) (param $x i32) (param $y i32) (param $n i32)\n"
    "  (if (call $beyond (local.get $n)) (then (return)))\n"
    "  (f32.store (call $at (local.get $y)) (f32.add (f32.load (call $at (local.get $y)))\n"
    "   (f32.mul (local.get $a) (f32.load (call $at (local.get $x)))))))\n"
    " (func (export \"iota\") (param $y i32) (param $n i32) (param $first i32)\n"
    "  (if (call $beyond (local.get $n)) (then (return)))\n"
    "  (i32.store (call $at (local.get $y))\n"
    "   (i32.add (local.get $first) (i32.load (i32.const 196608)))))\n"
    " (func (export \"fail\") unreachable))\n";

static int
native_axpy(const struct syn_native_call *call, struct syn_err *err)
{
    const float *x = call->args[1];
    float a, *y = call->args[2];
    uint32_t n;

    (void)err;
    assert(call->args_count == 4 && call->sizes[0] == sizeof(a) && call->sizes[3] == sizeof(n));
    memcpy(&a, call->args[0], sizeof(a));
    memcpy(&n, call->args[3], sizeof(n));
    for (uint32_t i = 0; i < n; i++)
        y[i] += a * x[i];
    return SYN_OK;
}

static int
native_iota(const struct syn_native_call *call, struct syn_err *err)
{
    int32_t *y = call->args[0], first;
    uint32_t n;

    (void)err;
    memcpy(&n, call->args[1], sizeof(n));
    memcpy(&first, call->args[2], sizeof(first));
    for (uint32_t i = 0; i < n; i++)
        y[i] = first + (int32_t)i;
    return SYN_OK;
}

static int
native_fail(const struct syn_native_call *call, struct syn_err *err)
{
    (void)call;
    return SYN_FAIL(err, SYN_E_CORRUPT, "the kernel does not like its data");
}

const struct syn_native_entry syn_suite_entries[] = {
    {"axpy", native_axpy, NULL},
    {"iota", native_iota, NULL},
    {"fail", native_fail, NULL},
};
const size_t syn_suite_entries_count = SYN_LEN(syn_suite_entries);
