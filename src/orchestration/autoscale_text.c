/* Metrics as people write them. */
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>
#include <synor/base/units.h>

#include "autoscale_priv.h"

#define CUSTOM "custom:"

const char *
syn_autoscale_metric_key(const struct syn_autoscale_metric *metric, char out[SYN_AUTOSCALE_KEY_MAX])
{
    (void)snprintf(out, SYN_AUTOSCALE_KEY_MAX, "%s%s%s", syn_autoscale_kind_name(metric->kind),
                   *metric->name ? ":" : "", metric->name);
    return out;
}

/* "2.5", "70%" in thousandths, exactly. */
static bool
parse_thousandths(const char *text, int64_t *ret)
{
    const char *at = text;
    int64_t whole = 0;
    int decimals = -1; /* no point yet */
    bool digits = false, percent;

    for (; (*at >= '0' && *at <= '9') || (*at == '.' && decimals < 0); at++) {
        if (*at == '.') {
            decimals = 0;
            continue;
        }
        if (whole > SYN_AUTOSCALE_VALUE_MAX)
            return false;
        digits = true;
        decimals += decimals >= 0;
        whole = whole * 10 + (*at - '0');
    }
    percent = *at == '%';
    if (!digits || decimals == 0 || at[percent] != '\0')
        return false;
    for (decimals = SYN_MAX(decimals, 0); decimals < (percent ? 1 : 3); decimals++) {
        if (whole > SYN_AUTOSCALE_VALUE_MAX)
            return false;
        whole *= 10;
    }
    if (decimals > (percent ? 1 : 3) || whole <= 0 || whole > SYN_AUTOSCALE_VALUE_MAX)
        return false;
    *ret = whole;
    return true;
}

int
syn_autoscale_parse_target(const char *text, const char *what, int64_t *ret, struct syn_err *err)
{
    if (parse_thousandths(text, ret))
        return SYN_OK;
    return SYN_FAIL(err, SYN_E_INVALID,
                    "%s: expected a number above 0 such as 70%% or 2.5, of three decimals at most, "
                    "got \"%.40s\"",
                    what, text);
}

/* A custom metric's name, as Prometheus has them. */
static bool
name_ok(const char *name, size_t len)
{
    if (len == 0 || len >= SYN_AUTOSCALE_NAME_MAX || (*name >= '0' && *name <= '9'))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z') ||
              (name[i] >= '0' && name[i] <= '9') || name[i] == '_' || name[i] == ':'))
            return false;
    return true;
}

int
syn_autoscale_parse_metric(const char *text, struct syn_autoscale_metric *ret, struct syn_err *err)
{
    const char *equals = strchr(text, '=');
    size_t len = equals ? (size_t)(equals - text) : 0;
    struct syn_autoscale_metric metric = {.kind = SYN_AUTOSCALE_KINDS};
    char what[SYN_AUTOSCALE_KEY_MAX];
    int rc;

    for (unsigned i = 0; i < SYN_AUTOSCALE_CUSTOM; i++)
        if (len == strlen(syn_autoscale_kind_name(i)) &&
            strncmp(text, syn_autoscale_kind_name(i), len) == 0)
            metric.kind = (enum syn_autoscale_kind)i;
    if (equals && syn_str_starts(text, CUSTOM) &&
        name_ok(text + strlen(CUSTOM), len - strlen(CUSTOM))) {
        metric.kind = SYN_AUTOSCALE_CUSTOM;
        memcpy(metric.name, text + strlen(CUSTOM), len - strlen(CUSTOM));
    }
    if (metric.kind == SYN_AUTOSCALE_KINDS)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "expected cpu=70%%, memory=80%%, requests=50, inflight=8, queue=100 or "
                        "custom:NAME=2.5, got \"%.60s\"",
                        text);
    rc = syn_autoscale_parse_target(equals + 1, syn_autoscale_metric_key(&metric, what),
                                    &metric.target, err);
    if (rc == SYN_OK)
        *ret = metric;
    return rc;
}

const char *
syn_autoscale_format(enum syn_autoscale_kind kind, int64_t value, char *out)
{
    bool share = kind == SYN_AUTOSCALE_CPU || kind == SYN_AUTOSCALE_MEMORY;
    long long whole = share ? value / 10 : value / 1000;
    int rest = (int)(share ? value % 10 : value % 1000);
    size_t len =
        (size_t)snprintf(out, SYN_FORMAT_MAX, share ? "%lld.%d" : "%lld.%03d", whole, rest);

    while (out[len - 1] == '0')
        out[--len] = '\0';
    if (out[len - 1] == '.')
        out[--len] = '\0';
    if (share)
        (void)snprintf(out + len, SYN_FORMAT_MAX - len, "%%");
    return out;
}
