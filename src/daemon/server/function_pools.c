/* Derived services: the pools of functions' versions. They are services to everybody but people,
 * who see the function, and pay for its calls. */
#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/workload/service_control.h>

#include "function_priv.h"
#include "mesh_priv.h"

bool
srv_service_derived(const json_t *service)
{
    return json_is_object(json_object_get(json_object_get(service, "spec"), "function"));
}

int
srv_service_mine(const json_t *service, struct syn_err *err)
{
    return srv_service_derived(service)
               ? SYN_FAIL(err, SYN_E_CONFLICT,
                          "%s runs a version of a function: change the function, or delete it",
                          syn_document_id(service))
               : SYN_OK;
}

/* A service, and its newest version if there is one (NULL: none). */
static int
write_both(struct srv_txn *txn, int64_t revision, const json_t *service, const json_t *version,
           struct syn_err *err)
{
    const char *id = syn_document_id(service);
    char key[SRV_KEY_MAX];
    int rc = srv_txn_replace(txn, srv_key(key, "service", id, NULL), revision, service, err);

    return rc < 0 || version == NULL ? rc
                                     : srv_txn_put(txn,
                                                   srv_key_seq(key, "service-version", id,
                                                               syn_json_i64(version, "version", 0)),
                                                   version, err);
}

/* It has no name of its own, and nothing is locked for it: its calls are what is paid for. */
int
srv_service_derive(struct syn_server *server, struct srv_txn *txn,
                   const struct srv_derived *derived, json_t *spec, struct syn_err *err)
{
    const struct syn_service_new made = {.id = derived->id,
                                         .name = derived->id,
                                         .account = derived->account,
                                         .image_cid = derived->image_cid,
                                         .now_ms = syn_wall_ms(server->world)};
    char key[SRV_KEY_MAX];
    SYN_JSON(service);
    SYN_JSON(version);
    int rc = syn_service_make_take(&made, spec, &service, &version, err);

    if (rc == SYN_OK)
        rc = srv_txn_put_text(txn, srv_key(key, "service-of", derived->account, derived->id),
                              derived->id, err);
    if (rc == SYN_OK)
        rc = srv_event_say(server, txn, derived->id, "created", "It runs a version of a function.",
                           err);
    if (rc == SYN_OK)
        rc = srv_virtual_give(server, txn, service, err);
    return rc < 0 ? rc : write_both(txn, 0, service, version, err);
}

int
srv_service_restart(struct syn_server *server, struct srv_txn *txn, const char *id,
                    struct syn_err *err)
{
    char key[SRV_KEY_MAX], version_key[SRV_KEY_MAX];
    int64_t revision;
    SYN_JSON(service);
    SYN_JSON(version);
    SYN_JSON(current);
    int rc =
        srv_need(server, srv_key(key, "service", id, NULL), "service", &service, &revision, err);

    if (rc == SYN_OK)
        rc = srv_need(server,
                      srv_key_seq(version_key, "service-version", id,
                                  syn_json_i64(syn_document_status(service), "target", 0)),
                      "version", &current, NULL, err);
    if (rc < 0)
        return rc;
    rc = syn_service_update_take(
        service, current,
        &(struct syn_service_new){.image_cid = syn_json_str(current, "image_cid", ""),
                                  .now_ms = syn_wall_ms(server->world)},
        syn_json_deep_copy(syn_document_spec(service)), false, &version, err);
    return rc < 0 ? rc : write_both(txn, revision, service, version, err);
}

int
srv_service_stop(struct syn_server *server, struct srv_txn *txn, const char *id,
                 struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int64_t revision;
    SYN_JSON(service);
    int rc =
        srv_need(server, srv_key(key, "service", id, NULL), "service", &service, &revision, err);

    if (rc == SYN_OK)
        rc = syn_service_request_stop(service, err);
    return rc < 0 ? rc : srv_txn_replace(txn, key, revision, service, err);
}

int
srv_service_forget(struct syn_server *server, struct srv_txn *txn, const char *id,
                   struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int64_t revision;
    SYN_JSON(service);
    int rc = srv_load(server, srv_key(key, "service", id, NULL), &service, &revision, err);

    return rc == SYN_OK ? srv_work_delete(server, txn, &srv_service, service, revision, err)
           : rc < 0     ? rc
                        : SYN_OK;
}
