/* Files that commands write. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli_priv.h"

static int
write_all(int fd, const struct syn_buf *content)
{
    size_t done = 0;

    while (done < content->len) {
        ssize_t put = write(fd, content->data + done, content->len - done);

        if (put < 0 && errno != EINTR)
            return -errno;
        done += put > 0 ? (size_t)put : 0;
    }
    return 0;
}

int
syn_cli_write_file(const char *path, const struct syn_buf *content, struct syn_err *err)
{
    char temp[1024];
    struct stat what;
    bool plain = lstat(path, &what) != 0 || S_ISREG(what.st_mode);
    int len = snprintf(temp, sizeof(temp), plain ? "%s.%d.part" : "%s", path, (int)getpid());
    int fd, failed;

    if (len < 0 || (size_t)len >= sizeof(temp))
        return SYN_FAIL(err, SYN_E_INVALID, "%.80s...: longer than %zu bytes", path, sizeof(temp));
    fd = open(temp, O_WRONLY | O_CREAT | O_CLOEXEC | (plain ? O_EXCL : O_TRUNC), 0644);
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "%s", path);
    failed = -write_all(fd, content);
    if (failed == 0 && plain && fsync(fd) != 0)
        failed = errno;
    if (close(fd) != 0 && failed == 0)
        failed = errno;
    if (failed == 0 && plain && rename(temp, path) != 0)
        failed = errno;
    if (failed == 0)
        return SYN_OK;
    if (plain)
        (void)unlink(temp);
    return SYN_FAIL_SYS(err, failed, "writing %s", path);
}
