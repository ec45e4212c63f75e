/* The tensors of compute run-graph: their first content, and a summary of their last. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "run_graph_priv.h"

#define FIRST_MAX 8 /* elements that a summary shows */

/* --- content --------------------------------------------------------------------------------- */

/* What a document names lies beside it. */
static int
place_of(const struct syn_run *run, const char *path, char *out, size_t cap, struct syn_err *err)
{
    const char *slash = strrchr(run->path, '/');
    int folder = slash != NULL ? (int)(slash - run->path) + 1 : 0;
    int len;

    if (path[0] == '/' || syn_str_eq(run->path, "-"))
        folder = 0;
    len = snprintf(out, cap, "%.*s%s", folder, run->path, path);
    if (len < 0 || (size_t)len >= cap)
        return SYN_FAIL(err, SYN_E_INVALID, "%.80s...: longer than %zu bytes", path, cap - 1);
    return SYN_OK;
}

static int
read_whole(int fd, const char *path, char *data, uint64_t bytes, struct syn_err *err)
{
    struct stat what;
    uint64_t done = 0;
    ssize_t got = 1;

    if (fstat(fd, &what) != 0)
        return SYN_FAIL_SYS(err, errno, "%s", path);
    if (S_ISREG(what.st_mode) && (uint64_t)what.st_size != bytes)
        return SYN_FAIL(err, SYN_E_INVALID, "%s has %" PRId64 " bytes, the tensor takes %" PRIu64,
                        path, (int64_t)what.st_size, bytes);
    while (done < bytes && got > 0) {
        got = read(fd, data + done, SYN_MIN(bytes - done, (uint64_t)1 << 30));
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got > 0)
            done += (uint64_t)got;
    }
    if (got < 0)
        return SYN_FAIL_SYS(err, errno, "%s", path);
    if (done < bytes)
        return SYN_FAIL(err, SYN_E_INVALID, "%s ends after %" PRIu64 " of %" PRIu64 " bytes", path,
                        done, bytes);
    return SYN_OK;
}

static int
load(const struct syn_run *run, const struct syn_graph_tensor *tensor, void *data,
     struct syn_err *err)
{
    char path[SYN_GRAPH_FILE_PATH_MAX * 2];
    int rc = place_of(run, tensor->path, path, sizeof(path), err);
    int fd;

    if (rc < 0)
        return rc;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "%s", path);
    rc = read_whole(fd, path, data, syn_shape_span(&tensor->shape), err);
    (void)close(fd);
    return rc;
}

static int
fill(struct syn_run *run, uint32_t index, struct syn_err *err)
{
    const struct syn_graph_tensor *tensor = &run->file->tensors[index];
    void *data = NULL;
    int rc =
        syn_tensor_new(syn_engine_memory(run->engine), &tensor->shape, &run->tensors[index], err);

    if (rc < 0 || tensor->init == SYN_GRAPH_INIT_NONE)
        return rc;
    rc = syn_engine_map(run->engine, run->tensors[index], SYN_WRITE, &data, err);
    if (rc < 0)
        return rc;
    if (tensor->init == SYN_GRAPH_INIT_FILE)
        rc = load(run, tensor, data, err);
    else
        syn_graph_tensor_fill(tensor, data);
    syn_engine_unmap(run->engine, run->tensors[index]);
    return rc;
}

int
syn_run_fill(struct syn_run *run, struct syn_err *err)
{
    for (uint32_t i = 0; i < run->file->tensors_count; i++) {
        int rc = fill(run, i, err);

        if (rc < 0)
            return syn_err_wrap(err, rc, "tensors.%s", run->file->tensors[i].name);
    }
    return SYN_OK;
}

int
syn_run_find(const struct syn_run *run, const char *name, size_t *ret_index, struct syn_err *err)
{
    SYN_BUF(names);

    for (uint32_t i = 0; i < run->file->tensors_count; i++) {
        if (syn_str_eq(run->file->tensors[i].name, name)) {
            *ret_index = i;
            return SYN_OK;
        }
        syn_buf_addf(&names, " %s", run->file->tensors[i].name);
    }
    return SYN_FAIL(err, SYN_E_NOTFOUND, "no tensor is called %.64s; there are:%s", name,
                    syn_buf_text(&names));
}

/* --- summaries ------------------------------------------------------------------------------- */

/* Formats narrower than 4 bytes that are no integers are told by their bytes alone. */
static bool
is_readable(const struct syn_dtype_info *info)
{
    return info->bits % 8 == 0 && (info->bits >= 32 || (info->family != SYN_DTYPE_FLOAT &&
                                                        info->family != SYN_DTYPE_COMPLEX));
}

static long double
number_at(const struct syn_dtype_info *info, const char *at)
{
    bool complex = info->family == SYN_DTYPE_COMPLEX;
    size_t bytes = info->bits / 8 / (complex ? 2 : 1);
    float narrow;
    double wide;
    uint64_t whole = 0;

    if (complex || info->family == SYN_DTYPE_FLOAT) {
        memcpy(bytes == sizeof(float) ? (void *)&narrow : &wide, at, bytes);
        return bytes == sizeof(float) ? (long double)narrow : (long double)wide;
    }
    memcpy(&whole, at, bytes); /* little endian, as every machine that this runs on */
    if (info->family == SYN_DTYPE_UNSIGNED)
        return (long double)whole;
    return (long double)((int64_t)(whole << (64 - info->bits)) >> (64 - info->bits));
}

/* As JSON has it: no fraction for integers, null for what is no number. */
static json_t *
number_json(const struct syn_dtype_info *info, long double number)
{
    if (!isfinite(number))
        return json_null();
    if (info->family != SYN_DTYPE_FLOAT && info->family != SYN_DTYPE_COMPLEX &&
        fabsl(number) < 0x1p63L)
        return json_integer((json_int_t)number);
    return json_real((double)number);
}

struct summary {
    const struct syn_dtype_info *info;
    long double sum[2], min, max;
    uint64_t numbers, nan; /* of parts, where elements are complex */
};

static void
add_element(struct summary *summary, const char *at)
{
    bool complex = summary->info->family == SYN_DTYPE_COMPLEX;

    for (unsigned part = 0; part < (complex ? 2U : 1U); part++) {
        long double number = number_at(summary->info, at + part * summary->info->bits / 16);

        if (isnan(number)) {
            summary->nan++;
            continue;
        }
        if (summary->numbers == 0 || number < summary->min)
            summary->min = number;
        if (summary->numbers == 0 || number > summary->max)
            summary->max = number;
        summary->sum[part] += number;
        summary->numbers++;
    }
}

/* Where element `index`, in the order of rows, lies in a packed tensor. */
static uint64_t
place_at(const struct syn_shape *shape, uint64_t index)
{
    uint64_t at = 0;

    for (unsigned i = shape->dims; i > 0; i--) {
        at += index % shape->sizes[i - 1] * shape->strides[i - 1];
        index /= shape->sizes[i - 1];
    }
    return at;
}

static int
add_first(json_t *list, const struct syn_dtype_info *info, const char *at, struct syn_err *err)
{
    json_t *one = number_json(info, number_at(info, at));

    if (info->family == SYN_DTYPE_COMPLEX)
        one = json_pack("[o, o]", one, number_json(info, number_at(info, at + info->bits / 16)));
    return syn_json_append_take(list, one, err);
}

static int
add_numbers(json_t *made, const struct syn_shape *shape, const char *data, struct syn_err *err)
{
    struct summary all = {.info = syn_dtype_info(shape->dtype)};
    size_t bytes = all.info->bits / 8;
    bool complex = all.info->family == SYN_DTYPE_COMPLEX;
    uint64_t count = syn_shape_count(shape);
    SYN_JSON(first);
    int rc = syn_json_pack(&first, err, "[]");

    for (uint64_t i = 0; i < count; i++) /* packed: in the order of memory */
        add_element(&all, data + i * bytes);
    for (uint64_t i = 0; rc == SYN_OK && i < count && i < FIRST_MAX; i++)
        rc = add_first(first, all.info, data + place_at(shape, i) * bytes, err);
    if (rc == SYN_OK && !complex) {
        bool any = all.numbers > 0;

        rc =
            syn_json_set_take(made, "min", any ? number_json(all.info, all.min) : json_null(), err);
        rc = rc < 0 ? rc
                    : syn_json_set_take(made, "max",
                                        any ? number_json(all.info, all.max) : json_null(), err);
        rc = rc < 0 ? rc : syn_json_set_take(made, "sum", number_json(all.info, all.sum[0]), err);
    } else if (rc == SYN_OK) {
        rc = syn_json_set_take(made, "sum",
                               json_pack("[o, o]", number_json(all.info, all.sum[0]),
                                         number_json(all.info, all.sum[1])),
                               err);
    }
    rc = rc < 0 ? rc : syn_json_set_i64(made, "nan", (int64_t)all.nan, err);
    return rc < 0 ? rc : syn_json_set_take(made, "first", SYN_TAKE(first), err);
}

/* FNV-1a: tells equal content from other, and is no proof against anybody. */
static uint64_t
checksum(const unsigned char *data, uint64_t bytes)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (uint64_t i = 0; i < bytes; i++)
        hash = (hash ^ data[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static int
summarise(const struct syn_graph_tensor *tensor, const void *data, json_t **ret,
          struct syn_err *err)
{
    const struct syn_shape *shape = &tensor->shape;
    uint64_t bytes = syn_shape_span(shape);
    char hex[17];
    SYN_JSON(made);
    SYN_JSON(sizes);
    int rc = syn_json_pack(&sizes, err, "[]");

    (void)snprintf(hex, sizeof(hex), "%016" PRIx64, checksum(data, bytes));
    for (unsigned i = 0; rc == SYN_OK && i < shape->dims; i++)
        rc = syn_json_append_take(sizes, json_integer((json_int_t)shape->sizes[i]), err);
    rc = rc < 0 ? rc
                : syn_json_pack(&made, err, "{s:s, s:s, s:O, s:I, s:s}", "tensor", tensor->name,
                                "dtype", syn_dtype_name(shape->dtype), "shape", sizes, "bytes",
                                (json_int_t)bytes, "fnv1a64", hex);
    if (rc == SYN_OK && is_readable(syn_dtype_info(shape->dtype)))
        rc = add_numbers(made, shape, data, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(made);
    return rc;
}

int
syn_run_result(struct syn_run *run, size_t index, json_t **ret, struct syn_err *err)
{
    const struct syn_graph_tensor *tensor = &run->file->tensors[index];
    void *data = NULL;
    int rc = syn_engine_map(run->engine, run->tensors[index], SYN_READ, &data, err);

    if (rc < 0)
        return syn_err_wrap(err, rc, "result %s", tensor->name);
    rc = summarise(tensor, data, ret, err);
    syn_engine_unmap(run->engine, run->tensors[index]);
    return rc;
}
