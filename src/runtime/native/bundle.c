/* The bundle is the contract with runc and runsc: who runs (an ordinary user, no capability,
 * no-new-privileges), what it sees (mounts), and which namespaces it gets. Limits are not in it:
 * the supervisor sets them on the cgroup itself, the same way for both tools. */
#include "bundle_priv.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "../net/prefix_priv.h"
#include "file_priv.h"
#include "scratch_priv.h"
#include "seccomp_priv.h"

#define ID_BASE_FIRST 524288u /* where systemd, too, begins to hand out ranges to containers */
#define ID_RANGES     28672u
#define NOFILE_MAX    65536u
#define ARG_BYTES_MAX ((size_t)128 * 1024)

static const char *const reserved_paths[] = {"/usr", "/etc", "/proc", "/sys",   "/dev", "/bin",
                                             "/lib", "/run", "/sbin", "/lib64", "/tmp"};

static int
check_list(const char *const *list, size_t max, const char *what, struct syn_err *err)
{
    size_t count = 0;

    for (; list && list[count]; count++) {
        if (count == max)
            return SYN_FAIL(err, SYN_E_INVALID, "%s: more than %zu entries", what, max);
        if (strlen(list[count]) > ARG_BYTES_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "%s[%zu] is over %zu bytes", what, count,
                            ARG_BYTES_MAX);
        if (!syn_utf8_ok(list[count], strlen(list[count])))
            return SYN_FAIL(err, SYN_E_INVALID, "%s[%zu] is not valid UTF-8", what, count);
    }
    return SYN_OK;
}

/* Absolute, without empty, "." or ".." parts. */
static bool
path_clean(const char *path)
{
    if (!path || path[0] != '/' || strlen(path) >= SYN_INSTANCE_PATH_MAX ||
        !syn_utf8_ok(path, strlen(path)))
        return false;
    for (const char *part = path; *part != '\0';) {
        const char *name = part + 1;
        size_t len = strcspn(name, "/");

        if (len == 0 || (len == 1 && name[0] == '.') || (len == 2 && strncmp(name, "..", 2) == 0))
            return false;
        part = name + len;
    }
    return true;
}

static bool
below(const char *path, const char *parent)
{
    size_t len = strlen(parent);

    return strncmp(path, parent, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

/* Where something is mounted. An image's own root may be covered but where it is not its own. */
static int
check_target(const struct syn_instance_spec *spec, const char *path, const char *what, size_t index,
             struct syn_err *err)
{
    static const char *const kernels[] = {"/proc", "/sys", "/dev"};
    static const char *const ours[] = {"/synor", "/etc", "/etc/hosts", "/etc/hostname",
                                       "/etc/resolv.conf"};
    const char *const *reserved = spec->rootfs ? kernels : reserved_paths;
    size_t count = spec->rootfs ? SYN_LEN(kernels) : SYN_LEN(reserved_paths);

    if (!path_clean(path))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s[%zu]: container path must be absolute and plain: %s", what, index,
                        path ? path : "(none)");
    for (size_t i = 0; i < count; i++) {
        if (below(path, reserved[i]))
            return SYN_FAIL(err, SYN_E_INVALID, "%s[%zu]: %s is reserved; use a path like /data",
                            what, index, reserved[i]);
    }
    for (size_t i = 0; i < SYN_LEN(ours); i++) {
        if (syn_str_eq(path, ours[i]))
            return SYN_FAIL(err, SYN_E_INVALID, "%s[%zu]: %s is the platform's own", what, index,
                            path);
    }
    return SYN_OK;
}

static int
check_bind(const struct syn_instance_spec *spec, const struct syn_bind *bind, const char *what,
           size_t i, struct syn_err *err)
{
    if (!path_clean(bind->host))
        return SYN_FAIL(err, SYN_E_INVALID, "%s[%zu]: host path must be absolute and plain: %s",
                        what, i, bind->host ? bind->host : "(none)");
    return check_target(spec, bind->container, what, i, err);
}

static int
check_mounts(const struct syn_instance_spec *spec, struct syn_err *err)
{
    int rc = SYN_OK;

    if (spec->binds_count > SYN_INSTANCE_BINDS_MAX ||
        spec->volumes_count > SYN_INSTANCE_BINDS_MAX - spec->binds_count)
        return SYN_FAIL(err, SYN_E_INVALID, "binds: more than %d entries", SYN_INSTANCE_BINDS_MAX);
    if (spec->tmpfs_count > SYN_INSTANCE_MOUNTS_MAX ||
        spec->secrets_count > SYN_INSTANCE_MOUNTS_MAX ||
        spec->empties_count > SYN_INSTANCE_MOUNTS_MAX ||
        spec->volumes_count > SYN_INSTANCE_MOUNTS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "tmpfs, secrets, volumes, empties: more than %d of one kind",
                        SYN_INSTANCE_MOUNTS_MAX);
    for (size_t i = 0; rc == SYN_OK && i < spec->binds_count; i++)
        rc = check_bind(spec, &spec->binds[i], "binds", i, err);
    for (size_t i = 0; rc == SYN_OK && i < spec->volumes_count; i++)
        rc = check_bind(spec, &spec->volumes[i], "volumes", i, err);
    for (size_t i = 0; rc == SYN_OK && i < spec->tmpfs_count; i++) {
        if (spec->tmpfs[i].bytes < 4096 || spec->tmpfs[i].bytes > (int64_t)1 << 44)
            return SYN_FAIL(err, SYN_E_INVALID, "tmpfs[%zu]: expected 4096 bytes or more", i);
        rc = syn_str_eq(spec->tmpfs[i].container, "/tmp")
                 ? SYN_OK
                 : check_target(spec, spec->tmpfs[i].container, "tmpfs", i, err);
    }
    for (size_t i = 0; rc == SYN_OK && i < spec->secrets_count; i++)
        rc = check_target(spec, spec->secrets[i].container, "secrets", i, err);
    for (size_t i = 0; rc == SYN_OK && i < spec->empties_count; i++)
        rc = check_target(spec, spec->empties[i], "empties", i, err);
    return rc;
}

/* What is asked of the network itself, net.c checks. */
static int
check_account(const struct syn_instance_spec *spec, struct syn_err *err)
{
    for (size_t i = 0; spec->dns && spec->dns[i]; i++) {
        struct syn_addr addr;

        if (i == SYN_INSTANCE_DNS_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "dns: more than %d", SYN_INSTANCE_DNS_MAX);
        if (syn_addr_parse(spec->dns[i], "dns", &addr, err) < 0)
            return SYN_E_INVALID;
    }
    if (spec->dns_search &&
        (strlen(spec->dns_search) > 253 || strpbrk(spec->dns_search, " \t\n;#")))
        return SYN_FAIL(err, SYN_E_INVALID, "dns_search: expected a domain");
    return SYN_OK;
}

static int
check_network(const struct syn_instance_spec *spec, struct syn_err *err)
{
    if (spec->hosts_count > SYN_INSTANCE_HOSTS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "hosts: more than %d entries", SYN_INSTANCE_HOSTS_MAX);
    for (size_t i = 0; i < spec->hosts_count; i++) {
        const struct syn_host_entry *entry = &spec->hosts[i];

        if (!entry->name || !entry->address || strlen(entry->name) > 253 ||
            strlen(entry->address) > 45 || strpbrk(entry->name, " \t\n#") ||
            strpbrk(entry->address, " \t\n#"))
            return SYN_FAIL(err, SYN_E_INVALID, "hosts[%zu]: expected a name and an address", i);
    }
    if (spec->network == SYN_NETWORK_ACCOUNT)
        return check_account(spec, err);
    if (spec->network == SYN_NETWORK_NONE)
        return SYN_OK;
    if (!spec->group || !syn_name_ok(spec->group))
        return SYN_FAIL(err, SYN_E_INVALID, "group network needs a group name");
    if (!spec->address || strlen(spec->address) >= sizeof(((struct syn_plan *)0)->address))
        return SYN_FAIL(err, SYN_E_INVALID, "group network needs an address like 10.1.2.3/24");
    return SYN_OK;
}

/* What the agent adds for the hardware, not the tenant: still nothing that could surprise. */
static int
check_hardware(const struct syn_instance_spec *spec, struct syn_err *err)
{
    size_t count = 0;

    for (; spec->devices && spec->devices[count]; count++) {
        if (count == SYN_INSTANCE_DEVICES_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "devices: more than %d", SYN_INSTANCE_DEVICES_MAX);
        if (!path_clean(spec->devices[count]) || !syn_str_starts(spec->devices[count], "/dev/"))
            return SYN_FAIL(err, SYN_E_INVALID, "devices[%zu]: expected a path below /dev: %s",
                            count, spec->devices[count]);
    }
    if (spec->drivers_count > SYN_INSTANCE_BINDS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "drivers: more than %d", SYN_INSTANCE_BINDS_MAX);
    if (spec->drivers_count > 0 && !spec->rootfs)
        return SYN_FAIL(err, SYN_E_INVALID, "drivers: the host's /usr has its own");
    for (size_t i = 0; i < spec->drivers_count; i++) {
        if (!path_clean(spec->drivers[i].host) || !path_clean(spec->drivers[i].container) ||
            !below(spec->drivers[i].container, "/usr") || !spec->drivers[i].ro)
            return SYN_FAIL(err, SYN_E_INVALID,
                            "drivers[%zu]: expected a read-only file below /usr", i);
    }
    return SYN_OK;
}

static int
check_numbers(const struct syn_instance_spec *spec, struct syn_err *err)
{
    const struct {
        const char *name;
        int64_t value, min, max;
    } ranges[] = {
        {"scratch_bytes", spec->scratch_bytes, SYN_SCRATCH_BYTES_MIN, SYN_SCRATCH_BYTES_MAX},
        {"shm_bytes", spec->shm_bytes, 4096, (int64_t)1 << 44},
        {"cpu_millicores", spec->cpu_millicores, 10, INT64_C(4096000)},
        {"memory_bytes", spec->memory_bytes, (int64_t)4 << 20, (int64_t)1 << 50},
        {"pids_max", spec->pids_max, 1, 4194304},
        {"wall_ms", spec->wall_ms, 1, (int64_t)1 << 50},
        {"eager_ms", spec->eager_ms, 1, (int64_t)1 << 50},
        {"grace_ms", spec->grace_ms, 1, (int64_t)1 << 40},
        {"log_bytes_max", spec->log_bytes_max, 4096, (int64_t)1 << 44},
        {"stop_signal", spec->stop_signal, 1, 64},
    };

    for (size_t i = 0; i < SYN_LEN(ranges); i++) {
        if (ranges[i].value != 0 &&
            (ranges[i].value < ranges[i].min || ranges[i].value > ranges[i].max))
            return SYN_FAIL(err, SYN_E_INVALID, "%s: expected %lld..%lld, got %lld", ranges[i].name,
                            (long long)ranges[i].min, (long long)ranges[i].max,
                            (long long)ranges[i].value);
    }
    if (spec->uid >= SYN_BUNDLE_IDS || spec->gid >= SYN_BUNDLE_IDS)
        return SYN_FAIL(err, SYN_E_INVALID, "uid and gid: expected 1..%u", SYN_BUNDLE_IDS - 1);
    return SYN_OK;
}

int
syn_bundle_check(const struct syn_instance_spec *spec, struct syn_err *err)
{
    int rc;

    if (!spec->id || !syn_name_ok(spec->id))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "instance id: expected lower-case letters, digits and "
                        "dashes, at most 63");
    if (!path_clean(spec->dir) || strpbrk(spec->dir, ":,\\"))
        return SYN_FAIL(err, SYN_E_INVALID, "instance folder must be an absolute plain path");
    if (spec->rootfs && (!path_clean(spec->rootfs) || strpbrk(spec->rootfs, ":,\\")))
        return SYN_FAIL(err, SYN_E_INVALID, "rootfs must be an absolute plain path");
    if (!spec->argv || !spec->argv[0] || spec->argv[0][0] == '\0')
        return SYN_FAIL(err, SYN_E_INVALID, "argv is empty");
    if (spec->cwd && !syn_str_eq(spec->cwd, "/") && !path_clean(spec->cwd))
        return SYN_FAIL(err, SYN_E_INVALID, "cwd must be an absolute plain path");
    if (spec->hostname && !syn_name_ok(spec->hostname))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "hostname: expected lower-case letters, digits and dashes");
    rc = check_list(spec->argv, SYN_INSTANCE_ARGS_MAX, "argv", err);
    if (rc == SYN_OK)
        rc = check_list(spec->env, SYN_INSTANCE_ENV_MAX, "env", err);
    if (rc == SYN_OK)
        rc = check_mounts(spec, err);
    if (rc == SYN_OK)
        rc = check_network(spec, err);
    if (rc == SYN_OK)
        rc = check_hardware(spec, err);
    return rc < 0 ? rc : check_numbers(spec, err);
}

uint32_t
syn_bundle_id_base(const char *name)
{
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return ID_BASE_FIRST + hash % ID_RANGES * SYN_BUNDLE_IDS;
}

uint32_t
syn_bundle_host_id(const struct syn_plan *plan, uint32_t id)
{
    /* gVisor has users of its own; towards the host its file server acts under the same numbers. */
    return plan->gvisor ? id : (uint32_t)plan->id_base + id;
}

static int
add_mount(json_t *mounts, const char *target, const char *type, const char *source,
          const char *options, struct syn_err *err)
{
    SYN_JSON(list);
    json_t *entry = NULL;
    int rc = SYN_OK;

    list = json_array();
    if (!list)
        return SYN_FAIL(err, SYN_E_NOMEM, "bundle");
    while (rc == SYN_OK && *options != '\0') {
        size_t len = strcspn(options, ",");

        rc = syn_json_append_take(list, json_stringn(options, len), err);
        options += len + (options[len] == ',');
    }
    if (rc == SYN_OK)
        rc = syn_json_pack(&entry, err, "{s:s, s:s, s:s, s:O}", "destination", target, "type", type,
                           "source", source, "options", list);
    return rc < 0 ? rc : syn_json_append_take(mounts, entry, err);
}

/* Host folders that are no links into /usr (a machine without merged /usr), bound as they are. */
static int
add_host_root(json_t *mounts, struct syn_err *err)
{
    static const char *const folders[] = {"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"};
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(folders); i++) {
        struct stat st;

        if (lstat(folders[i], &st) == 0 && S_ISDIR(st.st_mode))
            rc = add_mount(mounts, folders[i], "bind", folders[i], "rbind,ro,nosuid,nodev", err);
    }
    return rc;
}

static int
add_kernel_mounts(json_t *mounts, const struct syn_instance_spec *spec, bool gvisor,
                  struct syn_err *err)
{
    static const char *const topology[] = {"/sys/devices/system/cpu", "/sys/devices/system/node"};
    char shm[128];
    int rc = add_mount(mounts, "/proc", "proc", "proc", "nosuid,noexec,nodev", err);

    if (rc == SYN_OK)
        rc = add_mount(mounts, "/dev", "tmpfs", "tmpfs", "nosuid,noexec,mode=755,size=64k", err);
    (void)snprintf(shm, sizeof(shm), "nosuid,noexec,nodev,mode=1777,size=%lld",
                   (long long)(spec->shm_bytes > 0 ? spec->shm_bytes : (int64_t)64 << 20));
    if (rc == SYN_OK)
        rc = add_mount(mounts, "/dev/shm", "tmpfs", "shm", shm, err);
    /* For programs that are run within it on a terminal; gVisor has one of its own. */
    if (rc == SYN_OK && !gvisor)
        rc = add_mount(mounts, "/dev/pts", "devpts", "devpts",
                       "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5", err);
    if (rc == SYN_OK && gvisor)
        rc = add_mount(mounts, "/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro", err);
    /* Of the host's /sys a program under runc sees the processors' layout and nothing else. */
    for (size_t i = 0; rc == SYN_OK && !gvisor && i < SYN_LEN(topology); i++) {
        if (access(topology[i], F_OK) == 0)
            rc = add_mount(mounts, topology[i], "bind", topology[i], "rbind,ro,nosuid,noexec,nodev",
                           err);
    }
    return rc;
}

/* What the instance's owner wants mounted. */
struct wanted {
    const char *target, *type, *source, *options; /* options: or, of a tmpfs, its size */
    int64_t bytes;
};

/* What is below another comes after it. */
static int
by_target(const void *a, const void *b)
{
    return strcmp(((const struct wanted *)a)->target, ((const struct wanted *)b)->target);
}

static int
add_wanted(json_t *mounts, const struct wanted *wanted, struct syn_err *err)
{
    char options[96];

    if (wanted->options)
        return add_mount(mounts, wanted->target, wanted->type, wanted->source, wanted->options,
                         err);
    (void)snprintf(options, sizeof(options), "nosuid,nodev,mode=1777,size=%lld",
                   (long long)wanted->bytes);
    return add_mount(mounts, wanted->target, wanted->type, wanted->source, options, err);
}

static int
add_own_mounts(json_t *mounts, const struct syn_instance_spec *spec, struct syn_err *err)
{
    struct wanted rows[SYN_INSTANCE_BINDS_MAX + 3 * SYN_INSTANCE_MOUNTS_MAX];
    char sources[SYN_INSTANCE_MOUNTS_MAX][SYN_PATH_MAX];
    char empties[SYN_INSTANCE_MOUNTS_MAX][SYN_PATH_MAX];
    size_t count = 0;
    int rc = SYN_OK;

    for (size_t i = 0; i < spec->binds_count; i++)
        rows[count++] = (struct wanted){
            spec->binds[i].container, "bind", spec->binds[i].host,
            spec->binds[i].ro ? "rbind,ro,nosuid,nodev" : "rbind,rw,nosuid,nodev", 0};
    for (size_t i = 0; i < spec->tmpfs_count; i++)
        rows[count++] =
            (struct wanted){spec->tmpfs[i].container, "tmpfs", "tmpfs", NULL, spec->tmpfs[i].bytes};
    for (size_t i = 0; rc == SYN_OK && i < spec->secrets_count; i++) {
        rc = syn_path_format(sources[i], sizeof(sources[i]), err, "%s/" SYN_DIR_SECRETS "/%zu",
                             spec->dir, i);
        rows[count++] = (struct wanted){spec->secrets[i].container, "bind", sources[i],
                                        "bind,ro,nosuid,nodev,noexec", 0};
    }
    for (size_t i = 0; rc == SYN_OK && i < spec->empties_count; i++) {
        rc = syn_path_format(empties[i], sizeof(empties[i]), err,
                             "%s/" SYN_DIR_SCRATCH "/" SYN_DIR_EMPTIES "/%zu", spec->dir, i);
        rows[count++] =
            (struct wanted){spec->empties[i], "bind", empties[i], "bind,rw,nosuid,nodev", 0};
    }
    if (count > 0)
        qsort(rows, count, sizeof(rows[0]), by_target);
    for (size_t i = 0; rc == SYN_OK && i < count; i++)
        rc = add_wanted(mounts, &rows[i], err);
    return rc;
}

/* In the scratch space, unless it is to be in memory. */
static bool
has_own_tmp(const struct syn_instance_spec *spec)
{
    for (size_t i = 0; i < spec->tmpfs_count; i++) {
        if (syn_str_eq(spec->tmpfs[i].container, "/tmp"))
            return false;
    }
    return true;
}

static int
make_mounts(const struct syn_instance_spec *spec, const struct syn_plan *plan, json_t **ret,
            struct syn_err *err)
{
    SYN_JSON(mounts);
    char source[SYN_PATH_MAX];
    int rc;

    mounts = json_array();
    if (!mounts)
        return SYN_FAIL(err, SYN_E_NOMEM, "bundle");
    rc = add_kernel_mounts(mounts, spec, plan->gvisor, err);
    if (rc == SYN_OK && !spec->rootfs)
        rc = add_host_root(mounts, err);
    (void)snprintf(source, sizeof(source), "%s/" SYN_DIR_SCRATCH, spec->dir);
    if (rc == SYN_OK)
        rc = add_mount(mounts, "/synor", "bind", source, "rbind,rw,nosuid,nodev", err);
    (void)snprintf(source, sizeof(source), "%s/" SYN_DIR_SCRATCH "/tmp", spec->dir);
    if (rc == SYN_OK && has_own_tmp(spec))
        rc = add_mount(mounts, "/tmp", "bind", source, "bind,rw,nosuid,nodev", err);
    if (rc == SYN_OK)
        rc = add_own_mounts(mounts, spec, err);
    if (rc == SYN_OK && plan->ahead == SYN_AHEAD_PROGRAM) {
        (void)snprintf(source, sizeof(source), "%s/" SYN_FILE_RESOLV, spec->dir);
        if (access(source, F_OK) == 0)
            rc = add_mount(mounts, "/etc/resolv.conf", "bind", source, "bind,ro,nosuid,nodev", err);
    }
    for (size_t i = 0; rc == SYN_OK && i < spec->drivers_count; i++)
        rc = add_mount(mounts, spec->drivers[i].container, "bind", spec->drivers[i].host,
                       "bind,ro,nosuid,nodev", err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(mounts);
    return rc;
}

/* The devices themselves, and the rules of the device cgroup, which deny everything else: the tool
 * writes them for either version of cgroups. */
static int
add_devices(json_t *linux_part, const struct syn_instance_spec *spec, struct syn_err *err)
{
    json_t *rules = json_object_get(json_object_get(linux_part, "resources"), "devices");
    SYN_JSON(nodes);
    int rc = SYN_OK;

    if (!spec->devices || !spec->devices[0])
        return SYN_OK;
    nodes = json_array();
    if (!nodes)
        return SYN_FAIL(err, SYN_E_NOMEM, "bundle");
    for (size_t i = 0; rc == SYN_OK && spec->devices[i]; i++) {
        const char *path = spec->devices[i];
        json_t *entry = NULL;
        struct stat st;

        if (stat(path, &st) < 0)
            return SYN_FAIL_SYS(err, errno, "device %s", path);
        if (!S_ISCHR(st.st_mode))
            return SYN_FAIL(err, SYN_E_INVALID, "device %s: not a character device", path);
        rc = syn_json_pack(&entry, err, "{s:s, s:s, s:I, s:I, s:i}", "path", path, "type", "c",
                           "major", (json_int_t)major(st.st_rdev), "minor",
                           (json_int_t)minor(st.st_rdev), "fileMode", 0666);
        if (rc == SYN_OK)
            rc = syn_json_append_take(nodes, entry, err);
        if (rc == SYN_OK)
            rc = syn_json_pack(&entry, err, "{s:b, s:s, s:I, s:I, s:s}", "allow", 1, "type", "c",
                               "major", (json_int_t)major(st.st_rdev), "minor",
                               (json_int_t)minor(st.st_rdev), "access", "rw");
        if (rc == SYN_OK)
            rc = syn_json_append_take(rules, entry, err);
    }
    return rc < 0 ? rc : syn_json_set_take(linux_part, "devices", SYN_TAKE(nodes), err);
}

static bool
env_has(const struct syn_instance_spec *spec, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; spec->env && spec->env[i]; i++) {
        if (strncmp(spec->env[i], name, len) == 0)
            return true;
    }
    return false;
}

static int
make_env(const struct syn_instance_spec *spec, json_t **ret, struct syn_err *err)
{
    static const struct {
        const char *name, *pair;
    } defaults[] = {
        {"PATH=", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        {"HOME=", "HOME=/synor/scratch"},
        {"TMPDIR=", "TMPDIR=/tmp"},
        {"LANG=", "LANG=C.UTF-8"},
    };
    SYN_JSON(list);
    int rc = SYN_OK;

    list = json_array();
    if (!list)
        return SYN_FAIL(err, SYN_E_NOMEM, "bundle");
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(defaults); i++) {
        if (!env_has(spec, defaults[i].name))
            rc = syn_json_append_take(list, json_string(defaults[i].pair), err);
    }
    for (size_t i = 0; rc == SYN_OK && spec->env && spec->env[i]; i++)
        rc = syn_json_append_take(list, json_string(spec->env[i]), err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(list);
    return rc;
}

static int
make_process(const struct syn_instance_spec *spec, json_t **ret, struct syn_err *err)
{
    SYN_JSON(args);
    SYN_JSON(env);
    struct rlimit files = {0};
    json_int_t nofile;
    int rc = make_env(spec, &env, err);

    if (rc < 0)
        return rc;
    args = json_array();
    if (!args)
        return SYN_FAIL(err, SYN_E_NOMEM, "bundle");
    for (size_t i = 0; rc == SYN_OK && spec->argv[i]; i++)
        rc = syn_json_append_take(args, json_string(spec->argv[i]), err);
    if (rc < 0)
        return rc;
    /* A limit above our own hard one would need CAP_SYS_RESOURCE, which a node may lack. */
    (void)getrlimit(RLIMIT_NOFILE, &files);
    nofile = (json_int_t)SYN_MIN(files.rlim_max, NOFILE_MAX);
    return syn_json_pack(
        ret, err,
        "{s:b, s:{s:i, s:i}, s:O, s:O, s:s, s:{}, s:b, s:[{s:s, s:I, s:I}, {s:s, s:i, s:i}]}",
        "terminal", 0, "user", "uid", (int)(spec->uid ? spec->uid : SYN_UID_DEFAULT), "gid",
        (int)(spec->gid ? spec->gid : SYN_UID_DEFAULT), "args", args, "env", env, "cwd",
        spec->cwd ? spec->cwd : "/synor/scratch", "capabilities", "noNewPrivileges", 1, "rlimits",
        "type", "RLIMIT_NOFILE", "hard", nofile, "soft", nofile, "type", "RLIMIT_CORE", "hard", 0,
        "soft", 0);
}

static int
make_namespaces(const struct syn_plan *plan, json_t **ret, struct syn_err *err)
{
    static const char *const kinds[] = {"pid", "ipc", "uts", "mount", "cgroup", "network", "user"};
    SYN_JSON(list);
    int rc = SYN_OK;

    list = json_array();
    if (!list)
        return SYN_FAIL(err, SYN_E_NOMEM, "bundle");
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(kinds); i++) {
        json_t *entry = NULL;

        bool joined = syn_plan_networked(plan) && syn_str_eq(kinds[i], "network");

        /* gVisor makes its own user namespace. */
        if (plan->gvisor && (syn_str_eq(kinds[i], "user") || syn_str_eq(kinds[i], "cgroup")))
            continue;
        /* The shim is in the right network namespace already, and so is the tool. */
        if (joined)
            rc = syn_json_pack(&entry, err, "{s:s, s:s}", "type", kinds[i], "path",
                               "/proc/self/ns/net");
        else
            rc = syn_json_pack(&entry, err, "{s:s}", "type", kinds[i]);
        rc = rc < 0 ? rc : syn_json_append_take(list, entry, err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(list);
    return rc;
}

/* What runc needs beyond gVisor: id mappings, the system call list, the masked corners of /proc. */
static int
add_runc_parts(json_t *linux_part, const struct syn_plan *plan, struct syn_err *err)
{
    json_t *part = NULL;
    json_int_t base = plan->id_base;
    int rc = syn_json_pack(&part, err, "[{s:i, s:I, s:i}]", "containerID", 0, "hostID", base,
                           "size", (int)SYN_BUNDLE_IDS);

    rc = rc < 0 ? rc : syn_json_set_take(linux_part, "uidMappings", part, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&part, err, "[{s:i, s:I, s:i}]", "containerID", 0, "hostID", base,
                           "size", (int)SYN_BUNDLE_IDS);
    rc = rc < 0 ? rc : syn_json_set_take(linux_part, "gidMappings", part, err);
    if (rc == SYN_OK)
        rc = syn_seccomp_json(&part, err);
    rc = rc < 0 ? rc : syn_json_set_take(linux_part, "seccomp", part, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&part, err, "[s, s, s, s, s, s, s, s, s, s]", "/proc/acpi",
                           "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                           "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
                           "/proc/scsi", "/proc/interrupts");
    rc = rc < 0 ? rc : syn_json_set_take(linux_part, "maskedPaths", part, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&part, err, "[s, s, s, s, s]", "/proc/bus", "/proc/fs", "/proc/irq",
                           "/proc/sys", "/proc/sysrq-trigger");
    return rc < 0 ? rc : syn_json_set_take(linux_part, "readonlyPaths", part, err);
}

int
syn_bundle_json(const struct syn_instance_spec *spec, const struct syn_plan *plan, json_t **ret,
                struct syn_err *err)
{
    SYN_JSON(mounts);
    SYN_JSON(process);
    SYN_JSON(namespaces);
    SYN_JSON(linux_part);
    char root[128];
    int rc = make_mounts(spec, plan, &mounts, err);

    if (rc == SYN_OK)
        rc = make_process(spec, &process, err);
    if (rc == SYN_OK)
        rc = make_namespaces(plan, &namespaces, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&linux_part, err, "{s:O, s:s, s:{s:[{s:b, s:s}]}}", "namespaces",
                           namespaces, "cgroupsPath", plan->cgroup, "resources", "devices", "allow",
                           0, "access", "rwm");
    if (rc == SYN_OK)
        rc = add_devices(linux_part, spec, err);
    if (rc == SYN_OK && !plan->gvisor)
        rc = add_runc_parts(linux_part, plan, err);
    if (rc < 0)
        return rc;
    (void)snprintf(root, sizeof(root), "%s/rootfs", plan->cover);
    return syn_json_pack(ret, err, "{s:s, s:O, s:{s:s, s:b}, s:s, s:O, s:O}", "ociVersion", "1.0.2",
                         "process", process, "root", "path", root, "readonly", 1, "hostname",
                         spec->hostname ? spec->hostname : spec->id, "mounts", mounts, "linux",
                         linux_part);
}
