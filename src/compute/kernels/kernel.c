/* The table of kernels, and what can be done with any kernel by its table alone. */
#include <stdio.h>
#include <string.h>

#include "kernels_priv.h"

#define WHOLE_MAX 9007199254740992.0 /* 2^53: every integer up to it is a double */

static const struct syn_kernel *const kernels[] = {
    &syn_kernel_gemm,    &syn_kernel_axpy,    &syn_kernel_reduce, &syn_kernel_stencil,
    &syn_kernel_sort,    &syn_kernel_fft,     &syn_kernel_conv2d, &syn_kernel_dot,
    &syn_kernel_neutral, &syn_kernel_combine,
};

const struct syn_kernel *const *
syn_kernels(size_t *ret_count)
{
    *ret_count = SYN_LEN(kernels);
    return kernels;
}

const struct syn_kernel *
syn_kernel_find(const char *name)
{
    for (size_t i = 0; i < SYN_LEN(kernels); i++) {
        if (strcmp(kernels[i]->name, name) == 0)
            return kernels[i];
    }
    return NULL;
}

/* Tables. */

static bool
is_name(const char *name)
{
    size_t len = name ? strnlen(name, SYN_KERNEL_NAME_MAX) : 0;

    if (len == 0 || len == SYN_KERNEL_NAME_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (name[i] <= ' ' || name[i] > '~')
            return false;
    }
    return true;
}

static int
check_count(const char *what, unsigned count, unsigned max, const void *table, struct syn_err *err)
{
    if (count > max)
        return SYN_FAIL(err, SYN_E_INVALID, "%s_count is %u, at most %u", what, count, max);
    if (count > 0 && !table)
        return SYN_FAIL(err, SYN_E_INVALID, "%s is NULL", what);
    return SYN_OK;
}

static bool
takes(const struct syn_kernel *kernel, unsigned count, const uint8_t *accesses)
{
    if (!kernel || kernel->operands_count != count)
        return false;
    for (unsigned i = 0; i < count; i++) {
        if (kernel->operands[i].access != accesses[i])
            return false;
    }
    return true;
}

static int
check_reduction(const struct syn_kernel_reduction *how, unsigned operand, struct syn_err *err)
{
    static const uint8_t init[] = {SYN_WRITE}, merge[] = {SYN_READ, SYN_UPDATE};

    if (!how)
        return SYN_FAIL(err, SYN_E_INVALID, "reductions[%u] is NULL", operand);
    if (!takes(how->init, SYN_LEN(init), init))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "reductions[%u]: init is no kernel that writes one operand", operand);
    if (!takes(how->merge, SYN_LEN(merge), merge))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "reductions[%u]: merge is no kernel that reads one operand and "
                        "updates another",
                        operand);
    if (how->params_count > how->init->params_count || how->params_count > how->merge->params_count)
        return SYN_FAIL(err, SYN_E_INVALID, "reductions[%u]: its kernels do not take %u parameters",
                        operand, how->params_count);
    return SYN_OK;
}

static int
check_operands(const struct syn_kernel *kernel, struct syn_err *err)
{
    int rc = SYN_OK;

    for (unsigned i = 0; i < kernel->operands_count; i++) {
        const struct syn_kernel_operand *operand = &kernel->operands[i];

        if (!is_name(operand->name))
            return SYN_FAIL(err, SYN_E_INVALID, "operands[%u].name is none", i);
        if (operand->access == 0 || (operand->access & SYN_UPDATE) == 0)
            return SYN_FAIL(err, SYN_E_INVALID, "operands[%u].access is none", i);
        if (operand->dims_min > operand->dims_max || operand->dims_max > SYN_DIMS_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "operands[%u].dims_max is out of its limits", i);
        if (operand->access == SYN_REDUCE)
            rc = check_reduction(kernel->reductions[i], i, err);
        if (rc < 0)
            return rc;
        for (unsigned k = 0; k < i; k++) {
            if (strcmp(kernel->operands[k].name, operand->name) == 0)
                return SYN_FAIL(err, SYN_E_INVALID, "operands[%u].name is operands[%u]'s too", i,
                                k);
        }
    }
    for (unsigned i = 0; i < kernel->params_count; i++) {
        if (!is_name(kernel->params[i].name))
            return SYN_FAIL(err, SYN_E_INVALID, "params[%u].name is none", i);
    }
    return SYN_OK;
}

static int
check_split(const struct syn_kernel *kernel, unsigned index, struct syn_err *err)
{
    const struct syn_kernel_split *split = &kernel->splits[index];
    bool cut = false;

    if (split->grain == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "splits[%u].grain is 0", index);
    for (unsigned i = 0; i < kernel->operands_count; i++) {
        if (split->dim[i] >= kernel->operands[i].dims_min)
            return SYN_FAIL(err, SYN_E_INVALID, "splits[%u].dim[%u] is not always there", index, i);
        if (split->dim[i] < 0 && kernel->operands[i].access != SYN_READ &&
            kernel->operands[i].access != SYN_REDUCE)
            return SYN_FAIL(err, SYN_E_INVALID, "splits[%u].dim[%u]: every piece would write it",
                            index, i);
        cut = cut || split->dim[i] >= 0;
    }
    return cut ? SYN_OK : SYN_FAIL(err, SYN_E_INVALID, "splits[%u] cuts nothing", index);
}

static int
check_impl(const struct syn_kernel *kernel, unsigned index, struct syn_err *err)
{
    const struct syn_kernel_impl *impl = &kernel->impls[index];

    if (impl->format >= SYN_FORMATS)
        return SYN_FAIL(err, SYN_E_INVALID, "impls[%u].format is none", index);
    if (impl->kinds == 0 || impl->kinds >= UINT32_C(1) << SYN_KINDS)
        return SYN_FAIL(err, SYN_E_INVALID, "impls[%u].kinds is no set of kinds", index);
    if (impl->dtypes >= UINT32_C(1) << SYN_DTYPES)
        return SYN_FAIL(err, SYN_E_INVALID, "impls[%u].dtypes is no set of formats", index);
    if (impl->format == SYN_FORMAT_NATIVE && !impl->run)
        return SYN_FAIL(err, SYN_E_INVALID, "impls[%u].run is NULL", index);
    if (impl->format != SYN_FORMAT_NATIVE && !impl->source)
        return SYN_FAIL(err, SYN_E_INVALID, "impls[%u].source is NULL", index);
    if (impl->format != SYN_FORMAT_NATIVE && !impl->plan)
        return SYN_FAIL(err, SYN_E_INVALID, "impls[%u].plan is NULL", index);
    return SYN_OK;
}

static int
check_table(const struct syn_kernel *kernel, struct syn_err *err)
{
    int rc = SYN_OK;

    if ((unsigned)kernel->operation >= SYN_OPERATIONS)
        return SYN_FAIL(err, SYN_E_INVALID, "operation is none");
    if (!kernel->work)
        return SYN_FAIL(err, SYN_E_INVALID, "work is NULL");
    if (kernel->operands_count == 0 || kernel->impls_count == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "%s_count is 0",
                        kernel->operands_count == 0 ? "operands" : "impls");
    rc = check_count("operands", kernel->operands_count, SYN_OPERANDS_MAX, kernel->operands, err);
    if (rc == SYN_OK)
        rc =
            check_count("params", kernel->params_count, SYN_KERNEL_PARAMS_MAX, kernel->params, err);
    if (rc == SYN_OK)
        rc =
            check_count("splits", kernel->splits_count, SYN_KERNEL_SPLITS_MAX, kernel->splits, err);
    if (rc == SYN_OK)
        rc = check_count("impls", kernel->impls_count, SYN_KERNEL_IMPLS_MAX, kernel->impls, err);
    rc = rc < 0 ? rc : check_operands(kernel, err);
    for (unsigned i = 0; rc == SYN_OK && i < kernel->splits_count; i++)
        rc = check_split(kernel, i, err);
    for (unsigned i = 0; rc == SYN_OK && i < kernel->impls_count; i++)
        rc = check_impl(kernel, i, err);
    return rc;
}

int
syn_kernel_check(const struct syn_kernel *kernel, struct syn_err *err)
{
    int rc;

    if (!is_name(kernel->name))
        return SYN_FAIL(err, SYN_E_INVALID, "a kernel's name is 1 to %d printable characters",
                        SYN_KERNEL_NAME_MAX - 1);
    rc = check_table(kernel, err);
    return rc < 0 ? syn_err_wrap(err, rc, "kernel %s", kernel->name) : SYN_OK;
}

/* Calls. */

void
syn_kernel_call_init(struct syn_kernel_call *ret_call, const struct syn_kernel *kernel)
{
    *ret_call = (struct syn_kernel_call){.kernel = kernel};
    for (unsigned i = 0; i < kernel->params_count; i++)
        ret_call->params[i] = kernel->params[i].value;
}

int
syn_kernel_set(struct syn_kernel_call *call, const char *param, double value, struct syn_err *err)
{
    const struct syn_kernel *kernel = call->kernel;
    char names[160] = "none";
    size_t len = 0;

    for (unsigned i = 0; i < kernel->params_count; i++) {
        if (strcmp(kernel->params[i].name, param) == 0) {
            call->params[i] = value;
            return SYN_OK;
        }
        if (len < sizeof(names))
            len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", i > 0 ? ", " : "",
                                    kernel->params[i].name);
    }
    return SYN_FAIL(err, SYN_E_INVALID, "kernel %s: no parameter %.32s; it has %s", kernel->name,
                    param, names);
}

int
syn_kernel_operand_find(const struct syn_kernel *kernel, const char *name, unsigned *ret_operand,
                        struct syn_err *err)
{
    char names[160] = "";
    size_t len = 0;

    for (unsigned i = 0; i < kernel->operands_count; i++) {
        if (strcmp(kernel->operands[i].name, name) == 0) {
            *ret_operand = i;
            return SYN_OK;
        }
        if (len < sizeof(names))
            len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", i > 0 ? ", " : "",
                                    kernel->operands[i].name);
    }
    return SYN_FAIL(err, SYN_E_INVALID, "kernel %s: no operand %.32s; it has %s", kernel->name,
                    name, names);
}

static int
check_params(const struct syn_kernel_call *call, struct syn_err *err)
{
    for (unsigned i = 0; i < call->kernel->params_count; i++) {
        const struct syn_kernel_param *param = &call->kernel->params[i];
        double value = call->params[i];

        if (isnan(value))
            return SYN_FAIL(err, SYN_E_INVALID, "parameter %s must be given", param->name);
        if (param->whole && (fabs(value) > WHOLE_MAX || value != trunc(value)))
            return SYN_FAIL(err, SYN_E_INVALID, "parameter %s is %g, not an integer", param->name,
                            value);
    }
    return SYN_OK;
}

static int
check_shape(const struct syn_kernel_call *call, unsigned index, struct syn_err *err)
{
    const struct syn_kernel_operand *operand = &call->kernel->operands[index];
    const struct syn_shape *shape = call->operands[index].shape;

    if (!shape)
        return SYN_FAIL(err, SYN_E_INVALID, "%s is missing", operand->name);
    if ((unsigned)shape->dtype >= SYN_DTYPES)
        return SYN_FAIL(err, SYN_E_INVALID, "%s is of no number format", operand->name);
    if (shape->dims < operand->dims_min || shape->dims > operand->dims_max)
        return SYN_FAIL(err, SYN_E_INVALID,
                        operand->dims_min == operand->dims_max
                            ? "%s has %u dimensions, not %u"
                            : "%s has %u dimensions, not %u to %u",
                        operand->name, shape->dims, operand->dims_min, operand->dims_max);
    for (unsigned i = 0; i < shape->dims; i++) {
        if (shape->sizes[i] == 0 || shape->strides[i] == 0)
            return SYN_FAIL(err, SYN_E_INVALID, "%s: size or stride of dimension %u is 0",
                            operand->name, i);
    }
    return SYN_OK;
}

int
syn_kernel_check_call(const struct syn_kernel_call *call, struct syn_err *err)
{
    const struct syn_kernel *kernel = call->kernel;
    int rc = SYN_OK;

    for (unsigned i = 0; rc == SYN_OK && i < kernel->operands_count; i++)
        rc = check_shape(call, i, err);
    rc = rc < 0 ? rc : check_params(call, err);
    if (rc == SYN_OK && kernel->check)
        rc = kernel->check(call, err);
    return rc < 0 ? syn_err_wrap(err, rc, "kernel %s", kernel->name) : SYN_OK;
}

enum syn_access
syn_kernel_access(const struct syn_kernel_call *call, unsigned operand)
{
    assert(operand < call->kernel->operands_count);
    if (call->kernel->access)
        return call->kernel->access(call, operand);
    return (enum syn_access)call->kernel->operands[operand].access;
}

uint64_t
syn_kernel_pieces(const struct syn_kernel_call *call, unsigned split)
{
    const struct syn_kernel *kernel = call->kernel;
    const struct syn_kernel_split *how = &kernel->splits[split];
    uint64_t size = UINT64_MAX;

    assert(split < kernel->splits_count);
    if (how->applies && !how->applies(call))
        return 1;
    for (unsigned i = 0; i < kernel->operands_count; i++) {
        if (how->dim[i] >= 0)
            size = SYN_MIN(size, syn_shape_of(call, i)->sizes[how->dim[i]]);
    }
    return SYN_MAX(size / how->grain, UINT64_C(1));
}

/* Implementations. */

static bool
impl_fits(const struct syn_kernel_impl *impl, const struct syn_kernel_call *call,
          const struct syn_device_info *device)
{
    /* What a modelled device runs is always the host's to run. */
    bool kind = (impl->kinds & SYN_BIT(device->kind)) ||
                (device->modelled && impl->format == SYN_FORMAT_NATIVE);

    if (!kind || !(device->formats & SYN_BIT(impl->format)))
        return false;
    if (!call)
        return true;
    if (impl->dtypes != 0 && !(impl->dtypes & SYN_BIT(syn_shape_of(call, 0)->dtype)))
        return false;
    return !impl->fits || impl->fits(call, device);
}

const struct syn_kernel_impl *
syn_kernel_pick(const struct syn_kernel *kernel, const struct syn_kernel_call *call,
                const struct syn_device_info *device)
{
    struct syn_work work = {0};

    if (call)
        kernel->work(call, &work);
    if (work.flops > 0 && !(device->dtypes & SYN_BIT(work.dtype)))
        return NULL;
    for (unsigned i = 0; i < kernel->impls_count; i++) {
        if (impl_fits(&kernel->impls[i], call, device))
            return &kernel->impls[i];
    }
    return NULL;
}
