#include "mounts_priv.h"

#include <string.h>

#include <synor/base/str.h>

#define TMPFS_MIN     4096
#define TMPFS_DEFAULT (INT64_C(64) << 20)

/* clang-format off */
static const struct syn_field mount_fields[] = {
    {.name = "path", .kind = SYN_FIELD_STR, .required = true, .min = 2, .max = SYN_SERVICE_MOUNT_PATH_MAX,
     .help = "where it is found; absolute, outside /proc, /sys and /dev"},
    {.name = "kind", .kind = SYN_FIELD_STR, .required = true, .choices = "tmpfs|scratch|secret|content|volume",
     .help = "tmpfs: empty, in the replica's memory; scratch: empty, in its scratch space; secret: one of the account's as a file that its user alone may "
             "read; content: what is stored, read-only; volume: what the account keeps on a node"},
    {.name = "source", .kind = SYN_FIELD_STR, .min = 0, .max = SYN_SERVICE_MOUNT_PATH_MAX,
     .help = "secret: its name; content: synor://NAME or synor://CID; volume: its name"},
    {.name = "size_bytes", .kind = SYN_FIELD_BYTES, .min = TMPFS_MIN, .max = INT64_C(1) << 44,
     .help = "tmpfs: the most that it holds; default 64 MiB, at most the replica's memory"},
    {.name = "read_only", .kind = SYN_FIELD_BOOL, .help = "volume: nothing of it may be changed"},
    {.name = "cid", .kind = SYN_FIELD_STR, .min = 0, .max = SYN_SERVICE_CID_MAX,
     .help = "content: what the source stands for; the platform sets it"},
};
/* clang-format on */
const struct syn_schema service_mount_schema = SYN_SCHEMA("ServiceMount", mount_fields);

bool
service_path_plain(const char *path)
{
    if (*path != '/')
        return false;
    for (const char *part = path; *part != '\0';) {
        const char *name = part + 1;
        size_t len = strcspn(name, "/");

        if (len == 0 || (len == 1 && *name == '.') || (len == 2 && strncmp(name, "..", 2) == 0))
            return false;
        for (size_t i = 0; i < len; i++)
            if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
                return false;
        part = name + len;
    }
    return true;
}

/* The runtime's drivers refuse the same; here it is told before anything is placed. */
static bool
path_free(const char *path)
{
    static const char *const kernels[] = {"/proc", "/sys", "/dev"};
    static const char *const ours[] = {"/synor", "/etc", "/etc/hosts", "/etc/hostname",
                                       "/etc/resolv.conf"};

    for (size_t i = 0; i < SYN_LEN(kernels); i++) {
        size_t len = strlen(kernels[i]);

        if (strncmp(path, kernels[i], len) == 0 && (path[len] == '\0' || path[len] == '/'))
            return false;
    }
    for (size_t i = 0; i < SYN_LEN(ours); i++)
        if (syn_str_eq(path, ours[i]))
            return false;
    return true;
}

static int
check_tmpfs(const json_t *spec, json_t *mount, const char *path, struct syn_err *err)
{
    int64_t memory = syn_json_i64(spec, "memory_bytes", 0);
    bool said = json_object_get(mount, "size_bytes") != NULL;
    int64_t size = syn_json_i64(mount, "size_bytes", SYN_MIN(TMPFS_DEFAULT, memory));

    if (*syn_json_str(mount, "source", ""))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.mounts: %s: a tmpfs begins empty; leave source out", path);
    if (size > memory)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.mounts: %s: a tmpfs is of the replica's memory, which is %lld bytes; "
                        "ask for more memory, or for a smaller one",
                        path, (long long)memory);
    return said ? SYN_OK : syn_json_set_i64(mount, "size_bytes", size, err);
}

/* What the source is, by kind. */
static int
check_source(const char *path, const char *kind, const char *source, struct syn_err *err)
{
    if (syn_str_eq(kind, "content"))
        return syn_str_starts(source, "synor://") && source[strlen("synor://")] != '\0'
                   ? SYN_OK
                   : SYN_FAIL(err, SYN_E_INVALID,
                              "spec.mounts: %s: \"%.80s\": expected synor://NAME or synor://CID",
                              path, source);
    return syn_name_ok(source)
               ? SYN_OK
               : SYN_FAIL(err, SYN_E_INVALID, "spec.mounts: %s: \"%.63s\" is no name of a %s", path,
                          source, kind);
}

/* Its limit is that of the scratch space. */
static int
check_scratch(const json_t *mount, const char *path, struct syn_err *err)
{
    if (*syn_json_str(mount, "source", ""))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.mounts: %s: a scratch folder begins empty; leave source out", path);
    return SYN_OK;
}

static int
check_mount(const json_t *spec, json_t *mount, struct syn_err *err)
{
    const char *path = syn_json_str(mount, "path", ""), *kind = syn_json_str(mount, "kind", "");
    bool tmpfs = syn_str_eq(kind, "tmpfs");

    if (!service_path_plain(path))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.mounts: \"%.100s\": expected an absolute path such as /data", path);
    if (!path_free(path) || (!tmpfs && syn_str_eq(path, "/tmp")))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.mounts: %s: it is the platform's own; use a path such as /data",
                        path);
    if (!syn_str_eq(kind, "content"))
        (void)json_object_del(mount, "cid");
    if (!syn_str_eq(kind, "volume"))
        (void)json_object_del(mount, "read_only");
    if (tmpfs)
        return check_tmpfs(spec, mount, path, err);
    if (json_object_get(mount, "size_bytes"))
        return SYN_FAIL(err, SYN_E_INVALID, "spec.mounts: %s: a %s has no size_bytes", path, kind);
    if (syn_str_eq(kind, "scratch"))
        return check_scratch(mount, path, err);
    return check_source(path, kind, syn_json_str(mount, "source", ""), err);
}

struct row {
    const char *path;
    json_t *mount;
};

static int
by_path(const void *a, const void *b)
{
    return strcmp(((const struct row *)a)->path, ((const struct row *)b)->path);
}

/* The same mounts in another order are the same spec. */
static int
put_in_order(json_t *spec, const json_t *mounts, struct syn_err *err)
{
    struct row rows[SYN_SERVICE_MOUNTS_MAX];
    size_t count = json_array_size(mounts);
    SYN_JSON(sorted);

    assert(count <= SYN_SERVICE_MOUNTS_MAX);
    for (size_t i = 0; i < count; i++) {
        rows[i].mount = json_array_get(mounts, i);
        rows[i].path = syn_json_str(rows[i].mount, "path", "");
    }
    qsort(rows, count, sizeof(rows[0]), by_path);
    sorted = json_array();
    if (!sorted)
        return SYN_FAIL(err, SYN_E_NOMEM, "ordering mounts: out of memory");
    for (size_t i = 0; i < count; i++) {
        int rc;

        if (i > 0 && by_path(&rows[i - 1], &rows[i]) == 0)
            return SYN_FAIL(err, SYN_E_INVALID, "spec.mounts: %s: there are two", rows[i].path);
        rc = syn_json_append_take(sorted, json_incref(rows[i].mount), err);
        if (rc < 0)
            return rc;
    }
    return syn_json_set_take(spec, "mounts", SYN_TAKE(sorted), err);
}

int
service_mounts_check(json_t *spec, struct syn_err *err)
{
    const json_t *mounts = json_object_get(spec, "mounts");
    json_t *mount;
    size_t i;
    int rc = SYN_OK;

    if (json_array_size(mounts) == 0)
        return SYN_OK;
    json_array_foreach (mounts, i, mount)
        if (rc == SYN_OK)
            rc = check_mount(spec, mount, err);
    return rc < 0 ? rc : put_in_order(spec, mounts, err);
}

int
syn_service_secrets(const json_t *spec, json_t **ret, struct syn_err *err)
{
    const char *variable;
    json_t *name, *mount;
    SYN_JSON(all);
    size_t i;
    int rc = SYN_OK;

    all = json_object();
    if (!all)
        return SYN_FAIL(err, SYN_E_NOMEM, "listing secrets: out of memory");
    json_object_foreach (json_object_get(spec, "secrets"), variable, name)
        if (rc == SYN_OK)
            rc = syn_json_set_take(all, variable, json_incref(name), err);
    json_array_foreach (json_object_get(spec, "mounts"), i, mount)
        if (rc == SYN_OK && syn_str_eq(syn_json_str(mount, "kind", ""), "secret"))
            rc = syn_json_set_take(all, syn_json_str(mount, "path", ""),
                                   json_incref(json_object_get(mount, "source")), err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(all);
    return rc;
}
