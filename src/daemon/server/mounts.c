/* What the mounts of a service's spec stand for: stored content, and the account's volumes. */
#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/workload/service_spec.h>

#include "server_priv.h"
#include "volumes_priv.h"

/* What a name stands for is looked up once: an update that does not speak of it changes nothing. */
static int
resolve_content(struct syn_server *server, const char *account, json_t *mount,
                struct syn_content_guard **guard, struct syn_err *err)
{
    const char *source = syn_json_str(mount, "source", "");
    const char *known = syn_json_str(mount, "cid", "");
    char cid[SYN_CID_TEXT_MAX];
    int rc = srv_resolve(server, account, known[0] != '\0' ? known : source, cid, err);

    if (rc == SYN_OK && guard != NULL)
        rc = srv_keep(server, guard, cid, err);
    return rc < 0 ? rc : syn_json_set_str(mount, "cid", cid, err);
}

/* Does a service that is not stopped write to the volume? */
static int
writes_volume(const json_t *service, const char *name, bool *ret, struct syn_err *err)
{
    const json_t *mount;
    size_t i;

    (void)err;
    *ret = false;
    json_array_foreach (json_object_get(syn_document_spec(service), "mounts"), i, mount)
        *ret = *ret || (syn_str_eq(syn_json_str(mount, "kind", ""), "volume") &&
                        syn_str_eq(syn_json_str(mount, "source", ""), name) &&
                        !syn_json_bool(mount, "read_only", false) &&
                        !syn_str_eq(syn_document_state(service), "stopped"));
    return SYN_OK;
}

/* A volume that is not shared has one writer: one replica, never two beside each other, of one
 * service. */
static int
check_writer(struct syn_server *server, const struct srv_mounting *mounting, const char *volume,
             struct syn_err *err)
{
    struct syn_service_spec read;
    SYN_JSON(services);
    json_t *service;
    int64_t most;
    size_t i;
    int rc;

    syn_service_spec_read(mounting->spec, &read);
    most = SYN_MAX((int64_t)read.replicas, syn_json_i64(read.autoscale, "max", 0));
    if (most > 1)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "one replica alone may write to the volume %s, and up to %lld are wanted: "
                        "mount it read-only, or make one that is shared",
                        volume, (long long)most);
    if (read.rollout.strategy != SYN_SERVICE_ROLLING)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "one replica alone may write to the volume %s, and %s runs two beside each "
                        "other: use the strategy rolling, or a volume that is shared",
                        volume,
                        read.rollout.strategy == SYN_SERVICE_CANARY ? "canary" : "blue-green");
    rc = srv_services_with(server, mounting->account, writes_volume, volume, &services, err);
    json_array_foreach (services, i, service)
        if (rc == SYN_OK && !syn_str_eq(syn_json_str(service, "name", ""), mounting->service))
            return SYN_FAIL(err, SYN_E_CONFLICT,
                            "service %s writes to the volume %s: mount it read-only, or make one "
                            "that is shared",
                            syn_json_str(service, "name", "?"), volume);
    return rc;
}

static int
check_volume(struct syn_server *server, const struct srv_mounting *mounting, const json_t *mount,
             struct syn_err *err)
{
    const char *name = syn_json_str(mount, "source", "");
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc = srv_load(server, srv_key(key, "volume", mounting->account, name), &doc, NULL, err);

    if (rc == SRV_ABSENT)
        return SYN_FAIL(err, SYN_E_NOTFOUND,
                        "there is no volume %s; synor compute volume create makes it", name);
    if (rc < 0 || syn_json_bool(mount, "read_only", false) || syn_json_bool(doc, "shared", false))
        return rc;
    return check_writer(server, mounting, name, err);
}

int
srv_mounts_resolve(struct syn_server *server, const struct srv_mounting *mounting,
                   struct syn_content_guard **guard, struct syn_err *err)
{
    json_t *mount;
    size_t i;

    json_array_foreach (json_object_get(mounting->spec, "mounts"), i, mount) {
        const char *kind = syn_json_str(mount, "kind", "");
        int rc = SYN_OK;

        if (syn_str_eq(kind, "content"))
            rc = resolve_content(server, mounting->account, mount, guard, err);
        else if (syn_str_eq(kind, "volume"))
            rc = check_volume(server, mounting, mount, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "spec.mounts: %s", syn_json_str(mount, "path", ""));
    }
    return SYN_OK;
}

/* --- for the controller ----------------------------------------------------------------------- */

/* Those that one spec names, beside those that are there. */
static int
add_volumes(struct syn_server *server, const char *account, const json_t *spec, json_t *volumes,
            struct syn_err *err)
{
    const json_t *mount;
    size_t i;

    json_array_foreach (json_object_get(spec, "mounts"), i, mount) {
        const char *name = syn_json_str(mount, "source", "");
        char key[SRV_KEY_MAX];
        json_t *doc = NULL;
        int rc;

        if (!syn_str_eq(syn_json_str(mount, "kind", ""), "volume") ||
            json_object_get(volumes, name) != NULL)
            continue;
        rc = srv_load(server, srv_key(key, "volume", account, name), &doc, NULL, err);
        if (rc == SYN_OK)
            rc = syn_json_set_take(volumes, name, doc, err);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

int
srv_volumes_named(struct syn_server *server, const char *account, const json_t *spec,
                  const json_t *versions, json_t **ret, struct syn_err *err)
{
    SYN_JSON(volumes);
    const json_t *version;
    size_t i;
    int rc;

    volumes = json_object();
    if (volumes == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for volumes");
    rc = add_volumes(server, account, spec, volumes, err);
    json_array_foreach (versions, i, version)
        if (rc == SYN_OK)
            rc = add_volumes(server, account, json_object_get(version, "spec"), volumes, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(volumes);
    return rc;
}

int
srv_volumes_bind(struct syn_server *server, struct srv_txn *txn, const char *account,
                 const json_t *volumes, json_t *bound, struct syn_err *err)
{
    const char *name;
    json_t *node;
    int rc = SYN_OK;

    json_object_foreach (bound, name, node) {
        const json_t *volume = json_object_get(volumes, name);
        char key[SRV_KEY_MAX];
        SYN_JSON(doc);

        if (rc < 0)
            break;
        doc = syn_json_deep_copy(volume);
        if (doc == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for volumes");
        rc = syn_json_set_take(doc, "node", json_incref(node), err);
        if (rc == SYN_OK)
            rc = srv_txn_replace(txn, srv_key(key, "volume", account, name),
                                 syn_json_i64(volume, "revision", 0), doc, err);
        if (rc == SYN_OK)
            rc = srv_volume_meter_begin(server, txn, doc, json_string_value(node), err);
    }
    return rc;
}
