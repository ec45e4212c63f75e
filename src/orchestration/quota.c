#include <synor/orchestration/quota.h>

#include <synor/base/units.h>

#define MESSAGE_MAX 300

static const struct {
    const char *key;
    const char *words;
    const char *option;
} dims[SYN_QUOTA_COUNT] = {
#define DIM_ROW(symbol, key, words, option) {key, words, option},
    SYN_QUOTA_TABLE(DIM_ROW)
#undef DIM_ROW
};

int
syn_quota_read(const json_t *obj, struct syn_quota *ret, struct syn_err *err)
{
    struct syn_quota quota;

    for (size_t i = 0; i < SYN_QUOTA_COUNT; i++) {
        const json_t *value = json_object_get(obj, dims[i].key);

        quota.limits[i] = SYN_QUOTA_NONE;
        if (value == NULL || json_is_null(value))
            continue;
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return SYN_FAIL(err, SYN_E_INVALID, "quota.%s: expected a number of 0 or more",
                            dims[i].key);
        quota.limits[i] = json_integer_value(value);
        if (i == SYN_QUOTA_GPUS)
            quota.limits[i] = SYN_MIN(quota.limits[i], INT64_MAX / SYN_QUOTA_GPU) * SYN_QUOTA_GPU;
    }
    *ret = quota;
    return SYN_OK;
}

bool
syn_quota_any(const struct syn_quota *quota)
{
    for (size_t i = 0; i < SYN_QUOTA_COUNT; i++) {
        if (quota->limits[i] != SYN_QUOTA_NONE)
            return true;
    }
    return false;
}

/* As a number in a document. */
static json_t *
amount_json(enum syn_quota_dim dim, int64_t amount)
{
    if (dim != SYN_QUOTA_GPUS || amount == INT64_MAX)
        return json_integer((json_int_t)amount);
    return amount % SYN_QUOTA_GPU == 0 ? json_integer((json_int_t)(amount / SYN_QUOTA_GPU))
                                       : json_real((double)amount / (double)SYN_QUOTA_GPU);
}

int
syn_holding_encode(const struct syn_holding *holding, json_t **ret, struct syn_err *err)
{
    SYN_JSON(obj);
    int rc = SYN_OK;

    obj = json_object();
    if (obj == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a holding");
    for (size_t i = 0; rc == SYN_OK && i < SYN_QUOTA_COUNT; i++)
        rc = syn_json_set_take(obj, dims[i].key,
                               amount_json((enum syn_quota_dim)i, holding->amounts[i]), err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(obj);
    return rc;
}

int64_t
syn_quota_room(const struct syn_quota *quota, const struct syn_holding *held,
               enum syn_quota_dim dim)
{
    assert(held->amounts[dim] >= 0);
    if (quota->limits[dim] == SYN_QUOTA_NONE)
        return INT64_MAX;
    return SYN_MAX(quota->limits[dim] - held->amounts[dim], 0);
}

/* What is not asked for is never over: an account that holds too much already, because its limit
 * was lowered, may go on with whatever needs nothing more of it. */
static bool
is_over(const struct syn_quota *quota, const struct syn_holding *held,
        const struct syn_holding *ask, enum syn_quota_dim dim)
{
    return ask->amounts[dim] > 0 && ask->amounts[dim] > syn_quota_room(quota, held, dim);
}

enum syn_quota_dim
syn_quota_over(const struct syn_quota *quota, const struct syn_holding *held,
               const struct syn_holding *ask)
{
    for (size_t i = 0; i < SYN_QUOTA_COUNT; i++) {
        if (is_over(quota, held, ask, (enum syn_quota_dim)i))
            return (enum syn_quota_dim)i;
    }
    return SYN_QUOTA_COUNT;
}

/* "1.5", "4 GiB", "3" into out[SYN_FORMAT_MAX]. */
static const char *
amount_text(enum syn_quota_dim dim, int64_t amount, char *out)
{
    if (dim == SYN_QUOTA_CPU || dim == SYN_QUOTA_GPUS) /* both are thousandths */
        return syn_format_cpus(amount, out);
    if (dim == SYN_QUOTA_MEMORY || dim == SYN_QUOTA_STORAGE)
        return syn_format_bytes(amount, out);
    (void)snprintf(out, SYN_FORMAT_MAX, "%lld", (long long)amount);
    return out;
}

void
syn_quota_say(const struct syn_quota *quota, const struct syn_holding *held,
              const struct syn_holding *ask, enum syn_quota_dim dim, char *out, size_t cap)
{
    char limit[SYN_FORMAT_MAX];
    char now[SYN_FORMAT_MAX];
    char more[SYN_FORMAT_MAX];

    assert(dim < SYN_QUOTA_COUNT);
    (void)snprintf(out, cap, "the account's quota of %s is %s: %s held, %s asked for",
                   dims[dim].words, amount_text(dim, quota->limits[dim], limit),
                   amount_text(dim, held->amounts[dim], now),
                   amount_text(dim, ask->amounts[dim], more));
}

static int fix_add(json_t *fix, struct syn_err *err, const char *format, ...) SYN_PRINTF(3, 4);

static int
fix_add(json_t *fix, struct syn_err *err, const char *format, ...)
{
    char text[MESSAGE_MAX];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return syn_json_append_take(fix, json_string(text), err);
}

/* Less of it, where less would do, and whom to ask. */
static int
explain_dim(const struct syn_quota *quota, const struct syn_holding *ask, enum syn_quota_dim dim,
            const char *account, json_t *fix, struct syn_err *err)
{
    static const struct syn_holding nothing = {{0}};
    char limit[SYN_FORMAT_MAX];
    int rc = SYN_OK;

    (void)amount_text(dim, quota->limits[dim], limit);
    if (is_over(quota, &nothing, ask, dim) && quota->limits[dim] > 0)
        rc = fix_add(fix, err, "ask for no more than %s in all: %s of all workers together", limit,
                     dims[dim].words);
    return rc < 0 ? rc
                  : fix_add(fix, err, "have an operator raise it: synor account quota %s %s MORE",
                            account, dims[dim].option);
}

int
syn_quota_explain(const struct syn_quota *quota, const struct syn_holding *held,
                  const struct syn_holding *ask, const char *account, json_t *why, json_t *fix,
                  struct syn_err *err)
{
    static const struct syn_holding nothing = {{0}};
    int rc = SYN_OK;

    if (syn_quota_over(quota, held, ask) == SYN_QUOTA_COUNT)
        return SYN_OK;
    for (size_t i = 0; rc == SYN_OK && i < SYN_QUOTA_COUNT; i++) {
        enum syn_quota_dim dim = (enum syn_quota_dim)i;
        char message[MESSAGE_MAX];
        SYN_JSON(row);

        if (!is_over(quota, held, ask, dim))
            continue;
        syn_quota_say(quota, held, ask, dim, message, sizeof(message));
        rc = syn_json_pack(&row, err, "{s:s, s:n, s:s}", "dimension", "quota", "node", "message",
                           message);
        if (rc == SYN_OK)
            rc = syn_json_set_take(row, "need", amount_json(dim, ask->amounts[i]), err);
        if (rc == SYN_OK)
            rc = syn_json_set_take(row, "have", amount_json(dim, syn_quota_room(quota, held, dim)),
                                   err);
        if (rc == SYN_OK)
            rc = syn_json_append_take(why, SYN_TAKE(row), err);
    }
    if (rc == SYN_OK && syn_quota_over(quota, &nothing, ask) == SYN_QUOTA_COUNT)
        rc = fix_add(fix, err, "wait for other work of the account to end: it starts by itself");
    for (size_t i = 0; rc == SYN_OK && i < SYN_QUOTA_COUNT; i++) {
        if (is_over(quota, held, ask, (enum syn_quota_dim)i))
            rc = explain_dim(quota, ask, (enum syn_quota_dim)i, account, fix, err);
    }
    return rc;
}
