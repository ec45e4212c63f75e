#include "work_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/image_ref.h>
#include <synor/base/json.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/orchestration/cost.h>
#include <synor/orchestration/document.h>

#define EVENT_MESSAGE_MAX 400
#define MONTH_HOURS       730

const char *
work_own_part(const json_t *doc)
{
    const char *id = syn_document_id(doc), *dash = strchr(id, '-');

    return dash && dash[1] ? dash + 1 : id;
}

int64_t
work_run(const json_t *doc)
{
    return syn_json_i64(syn_document_status(doc), "run", 0);
}

static bool
env_name_ok(const char *name)
{
    if (!*name || (*name >= '0' && *name <= '9'))
        return false;
    for (; *name; name++)
        if (!(*name == '_' || (*name >= '0' && *name <= '9') || (*name >= 'A' && *name <= 'Z') ||
              (*name >= 'a' && *name <= 'z')))
            return false;
    return true;
}

static bool
env_name_reserved(const char *name, const char *const *reserved, size_t count)
{
    if (syn_str_starts(name, "SYNOR_"))
        return true;
    for (size_t i = 0; i < count; i++)
        if (syn_str_eq(name, reserved[i]))
            return true;
    return false;
}

int
work_check_env(json_t *env, const char *const *reserved, size_t count, size_t bytes_max,
               struct syn_err *err)
{
    size_t total = 0;
    void *at;

    for (at = json_object_iter(env); at; at = json_object_iter_next(env, at)) {
        const char *name = json_object_iter_key(at);

        if (!env_name_ok(name))
            return SYN_FAIL(err, SYN_E_INVALID,
                            "spec.env: \"%s\" is no variable name; use letters, digits and _, not "
                            "beginning with a digit",
                            name);
        if (env_name_reserved(name, reserved, count))
            return SYN_FAIL(err, SYN_E_INVALID,
                            "spec.env: %s is set by the platform; choose another name", name);
        total += strlen(name) + json_string_length(json_object_iter_value(at)) + 2;
    }
    if (total > bytes_max)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.env: %zu bytes in all, at most %zu", total,
                        bytes_max);
    return SYN_OK;
}

int
work_check_secrets(json_t *secrets, const json_t *env, const char *const *reserved, size_t count,
                   size_t bytes_max, struct syn_err *err)
{
    const char *variable;
    json_t *name;
    int rc = work_check_env(secrets, reserved, count, bytes_max, err);

    if (rc < 0)
        return syn_err_wrap(err, rc, "spec.secrets");
    json_object_foreach (secrets, variable, name) {
        if (!syn_name_ok(json_string_value(name)))
            return SYN_FAIL(err, SYN_E_INVALID, "spec.secrets.%s: \"%.63s\" is no name of a secret",
                            variable, json_string_value(name));
        if (json_object_get(env, variable))
            return SYN_FAIL(err, SYN_E_INVALID, "spec.secrets.%s: spec.env sets it, too", variable);
    }
    return SYN_OK;
}

int
work_check_image(const char *image, struct syn_err *err)
{
    struct syn_image_ref ref;
    int rc;

    if (syn_str_starts(image, "synor://") && image[strlen("synor://")] != '\0')
        return SYN_OK;
    if (strstr(image, "://") != NULL)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.image: \"%.80s\" is no image; expected synor://NAME, synor://CID or "
                        "HOST/PATH:TAG of a registry",
                        image);
    rc = syn_image_ref_parse(image, &ref, err);
    return rc < 0 ? syn_err_wrap(err, SYN_E_INVALID, "spec") : SYN_OK;
}

int
work_event(json_t *events, const char *type, const char *reason, const char *instance,
           struct syn_err *err, const char *format, va_list args)
{
    char message[EVENT_MESSAGE_MAX];
    json_t *event = NULL;
    int rc;

    (void)vsnprintf(message, sizeof(message), format, args);
    rc = syn_json_pack(&event, err, "{s:s, s:s, s:s, s:s?}", "type", type, "reason", reason,
                       "message", message, "instance", instance);
    return rc < 0 ? rc : syn_json_append_take(events, event, err);
}

int
work_set_rates(json_t *obj, bool priced, int64_t rate_hour, struct syn_err *err)
{
    bool month = priced && rate_hour <= SYN_AMOUNT_MAX / MONTH_HOURS;
    int rc = priced ? syn_document_set_amount(obj, "rate_hour", rate_hour, err)
                    : syn_json_set_str(obj, "rate_hour", NULL, err);

    if (rc < 0)
        return rc;
    return month ? syn_document_set_amount(obj, "rate_month", rate_hour * MONTH_HOURS, err)
                 : syn_json_set_str(obj, "rate_month", NULL, err);
}

/* ---- alternatives ---- */

static bool
chosen(const struct work_placed *placed, const char *node)
{
    for (uint32_t i = 0; i < placed->slots; i++)
        if (syn_str_eq(placed->placement->slots[i].node, node))
            return true;
    return false;
}

/* Another node where some of it would fit as well. */
struct other {
    const struct syn_node_view *node;
    uint32_t members;
    int64_t rate_hour; /* of one; INT64_MAX: no price */
};

/* Cheapest first; what has no price comes last, and equals go by their ids. */
static int
other_order(const void *a, const void *b)
{
    const struct other *one = a, *two = b;

    if (one->rate_hour != two->rate_hour)
        return one->rate_hour < two->rate_hour ? -1 : 1;
    return strcmp(one->node->id, two->node->id);
}

/* Fill others[] with every such node; the caller has made room for all nodes. */
static int
find_others(const struct work_placed *placed, struct other *others, size_t *ret_count,
            struct syn_err *err)
{
    const struct syn_place_request *request = placed->request;
    size_t count = 0;

    syn_place_look(placed->cluster, request);
    for (size_t i = 0; i < syn_cluster_count(placed->cluster); i++) {
        const struct syn_node_view *node = syn_cluster_at(placed->cluster, i);
        uint32_t members = syn_place_fits(node, request);
        struct syn_cost cost;
        int rc;

        if (members == 0 || (request->one_node && members < request->count) ||
            chosen(placed, node->id))
            continue;
        rc = syn_cost_member(node, placed->book, request, &cost, err);
        if (rc < 0)
            return rc;
        others[count++] = (struct other){node, members, rc == SYN_OK ? cost.rate_hour : INT64_MAX};
    }
    *ret_count = count;
    return SYN_OK;
}

int
work_alternatives(const struct work_placed *placed, json_t *out, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct other *others = NULL;
    json_t *rows = json_array();
    size_t count = 0;
    int rc = syn_json_set_take(out, "alternatives", rows, err);

    if (rc < 0 || placed->slots == 0)
        return rc;
    others = syn_calloc(syn_cluster_count(placed->cluster) + 1, sizeof(*others));
    if (!others)
        return SYN_FAIL(err, SYN_E_NOMEM, "planning: out of memory");
    rc = find_others(placed, others, &count, err);
    if (rc == SYN_OK)
        qsort(others, count, sizeof(*others), other_order);
    for (size_t i = 0; i < count && i < WORK_ALTERNATIVES_MAX && rc == SYN_OK; i++) {
        json_t *row = NULL;

        rc = syn_json_pack(&row, err, "{s:s, s:i, s:s}", "node", others[i].node->id, placed->count,
                           (int)others[i].members, "region", others[i].node->region);
        if (rc == SYN_OK)
            rc = syn_json_append_take(rows, row, err);
        if (rc == SYN_OK)
            rc = work_set_rates(row, others[i].rate_hour != INT64_MAX, others[i].rate_hour, err);
    }
    return rc;
}
