#include <synor/runtime/volume.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "file_priv.h"
#include "scratch_priv.h"

#define FILE_DISK "disk.img"
#define FILE_GROW "growing" /* there while the image is being made larger */
#define DIR_DATA  "data"

static int
sync_path(const char *path, struct syn_err *err)
{
    SYN_FD(fd);

    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return SYN_FAIL_SYS(err, errno, "writing %s", path);
    return SYN_OK;
}

/* The image is complete on the disk before its name is. */
static int
make_disk(const char *dir, const char *disk, int64_t bytes, struct syn_err *err)
{
    char fresh[SYN_PATH_MAX];
    int rc = syn_path_format(fresh, sizeof(fresh), err, "%s.new", disk);

    if (rc == SYN_OK)
        rc = syn_scratch_make(fresh, bytes, err);
    if (rc == SYN_OK)
        rc = sync_path(fresh, err);
    if (rc == SYN_OK && rename(fresh, disk) < 0)
        rc = SYN_FAIL_SYS(err, errno, "renaming %s", fresh);
    return rc < 0 ? rc : sync_path(dir, err);
}

static int
is_mounted(const char *dir, const char *data, bool *ret, struct syn_err *err)
{
    struct stat outer, inner;

    if (stat(dir, &outer) < 0 || stat(data, &inner) < 0)
        return SYN_FAIL_SYS(err, errno, "looking at %s", data);
    *ret = outer.st_dev != inner.st_dev;
    return SYN_OK;
}

/* Is the image mounted somewhere else still, by an instance that was not cleared away? Mounted a
 * second time the file system would be ruined. */
static int
check_free(const char *disk, struct syn_err *err)
{
    DIR *devices = opendir("/sys/block");
    const struct dirent *entry;
    struct stat own, other;
    bool busy = false;

    if (stat(disk, &own) < 0) {
        if (devices)
            (void)closedir(devices);
        return SYN_FAIL_SYS(err, errno, "looking at %s", disk);
    }
    while (devices && !busy && (entry = readdir(devices)) != NULL) {
        char path[SYN_PATH_MAX];
        SYN_BUF(backing);

        if (!syn_str_starts(entry->d_name, "loop") ||
            syn_path_format(path, sizeof(path), NULL, "/sys/block/%s/loop/backing_file",
                            entry->d_name) < 0 ||
            syn_file_read(AT_FDCWD, path, SYN_PATH_MAX, &backing, NULL) < 0 ||
            syn_buf_ok(&backing, NULL) < 0)
            continue;
        backing.data[strcspn(syn_buf_text(&backing), "\n")] = '\0';
        busy = stat(syn_buf_text(&backing), &other) == 0 && other.st_dev == own.st_dev &&
               other.st_ino == own.st_ino;
    }
    if (devices)
        (void)closedir(devices);
    return busy ? SYN_FAIL(err, SYN_E_CONFLICT, "%s is still in use", disk) : SYN_OK;
}

/* Everybody inside may write at its top, like in a tmpfs: who uses it may come as another user. */
static int
mount_disk(const char *disk, const char *data, struct syn_err *err)
{
    SYN_FD(top);
    int rc = check_free(disk, err);

    if (rc == SYN_OK)
        rc = syn_scratch_mount(disk, data, err);
    if (rc < 0)
        return rc;
    syn_scratch_harden(data);
    top = open(data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top < 0 || fchmod(top, 0777) < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", data);
    (void)unlinkat(top, "lost+found", AT_REMOVEDIR);
    return SYN_OK;
}

int
syn_volume_open(const char *dir, int64_t bytes, char *out, size_t cap, struct syn_err *err)
{
    char disk[SYN_PATH_MAX], mark[SYN_PATH_MAX];
    bool mounted = false;
    int rc;

    if (bytes < SYN_VOLUME_BYTES_MIN || bytes > SYN_VOLUME_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "a volume of %lld bytes: expected 16 MiB to 16 TiB",
                        (long long)bytes);
    rc = syn_path_format(disk, sizeof(disk), err, "%s/" FILE_DISK, dir);
    if (rc == SYN_OK)
        rc = syn_path_format(out, cap, err, "%s/" DIR_DATA, dir);
    if (rc == SYN_OK)
        rc = syn_dir_make(AT_FDCWD, out, 0700, err);
    if (rc == SYN_OK)
        rc = syn_path_format(mark, sizeof(mark), err, "%s/" FILE_GROW, dir);
    if (rc == SYN_OK && access(mark, F_OK) == 0)
        return SYN_FAIL(err, SYN_E_CONFLICT, "%s was left in the middle of growing", disk);
    if (rc == SYN_OK && access(disk, F_OK) < 0)
        rc = make_disk(dir, disk, bytes, err);
    if (rc == SYN_OK)
        rc = is_mounted(dir, out, &mounted, err);
    return rc < 0 || mounted ? rc : mount_disk(disk, out, err);
}

int64_t
syn_volume_disk_bytes(int64_t bytes)
{
    return syn_scratch_image_bytes(bytes);
}

/* What the journal has not brought home yet is: then the file system is whole by itself. */
static int
settle(const char *dir, const char *disk, const char *data, struct syn_err *err)
{
    int rc = mount_disk(disk, data, err);

    return rc < 0 ? rc : syn_volume_close(dir, err);
}

/* A crash in the middle leaves the mark: then the file has its size, and what is in it is looked
 * through before it is used. */
static int
grow_disk(const char *dir, const char *disk, const char *mark, int64_t file_bytes,
          struct syn_err *err)
{
    bool broken_off = access(mark, F_OK) == 0;
    SYN_FD(fd);
    int rc = SYN_OK;

    fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "creating %s", mark);
    rc = sync_path(dir, err);
    if (rc == SYN_OK)
        rc = syn_scratch_grow(disk, file_bytes, broken_off, err);
    if (rc == SYN_OK)
        rc = sync_path(disk, err);
    if (rc == SYN_OK && unlink(mark) < 0)
        rc = SYN_FAIL_SYS(err, errno, "removing %s", mark);
    return rc < 0 ? rc : sync_path(dir, err);
}

int
syn_volume_grow(const char *dir, int64_t bytes, struct syn_err *err)
{
    char disk[SYN_PATH_MAX], data[SYN_PATH_MAX], mark[SYN_PATH_MAX];
    int64_t file_bytes = syn_scratch_image_bytes(bytes);
    bool mounted = false, broken_off;
    struct stat st;
    int rc = syn_path_format(disk, sizeof(disk), err, "%s/" FILE_DISK, dir);

    if (rc == SYN_OK)
        rc = syn_path_format(data, sizeof(data), err, "%s/" DIR_DATA, dir);
    if (rc == SYN_OK)
        rc = syn_path_format(mark, sizeof(mark), err, "%s/" FILE_GROW, dir);
    if (rc < 0)
        return rc;
    broken_off = access(mark, F_OK) == 0;
    if (stat(disk, &st) < 0)
        return errno == ENOENT ? SYN_OK : SYN_FAIL_SYS(err, errno, "looking at %s", disk);
    if (!broken_off && st.st_size >= file_bytes)
        return SYN_OK;
    rc = is_mounted(dir, data, &mounted, err);
    if (rc < 0 || mounted)
        return rc < 0 ? rc : SYN_VOLUME_MOUNTED;
    rc = broken_off ? check_free(disk, err) : settle(dir, disk, data, err);
    return rc < 0 ? rc : grow_disk(dir, disk, mark, SYN_MAX(file_bytes, st.st_size), err);
}

int
syn_volume_close(const char *dir, struct syn_err *err)
{
    char data[SYN_PATH_MAX];
    int rc = syn_path_format(data, sizeof(data), err, "%s/" DIR_DATA, dir);

    if (rc < 0 || umount2(data, UMOUNT_NOFOLLOW) == 0 || errno == EINVAL || errno == ENOENT)
        return rc;
    return errno == EBUSY ? SYN_FAIL(err, SYN_E_CONFLICT, "%s is in use", data)
                          : SYN_FAIL_SYS(err, errno, "unmounting %s", data);
}

int
syn_volume_usage(const char *dir, struct syn_volume_usage *ret, struct syn_err *err)
{
    char path[SYN_PATH_MAX];
    struct syn_scratch_usage used = {.used_bytes = -1};
    struct stat st;
    bool mounted = false;
    int rc = syn_path_format(path, sizeof(path), err, "%s/" FILE_DISK, dir);

    if (rc < 0)
        return rc;
    if (stat(path, &st) < 0)
        return errno == ENOENT ? SYN_FAIL(err, SYN_E_NOTFOUND, "%s is no volume", dir)
                               : SYN_FAIL_SYS(err, errno, "looking at %s", path);
    rc = syn_path_format(path, sizeof(path), err, "%s/" DIR_DATA, dir);
    if (rc == SYN_OK)
        rc = is_mounted(dir, path, &mounted, err);
    if (rc == SYN_OK && mounted)
        rc = syn_scratch_usage_read(path, &used, err);
    if (rc == SYN_OK)
        *ret = (struct syn_volume_usage){st.st_size, (int64_t)st.st_blocks * 512, used.used_bytes};
    return rc;
}

int
syn_volume_destroy(const char *dir, struct syn_err *err)
{
    int rc = syn_volume_close(dir, err);

    return rc < 0 ? rc : syn_dir_remove(AT_FDCWD, dir, err);
}
