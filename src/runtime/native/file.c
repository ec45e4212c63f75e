#include "file_priv.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/str.h>

#define DIR_DEPTH_MAX    128
#define STAT_START_FIELD 22

void
syn_fd_scope(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

int
syn_fd_take(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

bool
syn_scan_u64(const char *text, int base, uint64_t *ret, const char **ret_end)
{
    unsigned long long value;
    char *end;

    text += strspn(text, " \t\n");
    if (!(base == 16 ? isxdigit((unsigned char)*text) : isdigit((unsigned char)*text)))
        return false;
    errno = 0;
    value = strtoull(text, &end, base);
    if (errno != 0)
        return false;
    *ret = value;
    if (ret_end)
        *ret_end = end;
    return true;
}

int
syn_path_format(char *out, size_t cap, struct syn_err *err, const char *format, ...)
{
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(out, cap, format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= cap)
        return SYN_FAIL(err, SYN_E_INVALID, "path too long (at most %zu bytes): %s", cap - 1, out);
    return SYN_OK;
}

int
syn_file_read(int dirfd, const char *path, size_t max, struct syn_buf *out, struct syn_err *err)
{
    SYN_FD(fd);
    size_t total = 0;

    fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", path);
    for (;;) {
        char *room = syn_buf_reserve(out, 4096);
        ssize_t got;

        if (!room)
            return SYN_FAIL(err, SYN_E_NOMEM, "reading %s", path);
        got = read(fd, room, 4096);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return SYN_FAIL_SYS(err, errno, "reading %s", path);
        if (got == 0)
            break;
        out->len += (size_t)got;
        total += (size_t)got;
        if (total > max)
            return SYN_FAIL(err, SYN_E_TOOBIG, "%s is over %zu bytes", path, max);
    }
    syn_buf_add(out, "", 0); /* terminate what was written in place */
    return syn_buf_ok(out, err);
}

int
syn_fd_write_all(int fd, const void *data, size_t len, struct syn_err *err)
{
    const char *at = data;

    while (len > 0) {
        ssize_t put = write(fd, at, len);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return SYN_FAIL_SYS(err, errno, "writing %zu bytes", len);
        at += put;
        len -= (size_t)put;
    }
    return SYN_OK;
}

int
syn_file_write(int dirfd, const char *path, const void *data, size_t len, struct syn_err *err)
{
    SYN_FD(fd);
    int rc;

    fd = openat(dirfd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "creating %s", path);
    (void)fchmod(fd, 0644);
    rc = syn_fd_write_all(fd, data, len, err);
    return rc < 0 ? syn_err_wrap(err, rc, "%s", path) : SYN_OK;
}

static int
sync_folder_of(int dirfd, const char *path, struct syn_err *err)
{
    char folder[SYN_PATH_MAX];
    const char *slash = strrchr(path, '/');
    SYN_FD(fd);

    if (!slash) {
        fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    } else {
        if (snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path) >=
            (int)sizeof(folder))
            return SYN_FAIL(err, SYN_E_INVALID, "path too long: %s", path);
        fd = openat(dirfd, folder[0] ? folder : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (fd < 0 || fsync(fd) < 0)
        return SYN_FAIL_SYS(err, errno, "syncing the folder of %s", path);
    return SYN_OK;
}

int
syn_file_write_atomic(int dirfd, const char *path, const void *data, size_t len, bool durable,
                      struct syn_err *err)
{
    char tmp[SYN_PATH_MAX];
    SYN_FD(fd);
    int rc = syn_path_format(tmp, sizeof(tmp), err, "%s.tmp", path);

    if (rc < 0)
        return rc;
    fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "creating %s", tmp);
    rc = syn_fd_write_all(fd, data, len, err);
    if (rc < 0) {
        syn_err_wrap(err, rc, "%s", tmp);
        goto fail;
    }
    if ((durable && fsync(fd) < 0) || renameat(dirfd, tmp, dirfd, path) < 0) {
        rc = SYN_FAIL_SYS(err, errno, "replacing %s", path);
        goto fail;
    }
    return durable ? sync_folder_of(dirfd, path, err) : SYN_OK;
fail:
    (void)unlinkat(dirfd, tmp, 0);
    return rc;
}

int
syn_file_write_json(int dirfd, const char *path, const json_t *value, bool durable,
                    struct syn_err *err)
{
    SYN_BUF(out);
    int rc = syn_json_write(value, &out, err);

    if (rc < 0)
        return rc;
    syn_buf_addc(&out, '\n');
    rc = syn_buf_ok(&out, err);
    return rc < 0 ? rc : syn_file_write_atomic(dirfd, path, out.data, out.len, durable, err);
}

void
syn_file_sync(int dirfd, const char *path)
{
    SYN_FD(fd);

    fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        (void)fsync(fd);
}

int
syn_file_read_json(int dirfd, const char *path, json_t **ret, struct syn_err *err)
{
    SYN_BUF(text);
    int rc = syn_file_read(dirfd, path, SYN_JSON_BYTES_MAX, &text, err);

    if (rc < 0)
        return rc;
    rc = syn_json_parse_object(syn_buf_text(&text), text.len, ret, err);
    if (rc == SYN_OK || rc == SYN_E_NOMEM)
        return rc;
    return SYN_FAIL(err, SYN_E_CORRUPT, "%s is not valid JSON", path);
}

int
syn_dir_make(int dirfd, const char *path, mode_t mode, struct syn_err *err)
{
    char partial[SYN_PATH_MAX];

    if (!syn_str_copy(partial, sizeof(partial), path))
        return SYN_FAIL(err, SYN_E_INVALID, "path too long: %s", path);
    for (char *at = partial + 1;; at++) {
        char kept = *at;

        if (kept != '/' && kept != '\0')
            continue;
        *at = '\0';
        /* The mode counts, not the caller's umask: others' users must be able to pass through. */
        if (mkdirat(dirfd, partial, mode) == 0 ? fchmodat(dirfd, partial, mode, 0) < 0
                                               : errno != EEXIST)
            return SYN_FAIL_SYS(err, errno, "creating folder %s", partial);
        *at = kept;
        if (kept == '\0')
            return SYN_OK;
    }
}

static int remove_entry(int dirfd, const char *name, dev_t device, int depth, struct syn_err *err);

/* Empty the open folder `fd` (taken). */
static int
remove_children_take(int fd, dev_t device, int depth, struct syn_err *err)
{
    DIR *dir = fdopendir(fd);
    const struct dirent *entry;
    int rc = SYN_OK;

    if (!dir) {
        rc = SYN_FAIL_SYS(err, errno, "reading a folder");
        (void)close(fd);
        return rc;
    }
    while (rc == SYN_OK && (entry = readdir(dir)) != NULL) {
        if (syn_str_eq(entry->d_name, ".") || syn_str_eq(entry->d_name, ".."))
            continue;
        rc = remove_entry(dirfd(dir), entry->d_name, device, depth + 1, err);
    }
    (void)closedir(dir);
    return rc;
}

static int
remove_entry(int dirfd, const char *name, dev_t device, int depth, struct syn_err *err)
{
    struct stat st;
    int fd, rc;

    if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
        return SYN_OK;
    if (errno != EISDIR && errno != EPERM)
        return SYN_FAIL_SYS(err, errno, "removing %s", name);
    fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? SYN_OK : SYN_FAIL_SYS(err, errno, "opening %s", name);
    if (fstat(fd, &st) < 0 || (depth > 0 && st.st_dev != device) || depth > DIR_DEPTH_MAX) {
        (void)close(fd);
        return SYN_FAIL(err, SYN_E_IO, "%s is a mount or too deep: left alone", name);
    }
    rc = remove_children_take(fd, st.st_dev, depth, err);
    if (rc < 0)
        return rc;
    if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return SYN_FAIL_SYS(err, errno, "removing folder %s", name);
    return SYN_OK;
}

int
syn_dir_remove(int dirfd, const char *path, struct syn_err *err)
{
    return remove_entry(dirfd, path, 0, 0, err);
}

bool
syn_lock_take(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

bool
syn_lock_held(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* State, parent and start time of a process, zombies included. */
static bool
read_stat(pid_t pid, char *ret_state, uint64_t *ret_parent, uint64_t *ret_ticks)
{
    char path[64];
    SYN_BUF(text);
    const char *at;

    if (pid <= 0)
        return false;
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (syn_file_read(AT_FDCWD, path, 4096, &text, NULL) < 0)
        return false;
    /* The name in field 2 may hold blanks and brackets: fields count from the last ')'. */
    at = strrchr(syn_buf_text(&text), ')');
    if (!at || strlen(at) < 5)
        return false;
    *ret_state = at[2];
    if (!syn_scan_u64(at + 3, 10, ret_parent, NULL))
        return false;
    for (int field = 2; at && field < STAT_START_FIELD; field++)
        at = strchr(at + 1, ' ');
    return at && syn_scan_u64(at, 10, ret_ticks, NULL);
}

uint64_t
syn_proc_start_ticks(pid_t pid)
{
    uint64_t parent, ticks;
    char state;

    return read_stat(pid, &state, &parent, &ticks) && state != 'Z' && state != 'X' ? ticks : 0;
}

void
syn_proc_reap(pid_t pid, uint64_t start_ticks)
{
    uint64_t parent, ticks;
    char state;

    if (read_stat(pid, &state, &parent, &ticks) && state == 'Z' && parent == (uint64_t)getpid() &&
        ticks == start_ticks)
        (void)waitpid(pid, NULL, WNOHANG);
}

void
syn_boot_id(char *out)
{
    SYN_BUF(text);

    out[0] = '\0';
    if (syn_file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &text, NULL) < 0)
        return;
    (void)snprintf(out, 40, "%.36s", syn_buf_text(&text));
}
