/* The root file system is a read-only overlay of two folders:
 *
 *      DIR/root                  per instance: hostname, hosts, mount points
 *      cache/host-KEY  or image  shared: links into /usr and a minimal /etc, or an unpacked image
 *
 * and what the bundle then mounts on it (/usr, /synor, ...). Nothing of the host is visible but its
 * /usr and the copies below, each of which is world-readable on the host.
 *
 * It is put together in the shim's private mount namespace under a folder that every user may pass
 * through (the "cover"): inside a user namespace runc must be able to walk to it, while the
 * platform's data folder stays 0700. When the last process is gone, so are these mounts. */
#include "rootfs_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "bundle_priv.h"
#include "file_priv.h"

#define COPY_DEPTH_MAX     4
#define COPY_BYTES_MAX     ((off_t)1 << 20)
#define COPY_ENTRIES_MAX   4096
#define HOST_IMAGE_VERSION 1

/* %s: what hosts are looked up in besides files. */
#define NSSWITCH                                                                       \
    "passwd: files\ngroup: files\nhosts: files%s\nnetworks: files\nprotocols: files\n" \
    "services: files\n"

/* What programs in /usr expect of /etc: loader cache, alternatives, certificates, fonts, time zone,
 * and the system-wide configuration of the interpreters. No accounts, no keys, no services. */
static const char *const etc_patterns[] = {
    "/etc/ld.so.cache",    "/etc/alternatives", "/etc/ssl/certs", "/etc/ssl/openssl.cnf",
    "/etc/fonts",          "/etc/localtime",    "/etc/timezone",  "/etc/mime.types",
    "/etc/protocols",      "/etc/services",     "/etc/magic",     "/etc/magic.mime",
    "/etc/gai.conf",       "/etc/matplotlibrc", "/etc/python3*",  "/etc/java*",
    "/etc/perl",           "/etc/OpenCL",       "/etc/vulkan",    "/etc/glvnd",
    "/etc/debian_version", "/etc/os-release",
};

static const char *const mount_points[] = {"proc", "dev", "sys", "tmp", "synor", "usr"};

struct copier {
    unsigned entries; /* so far, against COPY_ENTRIES_MAX */
};

static int copy_entry(struct copier *copier, const char *from, const char *to, int depth,
                      struct syn_err *err);

static int
copy_file(const char *from, const char *to, mode_t mode, struct syn_err *err)
{
    SYN_BUF(text);
    int rc = syn_file_read(AT_FDCWD, from, (size_t)COPY_BYTES_MAX, &text, err);

    if (rc < 0)
        return rc;
    rc = syn_file_write(AT_FDCWD, to, syn_buf_text(&text), text.len, err);
    if (rc == SYN_OK && chmod(to, mode & 0555) < 0)
        return SYN_FAIL_SYS(err, errno, "setting the mode of %s", to);
    return rc;
}

static int
copy_folder(struct copier *copier, const char *from, const char *to, int depth, struct syn_err *err)
{
    DIR *dir;
    const struct dirent *entry;
    int rc = syn_dir_make(AT_FDCWD, to, 0755, err);

    if (rc < 0 || depth == COPY_DEPTH_MAX)
        return rc;
    dir = opendir(from);
    if (!dir)
        return SYN_FAIL_SYS(err, errno, "reading %s", from);
    while (rc == SYN_OK && (entry = readdir(dir)) != NULL) {
        char from_entry[SYN_PATH_MAX], to_entry[SYN_PATH_MAX];

        if (entry->d_name[0] == '.' || syn_str_ends(entry->d_name, ".gz"))
            continue; /* manual pages are most of /etc/alternatives */
        rc = syn_path_format(from_entry, sizeof(from_entry), err, "%s/%s", from, entry->d_name);
        if (rc == SYN_OK)
            rc = syn_path_format(to_entry, sizeof(to_entry), err, "%s/%s", to, entry->d_name);
        if (rc == SYN_OK)
            rc = copy_entry(copier, from_entry, to_entry, depth + 1, err);
    }
    (void)closedir(dir);
    return rc;
}

/* Links stay links, only what everybody may read is copied, the rest is passed over. */
static int
copy_entry(struct copier *copier, const char *from, const char *to, int depth, struct syn_err *err)
{
    struct stat st;
    char link[PATH_MAX];
    ssize_t len;

    if (lstat(from, &st) < 0 || ++copier->entries > COPY_ENTRIES_MAX)
        return SYN_OK;
    if (S_ISLNK(st.st_mode)) {
        len = readlink(from, link, sizeof(link) - 1);
        if (len < 0)
            return SYN_OK;
        link[len] = '\0';
        if (symlink(link, to) < 0 && errno != EEXIST)
            return SYN_FAIL_SYS(err, errno, "linking %s", to);
        return SYN_OK;
    }
    if (!(st.st_mode & S_IROTH))
        return SYN_OK;
    if (S_ISDIR(st.st_mode))
        return st.st_mode & S_IXOTH ? copy_folder(copier, from, to, depth, err) : SYN_OK;
    if (S_ISREG(st.st_mode) && st.st_size <= COPY_BYTES_MAX)
        return copy_file(from, to, st.st_mode, err);
    return SYN_OK;
}

static int
copy_pattern(const char *pattern, const char *image, struct syn_err *err)
{
    struct copier copier = {0};
    glob_t found;
    int rc = SYN_OK;

    if (glob(pattern, 0, NULL, &found) != 0)
        return SYN_OK;
    for (size_t i = 0; rc == SYN_OK && i < found.gl_pathc; i++) {
        char to[SYN_PATH_MAX];
        char *slash;

        rc = syn_path_format(to, sizeof(to), err, "%s%s", image, found.gl_pathv[i]);
        if (rc < 0)
            break;
        slash = strrchr(to, '/');
        *slash = '\0';
        rc = syn_dir_make(AT_FDCWD, to, 0755, err);
        *slash = '/';
        if (rc == SYN_OK)
            rc = copy_entry(&copier, found.gl_pathv[i], to, 0, err);
    }
    globfree(&found);
    return rc;
}

static int
link_top(const char *image, struct syn_err *err)
{
    static const char *const names[] = {"bin", "sbin", "lib", "lib32", "lib64", "libx32"};

    for (size_t i = 0; i < SYN_LEN(names); i++) {
        char from[32], to[SYN_PATH_MAX], target[PATH_MAX];
        struct stat st;
        ssize_t len;
        int rc = syn_path_format(to, sizeof(to), err, "%s/%s", image, names[i]);

        if (rc < 0)
            return rc;
        (void)snprintf(from, sizeof(from), "/%s", names[i]);
        if (lstat(from, &st) < 0)
            continue;
        if (S_ISDIR(st.st_mode)) {
            rc = syn_dir_make(AT_FDCWD, to, 0755, err);
            if (rc < 0)
                return rc;
            continue;
        }
        len = readlink(from, target, sizeof(target) - 1);
        if (len < 0)
            continue;
        target[len] = '\0';
        if (symlink(target, to) < 0)
            return SYN_FAIL_SYS(err, errno, "linking %s", to);
    }
    return SYN_OK;
}

static int
host_image_fill(const char *image, struct syn_err *err)
{
    SYN_BUF(nsswitch);
    char path[SYN_PATH_MAX];
    int rc = syn_path_format(path, sizeof(path), err, "%s/etc", image);

    if (rc == SYN_OK)
        rc = syn_dir_make(AT_FDCWD, path, 0755, err);
    if (rc == SYN_OK)
        rc = link_top(image, err);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(etc_patterns); i++)
        rc = copy_pattern(etc_patterns[i], image, err);
    if (rc == SYN_OK)
        rc = syn_path_format(path, sizeof(path), err, "%s/etc/nsswitch.conf", image);
    if (rc == SYN_OK)
        syn_buf_addf(&nsswitch, NSSWITCH, "");
    if (rc == SYN_OK)
        rc = syn_buf_ok(&nsswitch, err);
    if (rc == SYN_OK)
        rc = syn_file_write(AT_FDCWD, path, nsswitch.data, nsswitch.len, err);
    if (rc == SYN_OK)
        rc = syn_path_format(path, sizeof(path), err, "%s/var", image);
    if (rc == SYN_OK)
        rc = syn_dir_make(AT_FDCWD, path, 0755, err);
    if (rc == SYN_OK)
        rc = syn_path_format(path, sizeof(path), err, "%s/var/tmp", image);
    if (rc == SYN_OK && symlink("/tmp", path) < 0)
        return SYN_FAIL_SYS(err, errno, "linking %s", path);
    return rc;
}

static uint64_t
mix_mtime(uint64_t key, const char *path)
{
    struct stat st = {0};

    (void)stat(path, &st);
    key = (key ^ (uint64_t)st.st_mtim.tv_sec) * UINT64_C(1099511628211);
    return (key ^ (uint64_t)st.st_mtim.tv_nsec) * UINT64_C(1099511628211);
}

int
syn_rootfs_host_image(const char *cache, char *out, size_t cap, struct syn_err *err)
{
    uint64_t key = UINT64_C(14695981039346656037) + HOST_IMAGE_VERSION;
    char tmp[SYN_PATH_MAX];
    int rc;

    key = mix_mtime(key, "/etc/ld.so.cache");
    key = mix_mtime(key, "/etc/alternatives");
    key = mix_mtime(key, "/etc/ssl/certs");
    rc = syn_path_format(out, cap, err, "%s/host-%016llx", cache, (unsigned long long)key);
    if (rc < 0 || access(out, F_OK) == 0)
        return rc;
    rc = syn_path_format(tmp, sizeof(tmp), err, "%s.XXXXXX", out);
    if (rc < 0)
        return rc;
    if (!mkdtemp(tmp) || chmod(tmp, 0755) < 0)
        return SYN_FAIL_SYS(err, errno, "creating %s", tmp);
    rc = host_image_fill(tmp, err);
    if (rc == SYN_OK && rename(tmp, out) < 0 && errno != ENOTEMPTY && errno != EEXIST)
        rc = SYN_FAIL_SYS(err, errno, "renaming %s", tmp);
    (void)!syn_dir_remove(AT_FDCWD, tmp, NULL);
    return rc;
}

/* Where something will be mounted: in the scratch space below /synor, else in the layer. */
static int
point_path(const struct syn_instance_spec *spec, const char *target, char out[SYN_PATH_MAX],
           struct syn_err *err)
{
    bool scratch = syn_str_starts(target, "/synor/");

    return syn_path_format(out, SYN_PATH_MAX, err, "%s/%s%s", spec->dir,
                           scratch ? SYN_DIR_SCRATCH : SYN_DIR_ROOT,
                           scratch ? target + strlen("/synor") : target);
}

static int
make_folder_point(const struct syn_instance_spec *spec, const char *target, mode_t mode,
                  struct syn_err *err)
{
    char path[SYN_PATH_MAX];
    int rc = point_path(spec, target, path, err);

    if (rc == SYN_OK)
        rc = syn_dir_make(AT_FDCWD, path, 0755, err);
    if (rc == SYN_OK && chmod(path, mode) < 0)
        rc = SYN_FAIL_SYS(err, errno, "setting the mode of %s", path);
    return rc;
}

static int
make_file_point(const struct syn_instance_spec *spec, const char *target, struct syn_err *err)
{
    char path[SYN_PATH_MAX], *slash;
    int rc = point_path(spec, target, path, err);

    if (rc < 0)
        return rc;
    slash = strrchr(path, '/');
    *slash = '\0';
    rc = syn_dir_make(AT_FDCWD, path, 0755, err);
    *slash = '/';
    return rc < 0 ? rc : syn_file_write(AT_FDCWD, path, "", 0, err);
}

static int
make_bind_point(const struct syn_instance_spec *spec, const struct syn_bind *bind,
                struct syn_err *err)
{
    struct stat st;

    if (stat(bind->host, &st) < 0)
        return SYN_FAIL_SYS(err, errno, "bind source %s", bind->host);
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return SYN_FAIL(err, SYN_E_INVALID, "bind source %s is neither a file nor a folder",
                        bind->host);
    return S_ISREG(st.st_mode) ? make_file_point(spec, bind->container, err)
                               : make_folder_point(spec, bind->container, 0755, err);
}

static int
make_mount_points(const struct syn_instance_spec *spec, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < spec->binds_count; i++)
        rc = make_bind_point(spec, &spec->binds[i], err);
    for (size_t i = 0; rc == SYN_OK && i < spec->drivers_count; i++)
        rc = make_bind_point(spec, &spec->drivers[i], err);
    for (size_t i = 0; rc == SYN_OK && i < spec->tmpfs_count; i++)
        rc = make_folder_point(spec, spec->tmpfs[i].container, 01777, err); /* which runc keeps */
    for (size_t i = 0; rc == SYN_OK && i < spec->empties_count; i++)
        rc = make_folder_point(spec, spec->empties[i], 01777, err);
    for (size_t i = 0; rc == SYN_OK && i < spec->secrets_count; i++)
        rc = make_file_point(spec, spec->secrets[i].container, err);
    return rc;
}

static int
layer_file(const struct syn_instance_spec *spec, const char *name, struct syn_buf *text,
           struct syn_err *err)
{
    char path[SYN_PATH_MAX];
    int rc = syn_buf_ok(text, err);

    if (rc == SYN_OK)
        rc =
            syn_path_format(path, sizeof(path), err, "%s/" SYN_DIR_ROOT "/etc/%s", spec->dir, name);
    if (rc == SYN_OK)
        rc = syn_file_write(AT_FDCWD, path, syn_buf_text(text), text->len, err);
    syn_buf_clear(text);
    return rc;
}

static bool
image_has(const struct syn_instance_spec *spec, const char *file)
{
    char path[SYN_PATH_MAX];

    return spec->rootfs && snprintf(path, sizeof(path), "%s%s", spec->rootfs, file) > 0 &&
           access(path, F_OK) == 0;
}

static const char *
host_name(const struct syn_instance_spec *spec)
{
    return spec->hostname ? spec->hostname : spec->id;
}

static void
add_own_names(const struct syn_instance_spec *spec, const struct syn_plan *plan,
              struct syn_buf *text)
{
    syn_buf_addf(text, "%s %s\n", plan->place.address4, host_name(spec));
    if (plan->place.address6[0] != '\0')
        syn_buf_addf(text, "%s %s\n", plan->place.address6, host_name(spec));
}

void
syn_rootfs_resolver(const struct syn_instance_spec *spec, const struct syn_plan *plan,
                    struct syn_buf *out)
{
    const char *const gateway[] = {plan->place.gateway4, NULL};
    const char *const *dns = spec->dns_gateway ? gateway : spec->dns;

    if (spec->network != SYN_NETWORK_ACCOUNT || !dns || !dns[0])
        return;
    if (spec->dns_search)
        syn_buf_addf(out, "search %s\n", spec->dns_search);
    for (size_t i = 0; dns[i]; i++)
        syn_buf_addf(out, "nameserver %s\n", dns[i]);
}

/* Whom to ask for names, and, over the host's /usr, that names are asked for. */
static int
write_resolver(const struct syn_instance_spec *spec, const struct syn_plan *plan,
               struct syn_err *err)
{
    SYN_BUF(text);
    int rc;

    syn_rootfs_resolver(spec, plan, &text);
    if (text.len == 0)
        return syn_buf_ok(&text, err);
    rc = layer_file(spec, "resolv.conf", &text, err);
    if (rc < 0 || spec->rootfs)
        return rc;
    syn_buf_addf(&text, NSSWITCH, " dns");
    return layer_file(spec, "nsswitch.conf", &text, err);
}

static int
write_names(const struct syn_instance_spec *spec, const struct syn_plan *plan, struct syn_err *err)
{
    SYN_BUF(text);
    unsigned uid = spec->uid ? spec->uid : SYN_UID_DEFAULT;
    unsigned gid = spec->gid ? spec->gid : SYN_UID_DEFAULT;
    int rc;

    syn_buf_addf(&text, "%s\n", host_name(spec));
    rc = layer_file(spec, "hostname", &text, err);
    if (rc < 0)
        return rc;
    syn_buf_adds(&text, "127.0.0.1 localhost\n::1 localhost\n");
    if (spec->network == SYN_NETWORK_GROUP)
        syn_buf_addf(&text, "%.*s %s\n", (int)strcspn(spec->address, "/"), spec->address,
                     host_name(spec));
    else if (spec->network == SYN_NETWORK_ACCOUNT)
        add_own_names(spec, plan, &text);
    else
        syn_buf_addf(&text, "127.0.1.1 %s\n", host_name(spec));
    for (size_t i = 0; i < spec->hosts_count; i++)
        syn_buf_addf(&text, "%s %s\n", spec->hosts[i].address, spec->hosts[i].name);
    rc = layer_file(spec, "hosts", &text, err);
    if (rc < 0 || image_has(spec, "/etc/passwd"))
        return rc;
    syn_buf_addf(&text,
                 "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n"
                 "synor:x:%u:%u:synor:/synor/scratch:/bin/sh\n"
                 "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
                 uid, gid);
    rc = layer_file(spec, "passwd", &text, err);
    if (rc < 0)
        return rc;
    syn_buf_addf(&text, "root:x:0:\nsynor:x:%u:\nnogroup:x:65534:\n", gid);
    return layer_file(spec, "group", &text, err);
}

int
syn_rootfs_layer_create(const struct syn_instance_spec *spec, const struct syn_plan *plan,
                        struct syn_err *err)
{
    char path[SYN_PATH_MAX];
    int rc = syn_path_format(path, sizeof(path), err, "%s/" SYN_DIR_ROOT "/etc", spec->dir);

    if (rc == SYN_OK)
        rc = syn_dir_make(AT_FDCWD, path, 0755, err);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(mount_points); i++) {
        if (spec->rootfs && syn_str_eq(mount_points[i], "usr"))
            continue;
        rc = syn_path_format(path, sizeof(path), err, "%s/" SYN_DIR_ROOT "/%s", spec->dir,
                             mount_points[i]);
        if (rc == SYN_OK)
            rc = syn_dir_make(AT_FDCWD, path, 0755, err);
    }
    if (rc == SYN_OK && !plan->gvisor) {
        rc = syn_path_format(path, sizeof(path), err, "%s/" SYN_DIR_ROOT "/sys/devices/system/node",
                             spec->dir);
        if (rc == SYN_OK)
            rc = syn_dir_make(AT_FDCWD, path, 0755, err);
        if (rc == SYN_OK)
            rc = syn_path_format(path, sizeof(path), err,
                                 "%s/" SYN_DIR_ROOT "/sys/devices/system/cpu", spec->dir);
        if (rc == SYN_OK)
            rc = syn_dir_make(AT_FDCWD, path, 0755, err);
    }
    if (rc == SYN_OK)
        rc = make_mount_points(spec, err);
    if (rc == SYN_OK)
        rc = write_resolver(spec, plan, err);
    return rc < 0 ? rc : write_names(spec, plan, err);
}

static bool
lies_below(const char *path, const char *folder)
{
    char real[PATH_MAX];
    size_t len = strlen(folder);
    const char *at = realpath(path, real) ? real : path;

    return strncmp(at, folder, len) == 0 && (at[len] == '/' || at[len] == '\0');
}

int
syn_rootfs_cover_find(const struct syn_instance_spec *spec, char *out, size_t cap,
                      struct syn_err *err)
{
    static const char *const covers[] = {"/mnt", "/media", "/srv", "/opt", "/boot", "/home"};

    for (size_t i = 0; i < SYN_LEN(covers); i++) {
        struct stat st;
        bool taken = lies_below(spec->dir, covers[i]) ||
                     (spec->rootfs && lies_below(spec->rootfs, covers[i]));

        if (lstat(covers[i], &st) < 0 || !S_ISDIR(st.st_mode))
            continue;
        for (size_t b = 0; !taken && b < spec->binds_count; b++)
            taken = lies_below(spec->binds[b].host, covers[i]);
        if (!taken && syn_str_copy(out, cap, covers[i]))
            return SYN_OK;
    }
    return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                    "no standard folder is free to put a root together: create /mnt");
}

int
syn_rootfs_mount(const char *dir, const struct syn_plan *plan, struct syn_err *err)
{
    char target[128], options[2 * SYN_PATH_MAX + 64];
    int rc = syn_path_format(target, sizeof(target), err, "%s/rootfs", plan->cover);

    if (rc == SYN_OK)
        rc = syn_path_format(options, sizeof(options), err, "lowerdir=%s/" SYN_DIR_ROOT ":%s", dir,
                             plan->image);
    if (rc < 0)
        return rc;
    if (mount("synor", plan->cover, "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=755") < 0 ||
        mkdir(target, 0755) < 0)
        return SYN_FAIL_SYS(err, errno, "covering %s", plan->cover);
    if (mount("synor", target, "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV, options) < 0)
        return SYN_FAIL_SYS(err, errno, "mounting the root of %s", plan->id);
    return SYN_OK;
}
