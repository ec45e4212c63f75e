/* What an instance's document asks for, in the words of a runtime driver, with all that these words
 * point at: content fetched, image unpacked, GPUs claimed. */
#ifndef SYN_AGENT_WISH_PRIV_H
#define SYN_AGENT_WISH_PRIV_H

#include "agent_priv.h"

#define AGT_WISH_BINDS_MAX (8 + SYN_INSTANCE_MOUNTS_MAX)
#define AGT_WISH_HOSTS_MAX 64

struct agt_wish {
    struct syn_instance_spec spec;
    const char **argv;
    char **env;
    size_t env_count;
    json_t *secrets; /* {"env": {NAME: value}, "files": {PATH: value}}; NULL: none */
    struct syn_tmpfs tmpfs[SYN_INSTANCE_MOUNTS_MAX];
    const char *empties[SYN_INSTANCE_MOUNTS_MAX];
    struct syn_secret_file files[SYN_INSTANCE_MOUNTS_MAX];
    struct syn_bind binds[AGT_WISH_BINDS_MAX];
    struct syn_host_entry hosts[AGT_WISH_HOSTS_MAX];
    struct syn_bind volumes[SYN_INSTANCE_MOUNTS_MAX];
    char *shown[SYN_INSTANCE_MOUNTS_MAX]; /* paths of content and volumes */
    size_t shown_count;
    char dir[AGT_PATH_MAX];
    char code[AGT_PATH_MAX];
    char dataset[AGT_PATH_MAX];
    char config[AGT_PATH_MAX];
    char rootfs[AGT_PATH_MAX];
    char search[SYN_ID_MAX + 16]; /* "ACCOUNT.synor" */
    struct syn_oci_layout *image; /* NULL: the host's /usr */
    struct syn_gpu_grant *gpus;   /* NULL: it has none */
};

/**
 * Fill `wish` for the document, which it points into.
 *
 * Owner: the caller, who zeroed it and calls agt_wish_fini(), also after a failure.
 * Thread: the instance's. Blocks: downloads and unpacking.
 */
SYN_MUST int agt_wish_make(struct agt_instance *instance, const json_t *doc, struct agt_wish *wish,
                           struct syn_err *err);
void agt_wish_fini(struct agt_wish *wish);
/** Is this content among the mounts of an instance's spec? */
bool agt_wish_mounts(const json_t *spec, const char *cid);

#endif
