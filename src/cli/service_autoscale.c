/* From --autoscale... to spec.autoscale. What an option says is checked by the server; here only
 * the form is taken apart. */
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>
#include <synor/base/units.h>

#include "service_priv.h"

#define SCRAPED      "prometheus:"
#define REPLICAS_MAX 10000 /* the server says what it allows */

/* "2-10", or "4" for both. */
static int
parse_range(const char *text, int64_t *ret_min, int64_t *ret_max, struct syn_err *err)
{
    const char *dash = strchr(text, '-');
    char first[16] = "";
    size_t len = dash != NULL ? (size_t)(dash - text) : strlen(text);

    if (len < sizeof(first))
        memcpy(first, text, len);
    if (syn_parse_i64(first, 0, REPLICAS_MAX, "", ret_min, NULL) < 0 ||
        syn_parse_i64(dash != NULL ? dash + 1 : first, 0, REPLICAS_MAX, "", ret_max, NULL) < 0)
        return SYN_FAIL(
            err, SYN_E_INVALID,
            "--autoscale: expected MIN-MAX replicas such as 2-10, or off, got \"%.40s\"", text);
    return SYN_OK;
}

static int
set_range(const struct syn_cli *cli, json_t *autoscale, struct syn_err *err)
{
    int64_t min, max;
    int rc;

    if (!syn_cli_has(cli, "autoscale"))
        return SYN_OK;
    rc = parse_range(syn_cli_text(cli, "autoscale", ""), &min, &max, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(autoscale, "min", min, err);
    return rc < 0 ? rc : syn_json_set_i64(autoscale, "max", max, err);
}

/* "prometheus:PORT/PATH,SERIES,TARGET", of which PORT may be left out, and SERIES have commas. */
static int
scraped_metric(const char *text, json_t **ret, struct syn_err *err)
{
    const char *port = text + strlen(SCRAPED) + (text[strlen(SCRAPED)] == ':');
    const char *path = strchr(text, '/');
    const char *series = path != NULL ? strchr(path, ',') : NULL;
    const char *target = series != NULL ? strrchr(series + 1, ',') : NULL;
    char number[8] = "0", metric[256];
    int64_t at = 0;

    if (target == NULL || (size_t)(path - port) >= sizeof(number))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "--autoscale-metric: expected prometheus:PORT/PATH,NAME{label=\"value\"},"
                        "TARGET, got \"%.120s\"",
                        text);
    series++;
    if (path > port)
        (void)snprintf(number, sizeof(number), "%.*s", (int)(path - port), port);
    if (syn_parse_i64(number, 0, UINT16_MAX, "--autoscale-metric: the port", &at, err) < 0)
        return SYN_E_INVALID;
    (void)snprintf(metric, sizeof(metric), "custom:%.*s", (int)strcspn(series, "{,"), series);
    return syn_json_pack(ret, err, "{s:s, s:s, s:{s:I, s:s%, s:s%}}", "metric", metric, "target",
                         target + 1, "scrape", "port", (json_int_t)at, "path", path,
                         (size_t)(series - 1 - path), "series", series, (size_t)(target - series));
}

/* "cpu=70%" */
static int
told_metric(const char *text, json_t **ret, struct syn_err *err)
{
    const char *equals = strchr(text, '=');

    if (equals == NULL)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "--autoscale-metric: expected NAME=TARGET such as cpu=70%%, got \"%s\"",
                        text);
    return syn_json_pack(ret, err, "{s:s%, s:s}", "metric", text, (size_t)(equals - text), "target",
                         equals + 1);
}

static int
set_metrics(const struct syn_cli *cli, json_t *autoscale, struct syn_err *err)
{
    const struct syn_cli_value *value;
    json_t *list;
    size_t cursor = 0;
    int rc;

    if (!syn_cli_has(cli, "autoscale-metric"))
        return SYN_OK;
    list = json_array();
    rc = syn_json_set_take(autoscale, "metrics", list, err);
    while (rc == SYN_OK && (value = syn_cli_next(cli, "autoscale-metric", &cursor)) != NULL) {
        json_t *row = NULL;

        rc = syn_str_starts(value->text, SCRAPED) ? scraped_metric(value->text, &row, err)
                                                  : told_metric(value->text, &row, err);
        if (rc == SYN_OK)
            rc = syn_json_append_take(list, row, err);
    }
    return rc;
}

/* One KEY=VALUE of a window. */
static int
set_part(json_t *window, const char *key, const char *value, struct syn_err *err)
{
    static const char *const texts[] = {"cron", "zone"};
    static const char *const numbers[] = {"min", "max"};
    int64_t number;
    int rc;

    for (size_t i = 0; i < SYN_LEN(texts); i++)
        if (syn_str_eq(key, texts[i]))
            return syn_json_set_str(window, key, value, err);
    for (size_t i = 0; i < SYN_LEN(numbers); i++)
        if (syn_str_eq(key, numbers[i])) {
            rc = syn_parse_i64(value, 0, REPLICAS_MAX, key, &number, err);
            return rc < 0 ? rc : syn_json_set_i64(window, key, number, err);
        }
    if (!syn_str_eq(key, "for"))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "\"%.40s\": expected cron=, zone=, for=, min= and max=, separated by ;",
                        key);
    rc = syn_parse_duration_ms(value, key, &number, err);
    return rc < 0 ? rc : syn_json_set_i64(window, "for_ms", number, err);
}

/* "cron=0 8 * * mon-fri;zone=Europe/Berlin;for=10h;min=4" */
static int
window_of(const char *text, json_t **ret, struct syn_err *err)
{
    char copy[512];
    char *part = copy;
    int rc = SYN_OK;
    SYN_JSON(window);

    window = json_object();
    if (window == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a schedule");
    if (!syn_str_copy(copy, sizeof(copy), text))
        return SYN_FAIL(err, SYN_E_INVALID, "longer than %zu bytes", sizeof(copy) - 1);
    while (part != NULL && rc == SYN_OK) {
        char *end = strchr(part, ';');
        char *equals;

        if (end != NULL)
            *end++ = '\0';
        equals = strchr(part, '=');
        if (equals != NULL)
            *equals++ = '\0';
        rc = set_part(window, part, equals != NULL ? equals : "", err);
        part = end;
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(window);
    return rc;
}

static int
set_schedule(const struct syn_cli *cli, json_t *autoscale, struct syn_err *err)
{
    const struct syn_cli_value *value;
    json_t *list;
    size_t cursor = 0;
    int rc;

    if (!syn_cli_has(cli, "autoscale-schedule"))
        return SYN_OK;
    list = json_array();
    rc = syn_json_set_take(autoscale, "schedule", list, err);
    while (rc == SYN_OK && (value = syn_cli_next(cli, "autoscale-schedule", &cursor)) != NULL) {
        json_t *row = NULL;

        rc = window_of(value->text, &row, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "--autoscale-schedule");
        rc = syn_json_append_take(list, row, err);
    }
    return rc;
}

int
syn_cli_service_autoscale(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    static const struct syn_cli_spec_key numbers[] = {
        {"autoscale-idle", "idle_ms"},
        {"autoscale-lead", "lead_ms"},
    };
    static const char *const all[] = {"autoscale-metric", "autoscale-schedule", "autoscale-idle",
                                      "autoscale-lead", "autoscale-window"};
    json_t *autoscale = json_object_get(spec, "autoscale");
    bool asked = syn_cli_has(cli, "autoscale");
    json_t *down;
    int rc = SYN_OK;

    for (size_t i = 0; i < SYN_LEN(all); i++)
        asked = asked || syn_cli_has(cli, all[i]);
    if (!asked)
        return SYN_OK;
    if (syn_str_eq(syn_cli_text(cli, "autoscale", ""), "off"))
        return syn_json_set_take(spec, "autoscale", json_null(), err);
    if (!json_is_object(autoscale)) {
        if (!syn_cli_has(cli, "autoscale"))
            return SYN_FAIL(err, SYN_E_INVALID,
                            "--autoscale MIN-MAX is missing: how many replicas may there be?");
        autoscale = json_object();
        rc = syn_json_set_take(spec, "autoscale", autoscale, err);
    }
    if (rc == SYN_OK)
        rc = set_range(cli, autoscale, err);
    if (rc == SYN_OK)
        rc = set_metrics(cli, autoscale, err);
    if (rc == SYN_OK)
        rc = set_schedule(cli, autoscale, err);
    if (rc == SYN_OK)
        rc = syn_cli_spec_numbers(cli, numbers, SYN_LEN(numbers), autoscale, err);
    if (rc < 0 || !syn_cli_has(cli, "autoscale-window"))
        return rc;
    down = json_object_get(autoscale, "down");
    if (down == NULL) {
        down = json_object();
        rc = syn_json_set_take(autoscale, "down", down, err);
    }
    return rc < 0 ? rc
                  : syn_json_set_i64(down, "stabilise_ms",
                                     syn_cli_number(cli, "autoscale-window", 0), err);
}
