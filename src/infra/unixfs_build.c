/* Writing blocks. Field order and numbers are those of dag-pb's canonical form (links before data),
 * because the bytes decide the CID. */
#include "unixfs_priv.h"

#include <endian.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/varint.h>

static const struct syn_unixfs_layout profile = {
    .links_max = SYN_UNIXFS_LINKS_MAX,
    .shard_bytes = SYN_UNIXFS_SHARD_BYTES,
};

/* A state of syn_unixfs_file_save(): magic, levels in use, then for each level a count and links.
 */
#define STATE_MAGIC "SYNUPL1\n"
#define STATE_LINK  (1 + SYN_DIGEST_BYTES + 8 + 8)

static uint64_t
rotate_left(uint64_t value, unsigned by)
{
    return (value << by) | (value >> (64 - by));
}

static uint64_t
murmur_mix(uint64_t value)
{
    value ^= value >> 33;
    value *= UINT64_C(0xff51afd7ed558ccd);
    value ^= value >> 33;
    value *= UINT64_C(0xc4ceb9fe1a85ec53);
    return value ^ (value >> 33);
}

uint64_t
syn_murmur3_x64_64(const void *data, size_t len)
{
    const uint64_t c1 = UINT64_C(0x87c37b91114253d5);
    const uint64_t c2 = UINT64_C(0x4cf5ad432745937f);
    const uint8_t *at = data;
    uint64_t h1 = 0;
    uint64_t h2 = 0;
    uint64_t words[2];
    size_t left = len;

    for (; left >= sizeof(words); left -= sizeof(words), at += sizeof(words)) {
        memcpy(words, at, sizeof(words));
        h1 ^= rotate_left(le64toh(words[0]) * c1, 31) * c2;
        h1 = (rotate_left(h1, 27) + h2) * 5 + 0x52dce729;
        h2 ^= rotate_left(le64toh(words[1]) * c2, 33) * c1;
        h2 = (rotate_left(h2, 31) + h1) * 5 + 0x38495ab5;
    }
    memset(words, 0, sizeof(words));
    if (left > 0)
        memcpy(words, at, left);
    h1 ^= rotate_left(le64toh(words[0]) * c1, 31) * c2;
    h2 ^= rotate_left(le64toh(words[1]) * c2, 33) * c1;
    h1 ^= (uint64_t)len;
    h2 ^= (uint64_t)len;
    h1 += h2;
    h2 += h1;
    return murmur_mix(h1) + murmur_mix(h2);
}

static void
put_varint(struct syn_buf *out, uint64_t value)
{
    uint8_t bytes[SYN_VARINT_MAX];

    syn_buf_add(out, bytes, syn_varint_encode(value, bytes));
}

static void
put_number(struct syn_buf *out, unsigned number, uint64_t value)
{
    syn_buf_addc(out, (char)(number << 3 | PB_VARINT));
    put_varint(out, value);
}

static void
put_bytes(struct syn_buf *out, unsigned number, const void *data, size_t len)
{
    syn_buf_addc(out, (char)(number << 3 | PB_BYTES));
    put_varint(out, len);
    syn_buf_add(out, data, len);
}

static size_t
varint_size(uint64_t value)
{
    uint8_t bytes[SYN_VARINT_MAX];

    return syn_varint_encode(value, bytes);
}

/* Bytes of a PBLink message without its own key and length. */
static size_t
link_body_size(const struct syn_unixfs_link *link, size_t prefix_len)
{
    size_t name_len = prefix_len + link->name_len;

    return 1 + 1 + SYN_CID_BYTES + 1 + varint_size(name_len) + name_len + 1 +
           varint_size(link->tsize);
}

static void
put_link(struct syn_buf *out, const struct syn_unixfs_link *link, const char *prefix)
{
    uint8_t cid[SYN_CID_BYTES];
    size_t prefix_len = strlen(prefix);

    syn_cid_encode(&link->cid, cid);
    syn_buf_addc(out, (char)(NODE_LINKS << 3 | PB_BYTES));
    put_varint(out, link_body_size(link, prefix_len));
    put_bytes(out, LINK_HASH, cid, sizeof(cid));
    syn_buf_addc(out, (char)(LINK_NAME << 3 | PB_BYTES));
    put_varint(out, prefix_len + link->name_len);
    syn_buf_add(out, prefix, prefix_len);
    if (link->name_len > 0)
        syn_buf_add(out, link->name, link->name_len);
    put_number(out, LINK_TSIZE, link->tsize);
}

/* Hash and hand over a finished node; its Tsize is its own length and that of all below. */
static SYN_MUST int
emit_node(const struct syn_buf *block, uint64_t below, syn_unixfs_emit *emit, void *arg,
          struct syn_unixfs_link *ret_link, struct syn_err *err)
{
    struct syn_unixfs_link link = {.name = "", .tsize = below + block->len};
    int rc = syn_buf_ok(block, err);

    if (rc < 0)
        return rc;
    syn_cid_of(SYN_CODEC_DAG_PB, block->data, block->len, &link.cid);
    rc = emit(arg, &link.cid, block->data, block->len, err);
    if (rc < 0)
        return rc;
    *ret_link = link;
    return SYN_OK;
}

/* ---- files ---------------------------------------------------------------------------------- */

struct level {
    struct syn_unixfs_link *links; /* links_max of them, once used */
    size_t count;
};

struct syn_unixfs_file {
    syn_unixfs_emit *emit;
    void *arg;
    struct syn_unixfs_layout layout;
    struct level levels[SYN_UNIXFS_DEPTH_MAX];
    uint64_t size;
    bool finished;
};

int
syn_unixfs_file_new(syn_unixfs_emit *emit, void *arg, const struct syn_unixfs_layout *layout,
                    struct syn_unixfs_file **ret_file, struct syn_err *err)
{
    struct syn_unixfs_file *file = syn_calloc(1, sizeof(*file));

    if (file == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a file");
    file->emit = emit;
    file->arg = arg;
    file->layout = layout == NULL ? profile : *layout;
    assert(file->layout.links_max >= 2 && file->layout.links_max <= SYN_UNIXFS_LINKS_MAX);
    *ret_file = file;
    return SYN_OK;
}

struct syn_unixfs_file *
syn_unixfs_file_free(struct syn_unixfs_file *file)
{
    if (file != NULL) {
        for (size_t i = 0; i < SYN_LEN(file->levels); i++)
            syn_free(file->levels[i].links);
        syn_free(file);
    }
    return NULL;
}

uint64_t
syn_unixfs_file_size(const struct syn_unixfs_file *file)
{
    return file->size;
}

static SYN_MUST int
level_reduce(struct syn_unixfs_file *file, struct level *level, struct syn_unixfs_link *ret_link,
             struct syn_err *err)
{
    SYN_BUF(data);
    SYN_BUF(block);
    uint64_t size = 0;
    uint64_t below = 0;
    int rc;

    for (size_t i = 0; i < level->count; i++) {
        size += level->links[i].size;
        below += level->links[i].tsize;
        put_link(&block, &level->links[i], "");
    }
    put_number(&data, UNIXFS_TYPE, SYN_UNIXFS_FILE);
    put_number(&data, UNIXFS_FILESIZE, size);
    for (size_t i = 0; i < level->count; i++)
        put_number(&data, UNIXFS_BLOCKSIZES, level->links[i].size);
    rc = syn_buf_ok(&data, err);
    if (rc < 0)
        return rc;
    put_bytes(&block, NODE_DATA, data.data, data.len);
    rc = emit_node(&block, below, file->emit, file->arg, ret_link, err);
    if (rc < 0)
        return rc;
    ret_link->size = size;
    level->count = 0;
    return SYN_OK;
}

static SYN_MUST int
level_push(struct syn_unixfs_file *file, unsigned depth, const struct syn_unixfs_link *link,
           struct syn_err *err)
{
    struct syn_unixfs_link next = *link;

    for (;; depth++) {
        struct level *level;
        struct syn_unixfs_link up;
        int rc;

        if (depth >= SYN_UNIXFS_DEPTH_MAX)
            return SYN_FAIL(err, SYN_E_LIMIT, "file needs more than %d levels",
                            SYN_UNIXFS_DEPTH_MAX);
        level = &file->levels[depth];
        if (level->links == NULL)
            level->links = syn_calloc(file->layout.links_max, sizeof(*level->links));
        if (level->links == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a file's links");
        if (level->count < file->layout.links_max) {
            level->links[level->count++] = next;
            return SYN_OK;
        }
        rc = level_reduce(file, level, &up, err);
        if (rc < 0)
            return rc;
        level->links[level->count++] = next;
        next = up;
    }
}

int
syn_unixfs_file_add(struct syn_unixfs_file *file, const struct syn_cid *cid, uint64_t size,
                    struct syn_err *err)
{
    struct syn_unixfs_link link = {.cid = *cid, .name = "", .tsize = size, .size = size};
    int rc;

    assert(!file->finished && size > 0);
    rc = level_push(file, 0, &link, err);
    if (rc < 0)
        return rc;
    file->size += size;
    return SYN_OK;
}

static SYN_MUST int
finish_empty(struct syn_unixfs_file *file, struct syn_unixfs_link *ret_link, struct syn_err *err)
{
    struct syn_unixfs_link link = {.name = ""};
    int rc;

    syn_cid_of(SYN_CODEC_RAW, "", 0, &link.cid);
    rc = file->emit(file->arg, &link.cid, "", 0, err);
    if (rc < 0)
        return rc;
    *ret_link = link;
    return SYN_OK;
}

int
syn_unixfs_file_finish(struct syn_unixfs_file *file, struct syn_unixfs_link *ret_link,
                       struct syn_err *err)
{
    unsigned top = 0;

    assert(!file->finished);
    file->finished = true;
    for (unsigned depth = 0; depth < SYN_UNIXFS_DEPTH_MAX; depth++) {
        if (file->levels[depth].count > 0)
            top = depth;
    }
    if (file->levels[top].count == 0)
        return finish_empty(file, ret_link, err);
    for (unsigned depth = 0;; depth++) {
        struct level *level = &file->levels[depth];
        struct syn_unixfs_link up;
        int rc;

        if (depth >= top && level->count == 1) {
            *ret_link = level->links[0];
            return SYN_OK;
        }
        rc = level_reduce(file, level, &up, err);
        if (rc == 0)
            rc = level_push(file, depth + 1, &up, err);
        if (rc < 0)
            return rc;
        /* Pushing up may have filled and passed on whole levels above. */
        for (unsigned above = depth + 1; above < SYN_UNIXFS_DEPTH_MAX; above++)
            top = file->levels[above].count > 0 ? SYN_MAX(top, above) : top;
    }
}

int
syn_unixfs_file_save(const struct syn_unixfs_file *file, struct syn_buf *out, struct syn_err *err)
{
    assert(!file->finished);
    syn_buf_adds(out, STATE_MAGIC);
    for (unsigned depth = 0; depth < SYN_UNIXFS_DEPTH_MAX; depth++) {
        const struct level *level = &file->levels[depth];

        put_varint(out, level->count);
        for (size_t i = 0; i < level->count; i++) {
            const struct syn_unixfs_link *link = &level->links[i];
            uint64_t sizes[2] = {htole64(link->tsize), htole64(link->size)};

            syn_buf_addc(out, (char)link->cid.codec);
            syn_buf_add(out, link->cid.digest, SYN_DIGEST_BYTES);
            syn_buf_add(out, sizes, sizeof(sizes));
        }
    }
    return syn_buf_ok(out, err);
}

static SYN_MUST int
restore_level(struct syn_unixfs_file *file, unsigned depth, const uint8_t **at, const uint8_t *end,
              struct syn_err *err)
{
    uint64_t count = 0;
    size_t used = syn_varint_decode(*at, (size_t)(end - *at), &count);

    if (used == 0 || count > file->layout.links_max ||
        (size_t)(end - *at) - used < count * STATE_LINK)
        return SYN_FAIL(err, SYN_E_INVALID, "upload state is damaged: begin the upload again");
    *at += used;
    for (uint64_t i = 0; i < count; i++) {
        struct syn_unixfs_link link = {.name = ""};
        uint64_t sizes[2];
        int rc;

        link.cid.codec = (*at)[0] == SYN_CODEC_RAW ? SYN_CODEC_RAW : SYN_CODEC_DAG_PB;
        memcpy(link.cid.digest, *at + 1, SYN_DIGEST_BYTES);
        memcpy(sizes, *at + 1 + SYN_DIGEST_BYTES, sizeof(sizes));
        link.tsize = le64toh(sizes[0]);
        link.size = le64toh(sizes[1]);
        *at += STATE_LINK;
        if (link.size == 0 || link.size > (uint64_t)INT64_MAX - file->size)
            return SYN_FAIL(err, SYN_E_INVALID, "upload state is damaged: begin the upload again");
        rc = level_push(file, depth, &link, err);
        if (rc < 0)
            return rc;
        file->size += link.size;
    }
    return SYN_OK;
}

int
syn_unixfs_file_restore(struct syn_unixfs_file *file, const void *state, size_t len,
                        struct syn_err *err)
{
    const uint8_t *at = state;
    const uint8_t *end = at + len;
    const size_t magic = sizeof(STATE_MAGIC) - 1;

    assert(file->size == 0 && !file->finished);
    if (len < magic || memcmp(at, STATE_MAGIC, magic) != 0)
        return SYN_FAIL(err, SYN_E_INVALID, "upload state is damaged: begin the upload again");
    at += magic;
    for (unsigned depth = 0; depth < SYN_UNIXFS_DEPTH_MAX; depth++) {
        int rc = restore_level(file, depth, &at, end, err);

        if (rc < 0)
            return rc;
    }
    if (at != end || (file->size > 0 && file->levels[0].count == 0))
        return SYN_FAIL(err, SYN_E_INVALID, "upload state is damaged: begin the upload again");
    return SYN_OK;
}

int
syn_unixfs_file_each_link(const struct syn_unixfs_file *file,
                          int (*each)(void *arg, const struct syn_cid *cid, struct syn_err *err),
                          void *arg, struct syn_err *err)
{
    int rc = SYN_OK;

    for (unsigned depth = 0; depth < SYN_UNIXFS_DEPTH_MAX; depth++) {
        const struct level *level = &file->levels[depth];

        for (size_t i = 0; rc == 0 && i < level->count; i++)
            rc = each(arg, &level->links[i].cid, err);
    }
    return rc;
}

/* ---- folders -------------------------------------------------------------------------------- */

struct shard_entry {
    uint64_t hash;
    const struct syn_unixfs_link *link;
};

struct shard_build {
    syn_unixfs_emit *emit;
    void *arg;
};

static int
compare_links(const void *left, const void *right)
{
    const struct syn_unixfs_link *a = left;
    const struct syn_unixfs_link *b = right;
    int order = memcmp(a->name, b->name, SYN_MIN(a->name_len, b->name_len));

    if (order != 0)
        return order;
    return (a->name_len > b->name_len) - (a->name_len < b->name_len);
}

static int
compare_hashes(const void *left, const void *right)
{
    uint64_t a = ((const struct shard_entry *)left)->hash;
    uint64_t b = ((const struct shard_entry *)right)->hash;

    return (a > b) - (a < b);
}

static unsigned
shard_slot(const struct shard_entry *entry, unsigned depth)
{
    return (unsigned)(entry->hash >> (56 - 8 * depth)) & 0xffU;
}

/* Append the UnixFS data of a shard: the bit field is big-endian without leading zero bytes. */
static SYN_MUST int
put_shard_data(struct syn_buf *block, const uint8_t bits[static SYN_UNIXFS_SHARD_FANOUT / 8],
               struct syn_err *err)
{
    SYN_BUF(data);
    size_t skip = 0;
    int rc;

    while (skip < SYN_UNIXFS_SHARD_FANOUT / 8 - 1 && bits[skip] == 0)
        skip++;
    put_number(&data, UNIXFS_TYPE, SYN_UNIXFS_SHARD);
    put_bytes(&data, UNIXFS_DATA, bits + skip, SYN_UNIXFS_SHARD_FANOUT / 8 - skip);
    put_number(&data, UNIXFS_HASHTYPE, HASH_MURMUR3_X64_64);
    put_number(&data, UNIXFS_FANOUT, SYN_UNIXFS_SHARD_FANOUT);
    rc = syn_buf_ok(&data, err);
    if (rc < 0)
        return rc;
    put_bytes(block, NODE_DATA, data.data, data.len);
    return SYN_OK;
}

/* `entries` are sorted by hash, so each slot is one run. Recursion is at most eight deep. */
static SYN_MUST int
build_shard(const struct shard_build *build, const struct shard_entry *entries, size_t count,
            unsigned depth, struct syn_unixfs_link *ret_link, struct syn_err *err)
{
    SYN_BUF(block);
    uint8_t bits[SYN_UNIXFS_SHARD_FANOUT / 8] = {0};
    uint64_t below = 0;
    int rc;

    if (depth >= sizeof(uint64_t))
        return SYN_FAIL(err, SYN_E_LIMIT,
                        "names \"%.*s\" and \"%.*s\" have the same hash: rename one",
                        (int)SYN_MIN(entries[0].link->name_len, 60), entries[0].link->name,
                        (int)SYN_MIN(entries[1].link->name_len, 60), entries[1].link->name);
    for (size_t from = 0; from < count;) {
        unsigned slot = shard_slot(&entries[from], depth);
        struct syn_unixfs_link child = {.name = ""};
        size_t until = from + 1;
        char prefix[8];

        while (until < count && shard_slot(&entries[until], depth) == slot)
            until++;
        if (until - from == 1) {
            child = *entries[from].link;
        } else {
            rc = build_shard(build, entries + from, until - from, depth + 1, &child, err);
            if (rc < 0)
                return rc;
        }
        (void)snprintf(prefix, sizeof(prefix), "%02X", slot);
        put_link(&block, &child, prefix);
        bits[sizeof(bits) - 1 - slot / 8] |= (uint8_t)(1U << (slot % 8));
        below += child.tsize;
        from = until;
    }
    rc = put_shard_data(&block, bits, err);
    if (rc < 0)
        return rc;
    return emit_node(&block, below, build->emit, build->arg, ret_link, err);
}

static SYN_MUST int
build_sharded(const struct syn_unixfs_link *entries, size_t count, syn_unixfs_emit *emit, void *arg,
              struct syn_unixfs_link *ret_link, struct syn_err *err)
{
    struct shard_build build = {emit, arg};
    SYN_SCOPED(syn_free_scope) struct shard_entry *hashed = syn_calloc(count, sizeof(*hashed));

    if (hashed == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a folder of %zu entries", count);
    for (size_t i = 0; i < count; i++) {
        hashed[i].link = &entries[i];
        hashed[i].hash = syn_murmur3_x64_64(entries[i].name, entries[i].name_len);
    }
    qsort(hashed, count, sizeof(*hashed), compare_hashes);
    return build_shard(&build, hashed, count, 0, ret_link, err);
}

static SYN_MUST int
check_entries(struct syn_unixfs_link *entries, size_t count, struct syn_err *err)
{
    for (size_t i = 0; i < count; i++) {
        if (!syn_unixfs_name_ok(entries[i].name, entries[i].name_len))
            return SYN_FAIL(err, SYN_E_INVALID,
                            "name \"%.*s\" cannot be stored: 1 to 255 bytes of UTF-8 without '/'",
                            (int)SYN_MIN(entries[i].name_len, 100), entries[i].name);
    }
    if (count > 1)
        qsort(entries, count, sizeof(*entries), compare_links);
    for (size_t i = 1; i < count; i++) {
        if (compare_links(&entries[i - 1], &entries[i]) == 0)
            return SYN_FAIL(err, SYN_E_INVALID, "name \"%.*s\" is there twice",
                            (int)SYN_MIN(entries[i].name_len, 100), entries[i].name);
    }
    return SYN_OK;
}

int
syn_unixfs_dir_build(struct syn_unixfs_link *entries, size_t count,
                     const struct syn_unixfs_layout *layout, syn_unixfs_emit *emit, void *arg,
                     struct syn_unixfs_link *ret_link, struct syn_err *err)
{
    static const uint8_t data[] = {UNIXFS_TYPE << 3 | PB_VARINT, SYN_UNIXFS_DIR};
    SYN_BUF(block);
    size_t shard_bytes = layout == NULL ? profile.shard_bytes : layout->shard_bytes;
    size_t size = 2 + sizeof(data);
    uint64_t below = 0;
    int rc = check_entries(entries, count, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < count; i++) {
        size_t body = link_body_size(&entries[i], 0);

        size += 1 + varint_size(body) + body;
        below += entries[i].tsize;
    }
    if (size > shard_bytes)
        return build_sharded(entries, count, emit, arg, ret_link, err);
    for (size_t i = 0; i < count; i++)
        put_link(&block, &entries[i], "");
    put_bytes(&block, NODE_DATA, data, sizeof(data));
    assert(block.failed || block.len == size);
    return emit_node(&block, below, emit, arg, ret_link, err);
}

int
syn_unixfs_symlink_build(const char *target, size_t len, syn_unixfs_emit *emit, void *arg,
                         struct syn_unixfs_link *ret_link, struct syn_err *err)
{
    SYN_BUF(data);
    SYN_BUF(block);
    int rc;

    if (len == 0 || len > SYN_UNIXFS_TARGET_MAX || memchr(target, '\0', len) != NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "symbolic link target must have 1 to %d bytes",
                        SYN_UNIXFS_TARGET_MAX);
    put_number(&data, UNIXFS_TYPE, SYN_UNIXFS_SYMLINK);
    put_bytes(&data, UNIXFS_DATA, target, len);
    rc = syn_buf_ok(&data, err);
    if (rc < 0)
        return rc;
    put_bytes(&block, NODE_DATA, data.data, data.len);
    rc = emit_node(&block, 0, emit, arg, ret_link, err);
    if (rc < 0)
        return rc;
    ret_link->size = len;
    return SYN_OK;
}
