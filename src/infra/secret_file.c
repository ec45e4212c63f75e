#include <synor/infra/secret_file.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/world.h>
#include <synor/infra/crypto.h>

static void
close_scope(const int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

static int
write_all(int fd, const char *path, const void *data, size_t len, struct syn_err *err)
{
    const char *at = data;

    while (len > 0) {
        ssize_t got = write(fd, at, len);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return SYN_FAIL_SYS(err, errno, "writing %s", path);
        at += got;
        len -= (size_t)got;
    }
    if (fsync(fd) != 0)
        return SYN_FAIL_SYS(err, errno, "syncing %s", path);
    return SYN_OK;
}

static int
sync_folder_of(const char *path, struct syn_err *err)
{
    char folder[PATH_MAX];
    char *slash;

    if (!syn_str_copy(folder, sizeof(folder), path))
        return SYN_FAIL(err, SYN_E_INVALID, "path too long: %s", path);
    slash = strrchr(folder, '/');
    if (slash == NULL)
        (void)syn_str_copy(folder, sizeof(folder), ".");
    else
        slash[slash == folder ? 1 : 0] = '\0';

    SYN_SCOPED(close_scope) int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", folder);
    if (fsync(fd) != 0)
        return SYN_FAIL_SYS(err, errno, "syncing %s", folder);
    return SYN_OK;
}

/* link() instead of rename(): it refuses to replace a file, so two processes that make the same key
 * at once end with one key, and the second is told. */
int
syn_secret_file_create(const char *path, const void *data, size_t len, struct syn_err *err)
{
    char temp[PATH_MAX];
    uint8_t salt[10];
    char suffix[SYN_BASE32_SIZE(sizeof(salt))];
    int rc;

    syn_secret_random(salt, sizeof(salt));
    syn_base32_encode(salt, sizeof(salt), suffix);
    if (snprintf(temp, sizeof(temp), "%s.%s.tmp", path, suffix) >= (int)sizeof(temp))
        return SYN_FAIL(err, SYN_E_INVALID, "path too long: %s", path);

    SYN_SCOPED(close_scope)
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "creating %s", temp);
    rc = write_all(fd, path, data, len, err);
    if (rc == SYN_OK && link(temp, path) != 0) {
        int saved = errno;

        rc = saved == EEXIST
                 ? SYN_FAIL(err, SYN_E_EXISTS, "%s exists; it is never overwritten", path)
                 : SYN_FAIL_SYS(err, saved, "creating %s", path);
    }
    (void)unlink(temp);
    return rc < 0 ? rc : sync_folder_of(path, err);
}

int
syn_secret_file_read(const char *path, struct syn_buf *out, struct syn_err *err)
{
    struct stat st;
    size_t done = 0;
    char *room;

    SYN_SCOPED(close_scope) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", path);
    if (fstat(fd, &st) != 0)
        return SYN_FAIL_SYS(err, errno, "reading %s", path);
    if (!S_ISREG(st.st_mode))
        return SYN_FAIL(err, SYN_E_INVALID, "%s is not a regular file", path);
    if ((st.st_mode & 077) != 0)
        return SYN_FAIL(err, SYN_E_FORBIDDEN, "%s may be read by others (mode %04o): chmod 600 %s",
                        path, (unsigned)(st.st_mode & 07777), path);
    if ((size_t)st.st_size > SYN_SECRET_FILE_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "%s has more than %zu bytes", path,
                        SYN_SECRET_FILE_BYTES_MAX);
    room = syn_buf_reserve(out, (size_t)st.st_size + 1);
    if (room == NULL)
        return syn_buf_ok(out, err);
    while (done < (size_t)st.st_size) {
        ssize_t got = read(fd, room + done, (size_t)st.st_size - done);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return SYN_FAIL_SYS(err, errno, "reading %s", path);
        if (got == 0)
            break;
        done += (size_t)got;
    }
    room[done] = '\0';
    out->len += done;
    return SYN_OK;
}
