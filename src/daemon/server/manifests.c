/* Files that say what is to run, compared with what runs: POST /v1/manifests answers with what
 * would have to be done, and does nothing. Whoever asked does it, one call of a kind's own routes
 * after the other, so that there is one way to deploy a thing. */
#include <synor/base/image_ref.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/workload/manifest.h>
#include <synor/workload/service_spec.h>
#include <synor/workload/training_spec.h>

#include "server_priv.h"

/* What may be in a file. */
static const struct kind {
    const struct srv_work *work;
    int (*check)(json_t *spec, struct syn_err *err);
    bool lasting; /* what is there can be changed, and removed when no file has it any more */
} kinds[] = {
    {&srv_service, syn_service_spec_check, true},
    {&srv_training, syn_training_spec_check, false},
};

struct plan {
    struct syn_server *server;
    const char *account;
    const char *app; /* or NULL */
    json_t *items;
};

static const struct kind *
find_kind(const char *name)
{
    for (size_t i = 0; i < SYN_LEN(kinds); i++)
        if (syn_str_eq(kinds[i].work->documents, name))
            return &kinds[i];
    return NULL;
}

/* Set the item's action, and what of it would be other. `before` may be NULL. */
static int
judge(const struct kind *kind, json_t *item, const json_t *before, struct syn_err *err)
{
    json_t *changes = NULL;
    const char *action = "unchanged";
    int rc = SYN_OK;

    if (kind->lasting || before == NULL)
        rc = syn_manifest_diff(json_object_get(before, "spec"), json_object_get(item, "spec"),
                               &changes, err);
    else
        changes = json_array();
    if (before == NULL)
        action = "create";
    else if (json_array_size(changes) > 0)
        action = "update";
    else if (kind->lasting && srv_work_over(kind->work, before))
        action = "start";
    if (rc == SYN_OK)
        rc = syn_json_set_take(item, "changes", changes, err);
    return rc < 0 ? rc : syn_json_set_str(item, "action", action, err);
}

/* A file names an image of a registry by its tag; what was deployed has the digest that the tag had
 * then, and stays: a file that says the same asks for no other. */
static int
keep_pinned(json_t *spec, const json_t *before, struct syn_err *err)
{
    const char *had = syn_json_str(json_object_get(before, "spec"), "image", "");
    const char *image = syn_json_str(spec, "image", "");
    char now[SYN_IMAGE_REF_MAX], then[SYN_IMAGE_REF_MAX];
    struct syn_image_ref wanted, pinned;

    if (strstr(image, "://") != NULL || strstr(had, "://") != NULL ||
        syn_image_ref_parse(image, &wanted, NULL) < 0 ||
        syn_image_ref_parse(had, &pinned, NULL) < 0 || wanted.digest[0] != '\0')
        return SYN_OK;
    pinned.digest[0] = '\0';
    if (!syn_str_eq(syn_image_ref_format(&wanted, now), syn_image_ref_format(&pinned, then)))
        return SYN_OK;
    return syn_json_set_str(spec, "image", had, err);
}

static int
plan_item(const struct plan *plan, json_t *item, struct syn_err *err)
{
    const struct kind *kind = find_kind(syn_json_str(item, "kind", ""));
    const char *name = syn_json_str(item, "name", "");
    json_t *spec = json_object_get(item, "spec");
    int64_t revision = 0;
    SYN_JSON(before);
    int rc = SYN_OK;

    if (kind == NULL)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s: there is no kind \"%.40s\"; service and training are",
                        syn_json_str(item, "from", "?"), syn_json_str(item, "kind", ""));
    if (plan->app != NULL && kind->lasting)
        rc = syn_json_set_str(spec, "app", plan->app, err);
    if (rc == SYN_OK)
        rc = kind->check(spec, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "%s", syn_json_str(item, "from", "?"));
    if (kind->work == &srv_service) {
        rc = srv_mounts_resolve(plan->server, &(struct srv_mounting){plan->account, name, spec},
                                NULL, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "%s", syn_json_str(item, "from", "?"));
    }
    rc = srv_work_find(plan->server, kind->work, plan->account, name, &before, &revision, err);
    if (rc == SYN_OK)
        rc = keep_pinned(spec, before, err);
    return rc < 0 ? rc : judge(kind, item, before, err);
}

static bool
is_planned(const json_t *items, const char *kind, const char *name)
{
    const json_t *item;
    size_t i;

    json_array_foreach (items, i, item)
        if (syn_str_eq(syn_json_str(item, "kind", ""), kind) &&
            syn_str_eq(syn_json_str(item, "name", ""), name))
            return true;
    return false;
}

/* One that came from an earlier form of the app and is not in this one. */
static int
prune_one(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    const struct plan *plan = arg;
    char own_key[SRV_KEY_MAX];
    json_t *item = NULL;
    SYN_JSON(own);
    const char *name;
    int rc = srv_load(plan->server, srv_key(own_key, "service", strrchr(key, '/') + 1, NULL), &own,
                      NULL, err);

    (void)doc;
    (void)revision;
    name = syn_json_str(own, "name", "");
    if (rc != SYN_OK || !syn_str_eq(syn_json_str(syn_document_spec(own), "app", ""), plan->app) ||
        is_planned(plan->items, "service", name))
        return rc == SRV_ABSENT ? SYN_OK : rc;
    rc = syn_json_pack(&item, err, "{s:s, s:s, s:s, s:[], s:[]}", "kind", "service", "name", name,
                       "action", "delete", "changes", "after");
    return rc < 0 ? rc : syn_json_append_take(plan->items, item, err);
}

static int
plan_items(struct plan *plan, bool prune, struct syn_err *err)
{
    char prefix[SRV_KEY_MAX];
    json_t *item;
    size_t i;

    json_array_foreach (plan->items, i, item) {
        int rc = plan_item(plan, item, err);

        if (rc < 0)
            return rc;
    }
    if (!prune)
        return SYN_OK;
    if (plan->app == NULL)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "prune: which app is it of? the file has no name; name one");
    return srv_each(plan->server, srv_key(prefix, srv_service.of, plan->account, ""), prune_one,
                    plan, err);
}

static int
plan_manifest(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const json_t *body = syn_http_req_json(req);
    const char *text = syn_json_str(body, "text", "");
    struct plan plan = {.server = ctx, .account = srv_identity(req)->account};
    SYN_JSON(read);
    int rc = syn_manifest_read(text, strlen(text), json_object_get(body, "variables"), &read, err);

    if (rc < 0)
        return rc;
    plan.app = syn_json_str(body, "app", syn_json_str(read, "app", NULL));
    plan.items = json_object_get(read, "items");
    rc = plan_items(&plan, syn_json_bool(body, "prune", false), err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(read, "app", plan.app, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, read, err);
}

static const struct syn_field plan_fields[] = {
    {.name = "text",
     .kind = SYN_FIELD_STR,
     .required = true,
     .min = 1,
     .max = (int64_t)SYN_MANIFEST_BYTES_MAX,
     .help = "YAML: our own documents, docker-compose, or Kubernetes' Deployment and Service"},
    {.name = "variables",
     .kind = SYN_FIELD_MAP,
     .min = 0,
     .max = SYN_MANIFEST_VARIABLES_MAX,
     .fallback = "{}",
     .help = "What ${NAME} stands for in a compose file"},
    {.name = "app",
     .kind = SYN_FIELD_NAME,
     .help = "What the file is called; without it the file's own name"},
    {.name = "prune",
     .kind = SYN_FIELD_BOOL,
     .fallback = "false",
     .help = "Also what the app has and the file has not"},
};
static const struct syn_schema plan_schema = SYN_SCHEMA("Manifest", plan_fields);

static const struct syn_http_route rows[] = {
    {.method = "POST",
     .pattern = "/v1/manifests",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ,
     .body_max = SRV_BODY_MAX,
     .handler = plan_manifest,
     .body = &plan_schema,
     .name = "manifests.plan",
     .summary = "What would have to be done for things to be as a file says"},
};

const struct srv_routes srv_manifest_routes = {rows, SYN_LEN(rows)};
