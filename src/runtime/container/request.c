#include "request_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "../native/cgroup_priv.h"
#include "../native/file_priv.h"
#include "cri_priv.h"
#include "message_priv.h"
#include "pod_priv.h"

#define TOP_MAX    64
#define MOUNTS_MAX (2 * SYN_INSTANCE_BINDS_MAX + 2 * SYN_INSTANCE_MOUNTS_MAX + TOP_MAX + 16)
#define ENV_MAX    (SYN_INSTANCE_ENV_MAX + 8)
#define NAME_MAX_  256
#define PATHS_MAX  24 /* of /proc and /sys, covered or read-only */
#define NOBODY     65534
#define CPU_PERIOD 100000

/* A ContainerConfig with all that it points to. */
struct request {
    Cri__ContainerConfig config;
    Cri__ContainerMetadata metadata;
    Cri__ImageSpec image;
    Cri__LinuxContainerConfig linux_config;
    Cri__LinuxContainerResources resources;
    Cri__LinuxContainerSecurityContext security;
    Cri__Capability capabilities;
    Cri__NamespaceOption namespaces;
    Cri__Int64Value uid, gid;
    Cri__SecurityProfile seccomp;
    Cri__Mount mounts[MOUNTS_MAX], *mount_list[MOUNTS_MAX];
    Cri__Label envs[ENV_MAX], *env_list[ENV_MAX];
    Cri__Device devices[SYN_INSTANCE_DEVICES_MAX], *device_list[SYN_INSTANCE_DEVICES_MAX];
    char *argv[SYN_INSTANCE_ARGS_MAX];
    char *masked[PATHS_MAX], *readonly[PATHS_MAX], *dropped[1];
    char *env_names[ENV_MAX];                           /* owned */
    char *paths[2 * TOP_MAX + SYN_INSTANCE_MOUNTS_MAX]; /* owned */
    size_t paths_count;
};

static void
request_scope(struct request **slot)
{
    struct request *request = *slot;

    if (!request)
        return;
    for (size_t i = 0; i < ENV_MAX; i++)
        syn_free(request->env_names[i]);
    for (size_t i = 0; i < request->paths_count; i++)
        syn_free(request->paths[i]);
    syn_free(request);
    *slot = NULL;
}

static int
add_mount(struct request *request, const char *target, const char *source, bool readonly,
          struct syn_err *err)
{
    Cri__Mount *mount = &request->mounts[request->config.n_mounts];

    if (request->config.n_mounts == MOUNTS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "more than %d mounts", MOUNTS_MAX);
    cri__mount__init(mount);
    mount->container_path = syn_message_text(target);
    mount->host_path = syn_message_text(source);
    mount->readonly = readonly;
    request->mount_list[request->config.n_mounts++] = mount;
    return SYN_OK;
}

/* A path that the request keeps. */
static int
keep_path(struct request *request, const char **ret, struct syn_err *err, const char *dir,
          const char *name)
{
    SYN_BUF(text);
    int rc;

    assert(request->paths_count < SYN_LEN(request->paths));
    syn_buf_addf(&text, "%s/%s", dir, name);
    rc = syn_buf_take(&text, &request->paths[request->paths_count], NULL, err);
    if (rc == SYN_OK)
        *ret = request->paths[request->paths_count++];
    return rc;
}

/* --- mounts ----------------------------------------------------------------------------------- */

/* Two mounts on one place would be made in any order: what is mounted over is left out, as is what
 * the runtime has of its own. */
static bool
is_covered(const char *name, const json_t *bundle)
{
    static const char *const names[] = {"proc", "dev", "sys"};
    const json_t *mounts = json_object_get(bundle, "mounts");

    for (size_t i = 0; i < SYN_LEN(names); i++) {
        if (syn_str_eq(name, names[i]))
            return true;
    }
    for (size_t i = 0; i < json_array_size(mounts); i++) {
        const char *target = syn_json_str(json_array_get(mounts, i), "destination", "");

        if (target[0] == '/' && syn_str_eq(name, target + 1))
            return true;
    }
    return false;
}

static int
add_top(struct request *request, const char *root, const char *name, struct syn_err *err)
{
    const char *target = NULL, *source = NULL;
    struct stat st;
    int rc;

    if (request->config.n_mounts == TOP_MAX)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "the image has over %d entries at its top",
                        TOP_MAX);
    rc = keep_path(request, &source, err, root, name);
    if (rc < 0)
        return rc;
    assert(source != NULL);
    if (lstat(source, &st) < 0)
        return SYN_FAIL_SYS(err, errno, "looking at %s", source);
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return SYN_OK;
    rc = keep_path(request, &target, err, "", name);
    return rc < 0 ? rc : add_mount(request, target, source, true, err);
}

static int
add_root(struct request *request, const struct syn_instance_spec *spec, const json_t *bundle,
         struct syn_err *err)
{
    const char *root = NULL;
    const struct dirent *entry;
    DIR *dir;
    int rc = keep_path(request, &root, err, spec->dir, SYN_DIR_ROOTFS);

    if (rc < 0)
        return rc;
    assert(root != NULL);
    dir = opendir(root);
    if (!dir)
        return SYN_FAIL_SYS(err, errno, "reading %s", root);
    while (rc == SYN_OK && (entry = readdir(dir)) != NULL) {
        if (!syn_str_eq(entry->d_name, ".") && !syn_str_eq(entry->d_name, "..") &&
            !is_covered(entry->d_name, bundle))
            rc = add_top(request, root, entry->d_name, err);
    }
    (void)closedir(dir);
    return rc;
}

/* What the runtime would put over our /etc, and its /dev/shm, which has another size. */
static int
add_own(struct request *request, const struct syn_instance_spec *spec, struct syn_err *err)
{
    static const char *const files[] = {"hosts", "hostname", "resolv.conf"};
    const char *source = NULL, *target = NULL;
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(files); i++) {
        rc = keep_path(request, &target, err, "/etc", files[i]);
        if (rc == SYN_OK)
            rc = keep_path(request, &source, err, spec->dir, SYN_DIR_ROOTFS);
        if (rc == SYN_OK)
            rc = keep_path(request, &source, err, source, target + 1);
        if (rc == SYN_OK)
            rc = add_mount(request, target, source, true, err);
    }
    if (rc == SYN_OK)
        rc = keep_path(request, &source, err, spec->dir, SYN_DIR_SHM);
    return rc < 0 ? rc : add_mount(request, "/dev/shm", source, false, err);
}

static bool
has_option(const json_t *mount, const char *word)
{
    const json_t *options = json_object_get(mount, "options");

    for (size_t i = 0; i < json_array_size(options); i++) {
        if (syn_str_eq(json_string_value(json_array_get(options, i)), word))
            return true;
    }
    return false;
}

static int
add_binds(struct request *request, const json_t *bundle, struct syn_err *err)
{
    const json_t *mounts = json_object_get(bundle, "mounts");
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < json_array_size(mounts); i++) {
        const json_t *mount = json_array_get(mounts, i);
        const char *target = syn_json_str(mount, "destination", "");

        /* Of /sys the runtime shows what it shows. */
        if (syn_str_eq(syn_json_str(mount, "type", ""), "bind") && !syn_str_starts(target, "/sys/"))
            rc = add_mount(request, target, syn_json_str(mount, "source", ""),
                           has_option(mount, "ro"), err);
    }
    return rc;
}

static int
add_tmpfs(struct request *request, const struct syn_instance_spec *spec, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < spec->tmpfs_count; i++) {
        const char *source = NULL;
        char name[40];

        (void)snprintf(name, sizeof(name), SYN_DIR_TMPFS "/%zu", i);
        rc = keep_path(request, &source, err, spec->dir, name);
        if (rc == SYN_OK)
            rc = add_mount(request, spec->tmpfs[i].container, source, false, err);
    }
    return rc;
}

/* --- process ---------------------------------------------------------------------------------- */

static int
add_env(struct request *request, const char *pair, struct syn_err *err)
{
    size_t at = request->config.n_envs, len = strcspn(pair, "=");
    Cri__Label *env = &request->envs[at];

    assert(at < ENV_MAX);
    request->env_names[at] = syn_strndup(pair, len);
    if (!request->env_names[at])
        return SYN_FAIL(err, SYN_E_NOMEM, "a container's environment");
    cri__label__init(env);
    env->key = request->env_names[at];
    env->value = syn_message_text(pair[len] == '=' ? pair + len + 1 : "");
    request->env_list[at] = env;
    request->config.n_envs++;
    return SYN_OK;
}

static int
add_process(struct request *request, const json_t *bundle, struct syn_err *err)
{
    const json_t *process = json_object_get(bundle, "process");
    const json_t *args = json_object_get(process, "args"), *env = json_object_get(process, "env");
    const json_t *user = json_object_get(process, "user");
    int rc = SYN_OK;

    for (size_t i = 0; i < json_array_size(args) && i < SYN_LEN(request->argv); i++)
        request->argv[i] = syn_message_text(json_string_value(json_array_get(args, i)));
    request->config.command = request->argv;
    request->config.n_command = SYN_MIN(json_array_size(args), SYN_LEN(request->argv));
    for (size_t i = 0; rc == SYN_OK && i < json_array_size(env) && i < ENV_MAX; i++)
        rc = add_env(request, json_string_value(json_array_get(env, i)), err);
    request->config.envs = request->env_list;
    request->config.working_dir = syn_message_text(syn_json_str(process, "cwd", "/"));
    request->uid.value = syn_json_i64(user, "uid", NOBODY);
    request->gid.value = syn_json_i64(user, "gid", NOBODY);
    return rc;
}

/* --- what it may ------------------------------------------------------------------------------ */

static size_t
add_paths(char **list, const json_t *paths, const char *const *more, size_t more_count)
{
    size_t count = 0;

    for (size_t i = 0; i < json_array_size(paths) && count < PATHS_MAX; i++)
        list[count++] = syn_message_text(json_string_value(json_array_get(paths, i)));
    for (size_t i = 0; i < more_count && count < PATHS_MAX; i++)
        list[count++] = syn_message_text(more[i]);
    return count;
}

static int
write_seccomp(struct request *request, int dir, const struct syn_instance_spec *spec,
              const json_t *bundle, struct syn_err *err)
{
    const char *path = NULL;
    int rc = syn_file_write_json(dir, SYN_FILE_SECCOMP,
                                 json_object_get(json_object_get(bundle, "linux"), "seccomp"),
                                 false, err);

    if (rc == SYN_OK)
        rc = keep_path(request, &path, err, spec->dir, SYN_FILE_SECCOMP);
    if (rc < 0)
        return rc;
    request->seccomp.profile_type = CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost;
    request->seccomp.localhost_ref = syn_message_text(path);
    request->security.seccomp = &request->seccomp;
    return SYN_OK;
}

static void
add_security(struct request *request, const json_t *bundle)
{
    /* A pod's /sys is the host's: without what tells of the machine and its neighbours. */
    static const char *const masked[] = {"/sys/firmware", "/sys/devices/virtual/powercap",
                                         "/sys/kernel",   "/sys/module",
                                         "/sys/bus",      "/sys/class",
                                         "/sys/block",    "/sys/dev",
                                         "/sys/fs",       "/sys/power"};
    const json_t *linux_part = json_object_get(bundle, "linux");
    Cri__LinuxContainerSecurityContext *security = &request->security;

    request->dropped[0] = syn_message_text("ALL");
    request->capabilities.drop_capabilities = request->dropped;
    request->capabilities.n_drop_capabilities = 1;
    security->capabilities = &request->capabilities;
    /* Its own first process, whose end takes all others along; no look at what holds the pod. */
    request->namespaces.pid = CRI__NAMESPACE_MODE__CONTAINER;
    security->namespace_options = &request->namespaces;
    security->run_as_user = &request->uid;
    security->run_as_group = &request->gid;
    security->readonly_rootfs = true;
    security->no_new_privs = true;
    security->masked_paths = request->masked;
    security->n_masked_paths = add_paths(
        request->masked, json_object_get(linux_part, "maskedPaths"), masked, SYN_LEN(masked));
    security->readonly_paths = request->readonly;
    security->n_readonly_paths =
        add_paths(request->readonly, json_object_get(linux_part, "readonlyPaths"), NULL, 0);
    request->linux_config.security_context = security;
}

static void
add_limits(struct request *request, const struct syn_plan *plan)
{
    /* Those of the group that all of the pod is in are ours; the runtime is told them too, as it
     * tells of a limit that was met only if it set one. */
    if (plan->cpu_millicores > 0) {
        request->resources.cpu_period = CPU_PERIOD;
        request->resources.cpu_quota =
            syn_cgroup_start_cpu(plan->cpu_millicores) * (CPU_PERIOD / 1000);
    }
    request->resources.memory_limit_in_bytes = plan->memory_bytes;
    request->linux_config.resources = &request->resources;
    request->config.linux_config = &request->linux_config;
}

static void
add_devices(struct request *request, const struct syn_instance_spec *spec)
{
    size_t count = 0;

    for (; spec->devices && spec->devices[count] && count < SYN_INSTANCE_DEVICES_MAX; count++) {
        Cri__Device *device = &request->devices[count];

        cri__device__init(device);
        device->container_path = device->host_path = syn_message_text(spec->devices[count]);
        device->permissions = syn_message_text("rw");
        request->device_list[count] = device;
    }
    request->config.devices = request->device_list;
    request->config.n_devices = count;
}

/* --- files ------------------------------------------------------------------------------------ */

static int
write_message(int dir, const char *file, const void *message, struct syn_err *err)
{
    SYN_BUF(out);
    int rc;

    syn_message_pack(message, &out);
    rc = syn_buf_ok(&out, err);
    return rc < 0 ? rc : syn_file_write(dir, file, out.data, out.len, err);
}

static int
write_pod(int dir, const struct syn_instance_spec *spec, const struct syn_plan *plan,
          const struct syn_request_where *where, struct syn_err *err)
{
    SYN_MESSAGE(Cri__RunPodSandboxRequest, cri__run_pod_sandbox_request, request);
    SYN_MESSAGE(Cri__PodSandboxConfig, cri__pod_sandbox_config, config);
    SYN_MESSAGE(Cri__PodSandboxMetadata, cri__pod_sandbox_metadata, metadata);
    SYN_MESSAGE(Cri__LinuxPodSandboxConfig, cri__linux_pod_sandbox_config, linux_config);
    SYN_MESSAGE(Cri__LinuxSandboxSecurityContext, cri__linux_sandbox_security_context, security);
    SYN_MESSAGE(Cri__NamespaceOption, cri__namespace_option, namespaces);
    SYN_MESSAGE(Cri__Int64Value, cri__int64_value, nobody);
    SYN_MESSAGE(Cri__Label, cri__label, name);
    SYN_MESSAGE(Cri__Label, cri__label, root);
    Cri__Label *labels[] = {&name, &root};
    char plan_name[SYN_PLAN_NAME_MAX], cgroup[SYN_PLAN_NAME_MAX];

    (void)syn_str_copy(plan_name, sizeof(plan_name), plan->name);
    (void)syn_str_copy(cgroup, sizeof(cgroup), plan->cgroup);
    metadata.name = metadata.uid = plan_name;
    metadata.namespace_ = syn_message_text("synor");
    name.key = syn_message_text(SYN_CRI_LABEL);
    name.value = plan_name;
    root.key = syn_message_text(SYN_CRI_ROOT);
    root.value = syn_message_text(where->root);
    nobody.value = NOBODY;
    namespaces.pid = CRI__NAMESPACE_MODE__CONTAINER;
    security.namespace_options = &namespaces;
    security.run_as_user = security.run_as_group = &nobody;
    security.readonly_rootfs = true;
    linux_config.cgroup_parent = cgroup;
    linux_config.security_context = &security;
    config.metadata = &metadata;
    config.hostname = syn_message_text(spec->hostname ? spec->hostname : spec->id);
    config.log_directory = syn_message_text(spec->dir);
    config.labels = labels;
    config.n_labels = SYN_LEN(labels);
    config.linux_config = &linux_config;
    request.config = &config;
    request.runtime_handler = syn_message_text(where->handler);
    return write_message(dir, SYN_FILE_POD, &request, err);
}

static void
init(struct request *request)
{
    cri__container_config__init(&request->config);
    cri__container_metadata__init(&request->metadata);
    cri__image_spec__init(&request->image);
    cri__linux_container_config__init(&request->linux_config);
    cri__linux_container_resources__init(&request->resources);
    cri__linux_container_security_context__init(&request->security);
    cri__capability__init(&request->capabilities);
    cri__namespace_option__init(&request->namespaces);
    cri__int64_value__init(&request->uid);
    cri__int64_value__init(&request->gid);
    cri__security_profile__init(&request->seccomp);
    request->config.metadata = &request->metadata;
    request->config.image = &request->image;
    request->config.mounts = request->mount_list;
    request->metadata.name = syn_message_text("main");
    request->config.log_path = syn_message_text(SYN_FILE_OUTPUT);
}

int
syn_request_write(const struct syn_instance_spec *spec, const struct syn_plan *plan,
                  const json_t *bundle, const struct syn_request_where *where, struct syn_err *err)
{
    SYN_SCOPED(request_scope) struct request *request = syn_calloc(1, sizeof(*request));
    SYN_FD(dir);
    int rc;

    if (!request)
        return SYN_FAIL(err, SYN_E_NOMEM, "a container's request");
    dir = open(spec->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", spec->dir);
    init(request);
    request->image.image = syn_message_text(where->image);
    rc = add_root(request, spec, bundle, err);
    if (rc == SYN_OK)
        rc = add_own(request, spec, err);
    if (rc == SYN_OK)
        rc = add_binds(request, bundle, err);
    if (rc == SYN_OK)
        rc = add_tmpfs(request, spec, err);
    if (rc == SYN_OK)
        rc = add_process(request, bundle, err);
    if (rc == SYN_OK)
        rc = write_seccomp(request, dir, spec, bundle, err);
    if (rc < 0)
        return rc;
    add_security(request, bundle);
    add_limits(request, plan);
    add_devices(request, spec);
    rc = write_message(dir, SYN_FILE_CONTAINER, &request->config, err);
    return rc < 0 ? rc : write_pod(dir, spec, plan, where, err);
}
