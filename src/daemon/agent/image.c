/* Images for an instance: a CID that is an OCI image layout, fetched like any content and unpacked
 * once for each CID under DATA/agent/images/CID/rootfs, complete or absent, shared read-only by
 * every instance that runs it. Nothing in it is secret from the job that names it, so all of it
 * belongs to root and is open to read: instances run under user ids of their own. */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/str.h>

#include "agent_priv.h"

#define IMAGE_BYTES_MAX   ((int64_t)64 << 30)
#define IMAGE_ENTRIES_MAX INT64_C(2000000)

/* Under the fetch lock: one unpacking at a time, and the second comer finds it done. */
static int
unpack_once(const struct syn_oci_layout *layout, const char *rootfs, struct syn_err *err)
{
    static const struct syn_oci_limits limits = {
        .bytes_max = IMAGE_BYTES_MAX, .entries_max = IMAGE_ENTRIES_MAX, .open_modes = true};
    struct syn_oci_unpacked unpacked;

    if (access(rootfs, F_OK) == 0)
        return SYN_OK;
    return syn_oci_layout_unpack(layout, rootfs, &limits, &unpacked, err);
}

static int
make_folder(const char *path, struct syn_err *err)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return SYN_FAIL_SYS(err, errno, "making %s", path);
    return SYN_OK;
}

int
agt_image(struct agt_instance *instance, const char *cid, struct syn_oci_layout **ret_layout,
          char *out, struct syn_err *err)
{
    static const struct syn_oci_choice choice = {0}; /* the one for this machine */
    struct syn_agent *agent = instance->agent;
    SYN_SCOPED(syn_oci_layout_close_scope) struct syn_oci_layout *layout = NULL;
    char folder[AGT_PATH_MAX];
    int rc = agt_fetch(instance, cid, folder, err);

    if (rc == SYN_OK)
        rc = syn_oci_layout_open(folder, &choice, &layout, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "image");
    (void)snprintf(folder, sizeof(folder), "%s/images", agent->data_dir);
    rc = make_folder(folder, err);
    (void)snprintf(folder, sizeof(folder), "%s/images/%s", agent->data_dir, cid);
    if (rc == SYN_OK)
        rc = make_folder(folder, err);
    (void)snprintf(out, AGT_PATH_MAX, "%s/images/%s/rootfs", agent->data_dir, cid);
    if (rc < 0)
        return rc;
    (void)pthread_mutex_lock(&agent->fetch_lock);
    rc = unpack_once(layout, out, err);
    (void)pthread_mutex_unlock(&agent->fetch_lock);
    if (rc < 0)
        return syn_err_wrap(err, rc, "image");
    *ret_layout = SYN_TAKE(layout);
    return SYN_OK;
}

void
agt_image_user(const struct syn_oci_config *config, uint32_t *ret_uid, uint32_t *ret_gid)
{
    const char *colon = strchr(config->user, ':');
    char uid_text[16] = "";
    uint64_t uid = 0, gid = 0;

    (void)snprintf(uid_text, sizeof(uid_text), "%.*s",
                   (int)SYN_MIN(strcspn(config->user, ":"), sizeof(uid_text) - 1), config->user);
    if (syn_parse_u64(uid_text, 1, SYN_OCI_ID_MAX, "uid", &uid, NULL) == SYN_OK)
        *ret_uid = (uint32_t)uid;
    if (colon != NULL && syn_parse_u64(colon + 1, 1, SYN_OCI_ID_MAX, "gid", &gid, NULL) == SYN_OK)
        *ret_gid = (uint32_t)gid;
}
