/* What the tests of the content store share: a store in a folder of its own, made-up content. */
#ifndef SYNOR_INFRA_CONTENT_TESTING_H
#define SYNOR_INFRA_CONTENT_TESTING_H

#include <synor/base/test.h>

#include <synor/base/buf.h>
#include <synor/infra/content.h>

#define MIB ((size_t)1 << 20)

struct place {
    char *dir;
    char *store_dir;
    struct syn_content *store;
    const struct syn_content_io *io;
    uint64_t pack_bytes_max;
    unsigned threads;
};

/** A test with an open store of its own. */
#define store_test(test) cmocka_unit_test_setup_teardown(test, place_setup, place_teardown)

int place_setup(void **state);
int place_teardown(void **state);
/** Close and open again, with these keys. */
void reopen(struct place *place, const char *key_file, const char *const *old_key_files);

/** test_free() what these give. */
uint8_t *make_bytes(size_t size, uint64_t seed, bool compressible);
char *path_in(const struct place *place, const char *name);
/** A folder with files of all sizes, folders and links: 604 files, 4 folders, 2 links. */
char *make_tree(const struct place *place, const char *name);
/** A folder of `count` small files with long names. */
char *make_wide(const struct place *place, const char *name, unsigned count);
const char *wide_name(unsigned number);

void make_dir(const char *path);
void make_dir_at(const char *dir, const char *name);
void make_file_at(const char *dir, const char *name, size_t size, uint64_t seed);
void make_link_at(const char *dir, const char *name, const char *target);

struct syn_cid put_bytes(struct syn_content *store, size_t size, uint64_t seed, bool compressible);
void assert_content(struct syn_content *store, const struct syn_cid *cid, size_t size,
                    uint64_t seed, bool compressible);
void assert_file(const char *path, size_t size, uint64_t seed);
void assert_same_tree(const char *a, const char *b);
/** Files in `dir` whose names begin with `prefix`. */
unsigned count_files(const char *dir, const char *prefix);
uint64_t bytes_in_packs(const struct place *place);

void flip_bit(const char *path, off_t at, unsigned bit);
off_t file_size(const char *path);
/** A key file of 32 bytes; test_free() its path. */
char *make_key(const struct place *place, const char *name, uint64_t seed);
/** Forget the index: the next reopen() builds it from the packs. Closes the store. */
void drop_index(struct place *place);
/** Change the index of a closed store. */
void run_sql(const struct place *place, const char *sql);
/** Close the store and make its index what that version of the format had. */
void downgrade(struct place *place, int version);

/** Sinks and callbacks. */
int collect(void *arg, const void *data, size_t len, struct syn_err *err);
int stop_after(void *arg, const void *data, size_t len, struct syn_err *err);
int cancel_after(void *arg, uint64_t bytes);
struct names {
    unsigned count;
    char last[SYN_UNIXFS_NAME_MAX + 1];
};
int count_name(void *arg, const struct syn_content_item *item);

/** Roots from a list. */
struct root_list {
    const struct syn_cid *cids;
    size_t count;
    size_t next;
};
int next_root(void *arg, struct syn_cid *ret_cid, struct syn_err *err);

#endif
