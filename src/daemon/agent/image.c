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

/* What an image takes unpacked, as a multiple of its layers: a guess, compression gives two to
 * four.
 */
#define UNPACKED_FACTOR 4

static int
make_folder(const char *path, struct syn_err *err)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return SYN_FAIL_SYS(err, errno, "making %s", path);
    return SYN_OK;
}

/* Under the fetch lock: one unpacking at a time, and the second comer finds it done. `folder` is
 * the image's, `rootfs` below it. */
static int
unpack_once(struct agt_cache *cache, const struct syn_oci_layout *layout, const char *cid,
            const char *folder, const char *rootfs, struct syn_err *err)
{
    static const struct syn_oci_limits limits = {
        .bytes_max = IMAGE_BYTES_MAX, .entries_max = IMAGE_ENTRIES_MAX, .open_modes = true};
    struct syn_oci_unpacked unpacked;
    int64_t layers = agt_cache_bytes(cache, AGT_CACHE_FILES, cid);
    char what[160];
    int rc;

    if (access(rootfs, F_OK) == 0)
        return SYN_OK;
    (void)snprintf(what, sizeof(what), "unpacking %.64s", cid);
    rc = agt_cache_room(cache, UNPACKED_FACTOR * layers, what, err);
    if (rc == SYN_OK)
        rc = make_folder(folder, err);
    if (rc == SYN_OK)
        rc = syn_oci_layout_unpack(layout, rootfs, &limits, &unpacked, err);
    /* The guess may have been too low: give up what others do not need any more. */
    if (rc == SYN_OK)
        (void)!agt_cache_room(cache, 0, cid, NULL);
    return rc;
}

int
agt_image(struct agt_instance *instance, const char *cid, struct syn_oci_layout **ret_layout,
          char *out, struct syn_err *err)
{
    static const struct syn_oci_choice choice = {0}; /* the one for this machine */
    struct syn_agent *agent = instance->agent;
    SYN_SCOPED(syn_oci_layout_close_scope) struct syn_oci_layout *layout = NULL;
    char folder[AGT_PATH_MAX - sizeof("/rootfs")];
    int rc = agt_fetch(instance, cid, out, err);

    if (rc == SYN_OK)
        rc = syn_oci_layout_open(out, &choice, &layout, err);
    if (rc == SYN_OK)
        rc = agt_cache_path(&agent->cache, AGT_CACHE_IMAGES, cid, folder, sizeof(folder), err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "image");
    (void)snprintf(out, AGT_PATH_MAX, "%s/rootfs", folder);
    (void)pthread_mutex_lock(&agent->fetch_lock);
    agt_cache_touch(&agent->cache, AGT_CACHE_IMAGES, cid);
    rc = unpack_once(&agent->cache, layout, cid, folder, out, err);
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
