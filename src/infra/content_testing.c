#include "content_testing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

static unsigned places;

char *
path_in(const struct place *place, const char *name)
{
    size_t size = strlen(place->dir) + strlen(name) + 2;
    char *path = test_malloc(size);

    (void)snprintf(path, size, "%s/%s", place->dir, name);
    return path;
}

void
reopen(struct place *place, const char *key_file, const char *const *old_key_files)
{
    struct syn_err err = {0};
    struct syn_content_opts opts = {
        .dir = place->store_dir,
        .key_file = key_file,
        .old_key_files = old_key_files,
        .threads = place->threads,
        .pack_bytes_max = place->pack_bytes_max,
        .io = place->io,
    };

    place->store = syn_content_close(place->store);
    assert_done(syn_content_open(&opts, &place->store, &err), &err);
}

int
place_setup(void **state)
{
    struct place *place = calloc(1, sizeof(*place));
    char name[32];
    size_t size = strlen(syn_test_dir()) + sizeof(name) + 8;

    (void)snprintf(name, sizeof(name), "place%u", places++);
    place->dir = malloc(size);
    (void)snprintf(place->dir, size, "%s/%s", syn_test_dir(), name);
    place->store_dir = malloc(size);
    (void)snprintf(place->store_dir, size, "%s/%s/store", syn_test_dir(), name);
    place->pack_bytes_max = 8 * MIB;
    place->threads = 2;
    make_dir(place->dir);
    reopen(place, NULL, NULL);
    *state = place;
    return 0;
}

int
place_teardown(void **state)
{
    struct place *place = *state;

    syn_content_close(place->store);
    free(place->dir);
    free(place->store_dir);
    free(place);
    return 0;
}

uint8_t *
make_bytes(size_t size, uint64_t seed, bool compressible)
{
    uint8_t *out = test_malloc(size + 8);
    uint64_t state = seed * 1000003 + 1;

    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = syn_test_random(&state);

        if (compressible)
            word &= UINT64_C(0x0101010101010101);
        memcpy(out + i, &word, 8);
    }
    return out;
}

void
make_dir(const char *path)
{
    assert_int_equal(mkdir(path, 0755), 0);
}

static char *
join(const char *dir, const char *name)
{
    size_t size = strlen(dir) + strlen(name) + 2;
    char *path = test_malloc(size);

    (void)snprintf(path, size, "%s/%s", dir, name);
    return path;
}

void
make_dir_at(const char *dir, const char *name)
{
    char *path = join(dir, name);

    make_dir(path);
    test_free(path);
}

void
make_file_at(const char *dir, const char *name, size_t size, uint64_t seed)
{
    char *path = join(dir, name);
    uint8_t *data = make_bytes(size, seed, false);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), size);
    assert_int_equal(close(fd), 0);
    test_free(data);
    test_free(path);
}

void
make_link_at(const char *dir, const char *name, const char *target)
{
    char *path = join(dir, name);

    assert_int_equal(symlink(target, path), 0);
    test_free(path);
}

char *
make_tree(const struct place *place, const char *name)
{
    char *root = path_in(place, name);
    char file[32];

    make_dir(root);
    make_dir_at(root, "a");
    make_dir_at(root, "a/b");
    make_dir_at(root, "empty");
    make_file_at(root, "none", 0, 1);
    make_file_at(root, "a/one", 1, 2);
    make_file_at(root, "a/chunk", MIB, 3);
    make_file_at(root, "a/b/big", 2 * MIB + 9, 5);
    make_link_at(root, "to-a", "a/b");
    make_link_at(root, "a/dangling", "/nowhere/at all");
    for (unsigned i = 0; i < 600; i++) {
        (void)snprintf(file, sizeof(file), "a/b/small-%u", i);
        make_file_at(root, file, (size_t)i * 7, i % 50);
    }
    return root;
}

const char *
wide_name(unsigned number)
{
    static char name[64];

    (void)snprintf(name, sizeof(name), "a-file-with-quite-a-long-name-%06u.json", number);
    return name;
}

char *
make_wide(const struct place *place, const char *name, unsigned count)
{
    char *root = path_in(place, name);

    make_dir(root);
    for (unsigned i = 0; i < count; i++)
        make_file_at(root, wide_name(i), i % 5, i);
    return root;
}

struct syn_cid
put_bytes(struct syn_content *store, size_t size, uint64_t seed, bool compressible)
{
    uint8_t *data = make_bytes(size, seed, compressible);
    struct syn_content_put *put = NULL;
    struct syn_err err = {0};
    struct syn_cid cid;
    size_t step = 300000;

    assert_done(syn_content_put_new(store, &put, &err), &err);
    for (size_t at = 0; at < size; at += step)
        assert_done(syn_content_put_write(put, data + at, SYN_MIN(step, size - at), &err), &err);
    assert_done(syn_content_put_commit(put, &cid, NULL, &err), &err);
    syn_content_put_free(put);
    test_free(data);
    return cid;
}

int
collect(void *arg, const void *data, size_t len, struct syn_err *err)
{
    syn_buf_add(arg, data, len);
    return syn_buf_ok(arg, err);
}

int
stop_after(void *arg, const void *data, size_t len, struct syn_err *err)
{
    unsigned *left = arg;

    (void)data;
    (void)len;
    if (--*left == 0)
        return SYN_FAIL(err, SYN_E_CANCELED, "enough");
    return SYN_OK;
}

int
cancel_after(void *arg, uint64_t bytes)
{
    unsigned *left = arg;

    (void)bytes;
    return *left > 0 ? (int)(--*left == 0) : 1;
}

int
count_name(void *arg, const struct syn_content_item *item)
{
    struct names *names = arg;

    names->count++;
    (void)snprintf(names->last, sizeof(names->last), "%s", item->name);
    return 0;
}

int
next_root(void *arg, struct syn_cid *ret_cid, struct syn_err *err)
{
    struct root_list *roots = arg;

    (void)err;
    if (roots->next == roots->count)
        return 0;
    *ret_cid = roots->cids[roots->next++];
    return 1;
}

void
assert_content(struct syn_content *store, const struct syn_cid *cid, size_t size, uint64_t seed,
               bool compressible)
{
    uint8_t *want = make_bytes(size, seed, compressible);
    struct syn_err err = {0};
    SYN_BUF(got);

    assert_done(syn_content_read(store, cid, 0, UINT64_MAX, collect, &got, &err), &err);
    assert_int_equal(got.len, size);
    if (size > 0)
        assert_memory_equal(got.data, want, size);
    test_free(want);
}

static char *
read_file(const char *path, size_t *ret_len)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *data;

    if (fd < 0)
        fail_msg("%s: %s", path, strerror(errno));
    assert_int_equal(fstat(fd, &st), 0);
    data = test_malloc((size_t)st.st_size + 1);
    assert_int_equal(read(fd, data, (size_t)st.st_size), st.st_size);
    assert_int_equal(close(fd), 0);
    *ret_len = (size_t)st.st_size;
    return data;
}

void
assert_file(const char *path, size_t size, uint64_t seed)
{
    uint8_t *want = make_bytes(size, seed, false);
    size_t len = 0;
    char *got = read_file(path, &len);

    assert_int_equal(len, size);
    assert_memory_equal(got, want, size);
    test_free(got);
    test_free(want);
}

static void
assert_same_file(const char *a, const char *b)
{
    size_t a_len = 0;
    size_t b_len = 0;
    char *a_data = read_file(a, &a_len);
    char *b_data = read_file(b, &b_len);

    assert_int_equal(a_len, b_len);
    assert_memory_equal(a_data, b_data, a_len);
    test_free(a_data);
    test_free(b_data);
}

static void
assert_same_entry(const char *a, const char *b)
{
    struct stat a_st = {0};
    struct stat b_st = {0};

    if (lstat(a, &a_st) < 0 || lstat(b, &b_st) < 0)
        fail_msg("%s or %s is missing", a, b);
    assert_int_equal(a_st.st_mode & S_IFMT, b_st.st_mode & S_IFMT);
    if (S_ISDIR(a_st.st_mode)) {
        assert_same_tree(a, b);
    } else if (S_ISLNK(a_st.st_mode)) {
        char a_to[256] = {0};
        char b_to[256] = {0};

        assert_true(readlink(a, a_to, 255) > 0 && readlink(b, b_to, 255) > 0);
        assert_string_equal(a_to, b_to);
    } else {
        assert_same_file(a, b);
    }
}

void
assert_same_tree(const char *a, const char *b)
{
    DIR *dir = opendir(a);
    const struct dirent *entry;

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        char *a_path;
        char *b_path;

        if (entry->d_name[0] == '.')
            continue;
        a_path = join(a, entry->d_name);
        b_path = join(b, entry->d_name);
        assert_same_entry(a_path, b_path);
        test_free(a_path);
        test_free(b_path);
    }
    (void)closedir(dir);
    assert_int_equal(count_files(a, ""), count_files(b, ""));
}

unsigned
count_files(const char *path, const char *prefix)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    unsigned count = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL)
        count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    (void)closedir(dir);
    return count;
}

uint64_t
bytes_in_packs(const struct place *place)
{
    char *packs = path_in(place, "store/packs");
    DIR *dir = opendir(packs);
    const struct dirent *entry;
    uint64_t bytes = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        struct stat st;

        assert_int_equal(fstatat(dirfd(dir), entry->d_name, &st, 0), 0);
        if (S_ISREG(st.st_mode))
            bytes += (uint64_t)st.st_size;
    }
    (void)closedir(dir);
    test_free(packs);
    return bytes;
}

void
flip_bit(const char *path, off_t at, unsigned bit)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte = 0;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= (uint8_t)(1U << bit);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    assert_int_equal(close(fd), 0);
}

off_t
file_size(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

char *
make_key(const struct place *place, const char *name, uint64_t seed)
{
    char *path = path_in(place, name);
    uint8_t *key = make_bytes(32, seed, false);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    assert_int_equal(write(fd, key, 32), 32);
    assert_int_equal(close(fd), 0);
    test_free(key);
    return path;
}

void
drop_index(struct place *place)
{
    static const char *const files[] = {"store/index.db", "store/index.db-wal",
                                        "store/index.db-shm"};

    place->store = syn_content_close(place->store);
    for (size_t i = 0; i < SYN_LEN(files); i++) {
        char *path = path_in(place, files[i]);

        (void)unlink(path);
        test_free(path);
    }
}

void
run_sql(const struct place *place, const char *sql)
{
    char *path = path_in(place, "store/index.db");
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    test_free(path);
}

void
downgrade(struct place *place, int version)
{
    static const char *const undo[] = {
        [1] = "ALTER TABLE block DROP COLUMN bad",
        [2] = "ALTER TABLE block DROP COLUMN key; DROP TABLE key",
        [3] = "DROP TABLE base; DROP TABLE anchor",
    };
    char sql[48];

    place->store = syn_content_close(place->store);
    for (int from = (int)SYN_LEN(undo) - 1; from >= version; from--)
        run_sql(place, undo[from]);
    (void)snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", version);
    run_sql(place, sql);
}
