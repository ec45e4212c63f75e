/* Reading blocks. Every byte must be accounted for: dag-pb's canonical field order, shortest
 * varints, no unknown field, names that are safe as path components, sizes that add up. What passes
 * here can be walked and written to disk without looking again. */
#include "unixfs_priv.h"

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/varint.h>

struct reader {
    const uint8_t *at;
    const uint8_t *end;
};

struct field {
    unsigned number;
    unsigned wire;
    uint64_t value;      /* PB_VARINT */
    struct reader bytes; /* PB_BYTES */
};

static size_t
reader_left(const struct reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

static SYN_MUST bool
read_varint(struct reader *reader, uint64_t *ret_value)
{
    size_t used = syn_varint_decode(reader->at, reader_left(reader), ret_value);

    reader->at += used;
    return used != 0;
}

static SYN_MUST bool
read_field(struct reader *reader, struct field *ret_field)
{
    uint64_t key = 0;

    if (!read_varint(reader, &key) || key >> 3 == 0 || key >> 3 > 15)
        return false;
    ret_field->number = (unsigned)(key >> 3);
    ret_field->wire = (unsigned)(key & 7);
    if (!(ret_field->wire == PB_VARINT || ret_field->wire == PB_BYTES) ||
        !read_varint(reader, &ret_field->value))
        return false;
    if (ret_field->wire == PB_BYTES) {
        if (ret_field->value > reader_left(reader))
            return false;
        ret_field->bytes.at = reader->at;
        reader->at += ret_field->value;
        ret_field->bytes.end = reader->at;
    }
    return true;
}

static SYN_MUST int
read_link(struct reader reader, struct syn_unixfs_link *link, struct syn_err *err)
{
    unsigned last = 0;

    *link = (struct syn_unixfs_link){.name = ""};
    while (reader.at < reader.end) {
        struct field field;
        size_t used = 0;

        if (!read_field(&reader, &field) || field.number <= last || field.number > LINK_TSIZE ||
            field.wire != (field.number == LINK_TSIZE ? PB_VARINT : PB_BYTES))
            return SYN_FAIL(err, SYN_E_INVALID, "dag-pb link is not canonical");
        last = field.number;
        if (field.number == LINK_HASH) {
            int rc = syn_cid_decode(field.bytes.at, field.value, &link->cid, &used, err);

            if (rc < 0)
                return syn_err_wrap(err, rc, "dag-pb link");
            if (used != field.value)
                return SYN_FAIL(err, SYN_E_INVALID, "dag-pb link: bytes after the CID");
        } else if (field.number == LINK_NAME) {
            link->name = (const char *)field.bytes.at;
            link->name_len = field.value;
        } else {
            link->tsize = field.value;
        }
    }
    if (link->cid.codec == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "dag-pb link without a CID");
    return SYN_OK;
}

/* Split a PBNode into its links and its data; links come in one run, before or after the data. */
static SYN_MUST int
read_node(struct reader reader, struct syn_unixfs_node *node, struct reader *ret_data,
          struct syn_err *err)
{
    bool have_data = false;
    bool links_over = false;
    size_t cap = 0;

    while (reader.at < reader.end) {
        struct field field;
        int rc;

        if (!read_field(&reader, &field) || field.wire != PB_BYTES ||
            (field.number != NODE_DATA && field.number != NODE_LINKS))
            return SYN_FAIL(err, SYN_E_INVALID, "dag-pb node is not canonical");
        if (field.number == NODE_DATA) {
            if (have_data)
                return SYN_FAIL(err, SYN_E_INVALID, "dag-pb node with data twice");
            have_data = true;
            links_over = node->count > 0;
            *ret_data = field.bytes;
            continue;
        }
        if (links_over)
            return SYN_FAIL(err, SYN_E_INVALID, "dag-pb node with links on both sides of its data");
        if (!syn_grow(&node->links, &cap, node->count + 1, sizeof(*node->links)))
            return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for %zu links", node->count + 1);
        rc = read_link(field.bytes, &node->links[node->count], err);
        if (rc < 0)
            return rc;
        node->count++;
    }
    if (!have_data)
        return SYN_FAIL(err, SYN_E_INVALID, "dag-pb node without UnixFS data");
    return SYN_OK;
}

static SYN_MUST int
take_blocksize(struct syn_unixfs_node *node, size_t index, uint64_t size, struct syn_err *err)
{
    if (index >= node->count)
        return SYN_FAIL(err, SYN_E_INVALID, "UnixFS file with more block sizes than links");
    node->links[index].size = size;
    return SYN_OK;
}

/* Block sizes come one a field, or packed into one bytes field. */
static SYN_MUST int
read_blocksizes(struct syn_unixfs_node *node, const struct field *field, size_t *sizes,
                struct syn_err *err)
{
    struct reader packed = field->bytes;
    uint64_t value = 0;

    if (field->wire == PB_VARINT)
        return take_blocksize(node, (*sizes)++, field->value, err);
    while (packed.at < packed.end) {
        int rc;

        if (!read_varint(&packed, &value))
            return SYN_FAIL(err, SYN_E_INVALID, "UnixFS block sizes are malformed");
        rc = take_blocksize(node, (*sizes)++, value, err);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

struct unixfs_fields {
    size_t sizes;
    uint64_t filesize;
    uint64_t hash;
    uint64_t fanout;
    bool have_type;
    bool have_filesize;
};

static SYN_MUST int
read_unixfs_field(struct syn_unixfs_node *node, const struct field *field,
                  struct unixfs_fields *seen, struct syn_err *err)
{
    bool bytes = field->number == UNIXFS_DATA || field->number == UNIXFS_MTIME;

    if (field->number == UNIXFS_BLOCKSIZES)
        return read_blocksizes(node, field, &seen->sizes, err);
    if (field->number > UNIXFS_MTIME || (field->wire == PB_BYTES) != bytes)
        return SYN_FAIL(err, SYN_E_INVALID, "UnixFS data with unknown field %u", field->number);
    switch (field->number) {
    case UNIXFS_TYPE:
        if (field->value > SYN_UNIXFS_SHARD)
            return SYN_FAIL(err, SYN_E_INVALID, "UnixFS data of unknown type");
        node->type = (enum syn_unixfs_type)field->value;
        seen->have_type = true;
        break;
    case UNIXFS_DATA:
        node->data = field->bytes.at;
        node->data_len = field->value;
        break;
    case UNIXFS_FILESIZE:
        seen->filesize = field->value;
        seen->have_filesize = true;
        break;
    case UNIXFS_HASHTYPE:
        seen->hash = field->value;
        break;
    case UNIXFS_FANOUT:
        seen->fanout = field->value;
        break;
    default: /* mode and modification time: allowed, not part of the profile */
        break;
    }
    return SYN_OK;
}

static SYN_MUST int
check_file(struct syn_unixfs_node *node, const struct unixfs_fields *seen, struct syn_err *err)
{
    uint64_t total = node->data_len;

    if (seen->sizes != node->count)
        return SYN_FAIL(err, SYN_E_INVALID, "UnixFS file with %zu links but %zu block sizes",
                        node->count, seen->sizes);
    for (size_t i = 0; i < node->count; i++) {
        if (__builtin_add_overflow(total, node->links[i].size, &total))
            return SYN_FAIL(err, SYN_E_INVALID, "UnixFS file size overflows");
        if (node->links[i].name_len != 0)
            return SYN_FAIL(err, SYN_E_INVALID, "UnixFS file with a named link");
    }
    if (seen->have_filesize ? seen->filesize != total : total != node->data_len)
        return SYN_FAIL(err, SYN_E_INVALID, "UnixFS file size does not match its blocks");
    node->size = total;
    return SYN_OK;
}

bool
syn_unixfs_name_ok(const char *name, size_t len)
{
    if (len == 0 || len > SYN_UNIXFS_NAME_MAX || memchr(name, '/', len) != NULL)
        return false;
    if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
        return false;
    return syn_utf8_ok(name, len);
}

static int
compare_names(const struct syn_unixfs_link *a, const struct syn_unixfs_link *b)
{
    int order = memcmp(a->name, b->name, SYN_MIN(a->name_len, b->name_len));

    if (order != 0)
        return order;
    return (a->name_len > b->name_len) - (a->name_len < b->name_len);
}

static SYN_MUST int
check_dir(const struct syn_unixfs_node *node, struct syn_err *err)
{
    for (size_t i = 0; i < node->count; i++) {
        const struct syn_unixfs_link *link = &node->links[i];

        if (!syn_unixfs_name_ok(link->name, link->name_len))
            return SYN_FAIL(err, SYN_E_INVALID, "UnixFS folder with an unsafe name");
        if (i > 0 && compare_names(&node->links[i - 1], link) >= 0)
            return SYN_FAIL(err, SYN_E_INVALID, "UnixFS folder whose names are not sorted");
    }
    return SYN_OK;
}

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

unsigned
syn_unixfs_shard_prefix(const struct syn_unixfs_node *node)
{
    unsigned digits = 1;

    for (unsigned most = node->fanout - 1; most > 15; most >>= 4)
        digits++;
    return digits;
}

/* Each link is "<slot>" for a deeper shard or "<slot><name>" for an entry, slots rising; each has
 * its bit in the big-endian bit field. */
static SYN_MUST int
check_shard(struct syn_unixfs_node *node, const struct unixfs_fields *seen, struct syn_err *err)
{
    unsigned prefix;
    int last = -1;
    size_t bits = 0;

    if (seen->hash != HASH_MURMUR3_X64_64)
        return SYN_FAIL(err, SYN_E_INVALID, "UnixFS shard with an unknown hash function");
    if (seen->fanout < 8 || seen->fanout > SHARD_FANOUT_MAX ||
        (seen->fanout & (seen->fanout - 1)) != 0)
        return SYN_FAIL(err, SYN_E_INVALID, "UnixFS shard with an unusual fanout");
    node->fanout = (unsigned)seen->fanout;
    prefix = syn_unixfs_shard_prefix(node);
    for (size_t i = 0; i < node->count; i++) {
        const struct syn_unixfs_link *link = &node->links[i];
        int slot = 0;
        size_t byte;

        if (link->name_len < prefix)
            return SYN_FAIL(err, SYN_E_INVALID, "UnixFS shard with a malformed link name");
        for (unsigned digit = 0; digit < prefix && slot >= 0; digit++) {
            int value = hex_digit(link->name[digit]);

            slot = value < 0 ? -1 : slot * 16 + value;
        }
        byte = slot < 0 ? 0 : (size_t)slot / 8;
        if (slot <= last || slot >= (int)node->fanout || byte >= node->data_len ||
            (node->data[node->data_len - 1 - byte] >> (slot % 8) & 1) == 0)
            return SYN_FAIL(err, SYN_E_INVALID, "UnixFS shard whose links do not match its bits");
        if (link->name_len > prefix &&
            !syn_unixfs_name_ok(link->name + prefix, link->name_len - prefix))
            return SYN_FAIL(err, SYN_E_INVALID, "UnixFS folder with an unsafe name");
        last = slot;
    }
    for (size_t i = 0; i < node->data_len; i++)
        bits += (size_t)__builtin_popcount(node->data[i]);
    if (bits != node->count)
        return SYN_FAIL(err, SYN_E_INVALID, "UnixFS shard whose bits do not match its links");
    return SYN_OK;
}

static SYN_MUST int
check_node(struct syn_unixfs_node *node, const struct unixfs_fields *seen, struct syn_err *err)
{
    if (!seen->have_type)
        return SYN_FAIL(err, SYN_E_INVALID, "UnixFS data without a type");
    if (node->type != SYN_UNIXFS_FILE && node->type != SYN_UNIXFS_RAW && seen->sizes > 0)
        return SYN_FAIL(err, SYN_E_INVALID, "UnixFS block sizes outside a file");
    switch (node->type) {
    case SYN_UNIXFS_RAW:
    case SYN_UNIXFS_FILE:
        return check_file(node, seen, err);
    case SYN_UNIXFS_DIR:
        return check_dir(node, err);
    case SYN_UNIXFS_SHARD:
        return check_shard(node, seen, err);
    case SYN_UNIXFS_SYMLINK:
        if (node->count != 0 || node->data_len == 0 || node->data_len > SYN_UNIXFS_TARGET_MAX ||
            memchr(node->data, '\0', node->data_len) != NULL)
            return SYN_FAIL(err, SYN_E_INVALID, "UnixFS symbolic link with an unusable target");
        node->size = node->data_len;
        return SYN_OK;
    case SYN_UNIXFS_METADATA:
    default:
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "UnixFS metadata nodes are not supported");
    }
}

static SYN_MUST int
decode_dag_pb(struct reader reader, struct syn_unixfs_node *node, struct syn_err *err)
{
    struct reader data = {NULL, NULL};
    struct unixfs_fields seen = {0};
    unsigned last = 0;
    int rc = read_node(reader, node, &data, err);

    if (rc < 0)
        return rc;
    while (data.at < data.end) {
        struct field field;

        if (!read_field(&data, &field) || field.number < last ||
            (field.number == last && last != UNIXFS_BLOCKSIZES))
            return SYN_FAIL(err, SYN_E_INVALID, "UnixFS data is malformed");
        last = field.number;
        rc = read_unixfs_field(node, &field, &seen, err);
        if (rc < 0)
            return rc;
    }
    return check_node(node, &seen, err);
}

int
syn_unixfs_decode(enum syn_codec codec, const void *data, size_t len,
                  struct syn_unixfs_node *ret_node, struct syn_err *err)
{
    SYN_SCOPED(syn_unixfs_node_fini) struct syn_unixfs_node node = {.type = SYN_UNIXFS_FILE};
    int rc = SYN_OK;

    if (len > SYN_BLOCK_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "block of %zu bytes is over the limit", len);
    if (codec == SYN_CODEC_RAW) {
        node.data = data;
        node.data_len = len;
        node.size = len;
    } else {
        rc = decode_dag_pb((struct reader){data, (const uint8_t *)data + len}, &node, err);
    }
    if (rc < 0)
        return rc;
    *ret_node = node;
    node.links = NULL;
    return SYN_OK;
}

void
syn_unixfs_node_fini(struct syn_unixfs_node *node)
{
    syn_free(node->links);
    node->links = NULL;
    node->count = 0;
}

const struct syn_unixfs_link *
syn_unixfs_find(const struct syn_unixfs_node *node, const char *name, size_t len)
{
    struct syn_unixfs_link want = {.name = name, .name_len = len};
    size_t low = 0;
    size_t high = node->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_names(&node->links[middle], &want);

        if (order == 0)
            return &node->links[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

int
syn_unixfs_shard_find(const struct syn_unixfs_node *node, unsigned depth, const char *name,
                      size_t len, const struct syn_unixfs_link **ret_link, bool *ret_deeper,
                      struct syn_err *err)
{
    unsigned bits = (unsigned)__builtin_ctz(node->fanout);
    unsigned prefix = syn_unixfs_shard_prefix(node);
    uint64_t hash = syn_murmur3_x64_64(name, len);
    char slot[8];

    assert(node->type == SYN_UNIXFS_SHARD);
    *ret_link = NULL;
    *ret_deeper = false;
    if ((depth + 1) * bits > 64)
        return SYN_FAIL(err, SYN_E_LIMIT, "sharded folder is deeper than its hash");
    (void)snprintf(slot, sizeof(slot), "%0*X", (int)prefix,
                   (unsigned)(hash >> (64 - (depth + 1) * bits)) & (node->fanout - 1));
    for (size_t i = 0; i < node->count; i++) {
        const struct syn_unixfs_link *link = &node->links[i];

        if (memcmp(link->name, slot, prefix) != 0)
            continue;
        *ret_deeper = link->name_len == prefix;
        if (*ret_deeper ||
            (link->name_len == prefix + len && memcmp(link->name + prefix, name, len) == 0))
            *ret_link = link;
        return SYN_OK;
    }
    return SYN_OK;
}
