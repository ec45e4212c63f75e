/* What the mounts of a service's spec stand for. */
#include <synor/base/str.h>

#include "server_priv.h"

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

int
srv_mounts_resolve(struct syn_server *server, const char *account, json_t *spec,
                   struct syn_content_guard **guard, struct syn_err *err)
{
    json_t *mount;
    size_t i;

    json_array_foreach (json_object_get(spec, "mounts"), i, mount) {
        int rc = SYN_OK;

        if (syn_str_eq(syn_json_str(mount, "kind", ""), "content"))
            rc = resolve_content(server, account, mount, guard, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "spec.mounts: %s", syn_json_str(mount, "path", ""));
    }
    return SYN_OK;
}
