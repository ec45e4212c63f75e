#include "volumes_priv.h"

#include <string.h>

#include <synor/base/str.h>
#include <synor/orchestration/label.h>
#include <synor/workload/service_spec.h>

static bool
is_volume(const json_t *mount)
{
    return syn_str_eq(syn_json_str(mount, "kind", ""), "volume");
}

static const json_t *
volume_of(const json_t *volumes, const json_t *mount)
{
    return json_object_get(volumes, syn_json_str(mount, "source", ""));
}

/* Does the mount write to one that only one instance may write to? */
static bool
writes_alone(const json_t *volumes, const json_t *mount)
{
    return is_volume(mount) && !syn_json_bool(mount, "read_only", false) &&
           !syn_json_bool(volume_of(volumes, mount), "shared", false);
}

void
service_volumes_look(const json_t *volumes, const json_t *spec, struct service_volumes *ret)
{
    const json_t *mount;
    size_t i;

    *ret = (struct service_volumes){.missing = NULL};
    json_array_foreach (json_object_get(spec, "mounts"), i, mount) {
        const json_t *volume = volume_of(volumes, mount);
        const char *name = syn_json_str(mount, "source", "");
        const char *node = syn_json_str(volume, "node", "");

        if (!is_volume(mount))
            continue;
        if (!volume)
            ret->missing = name;
        else if (!*node)
            ret->fresh_bytes += syn_json_i64(volume, "size_bytes", 0);
        else if (!ret->node) {
            ret->node = node;
            ret->pinned = name;
        } else if (!syn_str_eq(ret->node, node)) {
            ret->apart = name;
        }
    }
    if (ret->node)
        (void)snprintf(ret->label, sizeof(ret->label), "%s=%.*s", SYN_LABEL_NODE,
                       SYN_LABEL_VALUE_MAX - 1, ret->node);
}

void
service_volumes_ask(const struct service_volumes *look, struct syn_place_request *request)
{
    size_t at = 0;

    while (request->labels[at])
        at++;
    assert(at < SYN_PLACE_LABELS_MAX);
    if (look->node)
        request->labels[at] = look->label;
    request->amounts.scratch_bytes += look->fresh_bytes;
}

bool
service_volumes_refuse(const struct service_volumes *look, char *out, size_t cap)
{
    if (look->missing)
        (void)snprintf(out, cap, "there is no volume %s: synor compute volume create makes one",
                       look->missing);
    else if (look->apart)
        (void)snprintf(out, cap, "its volumes %s and %s are on different nodes", look->pinned,
                       look->apart);
    return look->missing || look->apart;
}

bool
service_volumes_exclusive(const json_t *volumes, const json_t *spec)
{
    const json_t *mount;
    size_t i;

    json_array_foreach (json_object_get(spec, "mounts"), i, mount)
        if (writes_alone(volumes, mount))
            return true;
    return false;
}

bool
service_volumes_clash(const json_t *volumes, const json_t *spec, const json_t *other)
{
    const json_t *mine, *its;
    size_t i, k;

    json_array_foreach (json_object_get(spec, "mounts"), i, mine) {
        if (!writes_alone(volumes, mine))
            continue;
        json_array_foreach (json_object_get(other, "mounts"), k, its)
            if (writes_alone(volumes, its) &&
                syn_str_eq(syn_json_str(mine, "source", ""), syn_json_str(its, "source", "")))
                return true;
    }
    return false;
}

int
service_volumes_give(json_t *volumes, const char *node, json_t *spec, json_t *bound,
                     struct syn_err *err)
{
    json_t *mount;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (json_object_get(spec, "mounts"), i, mount) {
        const char *name = syn_json_str(mount, "source", "");
        json_t *volume = json_object_get(volumes, name);

        if (rc < 0 || !is_volume(mount))
            continue;
        rc = syn_json_set_str(mount, "volume", syn_json_str(volume, "id", ""), err);
        if (rc == SYN_OK)
            rc = syn_json_set_i64(mount, "size_bytes", syn_json_i64(volume, "size_bytes", 0), err);
        if (rc == SYN_OK)
            rc = syn_json_set_bool(mount, "shared", syn_json_bool(volume, "shared", false), err);
        if (rc < 0 || *syn_json_str(volume, "node", ""))
            continue;
        rc = syn_json_set_str(volume, "node", node, err);
        if (rc == SYN_OK)
            rc = syn_json_set_str(bound, name, node, err);
    }
    return rc;
}
