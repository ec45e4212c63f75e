/* CAR version 1: a length-prefixed DAG-CBOR header {"roots": [CIDs], "version": 1}, then sections
 * of length, CID, block. The header is read and written here by hand: a map of two keys is all
 * there is.
 *
 * An import keeps the same rule as every put: a block is stored only when its bytes are what its
 * CID says, and the whole becomes visible only when everything below the roots is there. */
#include "content_priv.h"

#include <synor/base/mem.h>
#include <synor/base/varint.h>

#include "car_priv.h"
#include "pipe_priv.h"

/* ---- the header ------------------------------------------------------------------------------ */

#define CBOR_UNSIGNED 0U
#define CBOR_BYTES    2U
#define CBOR_TEXT     3U
#define CBOR_ARRAY    4U
#define CBOR_MAP      5U
#define CBOR_TAG      6U
#define CID_TAG       42U

#define NO_CAR "this is no CAR file of version 1"

struct cbor {
    const uint8_t *at;
    const uint8_t *end;
};

/* One head in its shortest form, as DAG-CBOR demands; only what a header can hold. */
static SYN_MUST bool
cbor_head(struct cbor *cbor, unsigned major, uint64_t *ret_value)
{
    size_t extra;
    uint64_t value;

    if (cbor->at == cbor->end || *cbor->at >> 5 != major)
        return false;
    value = *cbor->at++ & 31U;
    if (value >= 24) {
        if (value > 26)
            return false;
        extra = (size_t)1 << (value - 24);
        if ((size_t)(cbor->end - cbor->at) < extra)
            return false;
        value = 0;
        for (size_t i = 0; i < extra; i++)
            value = value << 8 | *cbor->at++;
        if (value < 24 || (extra > 1 && value >> (4 * extra) == 0))
            return false;
    }
    *ret_value = value;
    return true;
}

static SYN_MUST bool
cbor_text(struct cbor *cbor, const char *want)
{
    uint64_t len = 0;

    if (!cbor_head(cbor, CBOR_TEXT, &len) || len != strlen(want) ||
        (uint64_t)(cbor->end - cbor->at) < len || memcmp(cbor->at, want, len) != 0)
        return false;
    cbor->at += len;
    return true;
}

static SYN_MUST bool
cbor_cid(struct cbor *cbor, struct syn_cid *ret_cid)
{
    uint64_t value = 0;
    size_t used = 0;

    if (!cbor_head(cbor, CBOR_TAG, &value) || value != CID_TAG ||
        !cbor_head(cbor, CBOR_BYTES, &value) || value < 1 ||
        value > (uint64_t)(cbor->end - cbor->at) || *cbor->at != 0)
        return false;
    if (syn_cid_decode(cbor->at + 1, value - 1, ret_cid, &used, NULL) < 0 || used != value - 1)
        return false;
    cbor->at += value;
    return true;
}

int
syn_car_header_decode(const void *data, size_t len, struct syn_cid *roots, size_t *ret_count,
                      struct syn_err *err)
{
    struct cbor cbor = {data, (const uint8_t *)data + len};
    uint64_t keys = 0;
    uint64_t count = 0;
    uint64_t version = 0;

    if (!cbor_head(&cbor, CBOR_MAP, &keys) || keys != 2 || !cbor_text(&cbor, "roots") ||
        !cbor_head(&cbor, CBOR_ARRAY, &count))
        return SYN_FAIL(err, SYN_E_INVALID, NO_CAR);
    if (count == 0 || count > SYN_CONTENT_CAR_ROOTS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "CAR file must have 1 to %d roots",
                        SYN_CONTENT_CAR_ROOTS_MAX);
    for (uint64_t i = 0; i < count; i++) {
        if (!cbor_cid(&cbor, &roots[i]))
            return SYN_FAIL(err, SYN_E_INVALID, "CAR file with a root that is no usable CID");
    }
    if (!cbor_text(&cbor, "version") || !cbor_head(&cbor, CBOR_UNSIGNED, &version) ||
        version != 1 || cbor.at != cbor.end)
        return SYN_FAIL(err, SYN_E_INVALID, NO_CAR);
    *ret_count = (size_t)count;
    return SYN_OK;
}

static void
put_head(struct syn_buf *out, unsigned major, uint64_t value)
{
    if (value < 24) {
        syn_buf_addc(out, (char)(major << 5 | value));
    } else if (value < 256) {
        syn_buf_addc(out, (char)(major << 5 | 24));
        syn_buf_addc(out, (char)value);
    } else {
        assert(value < 65536);
        syn_buf_addc(out, (char)(major << 5 | 25));
        syn_buf_addc(out, (char)(value >> 8));
        syn_buf_addc(out, (char)value);
    }
}

int
syn_car_header_encode(const struct syn_cid *roots, size_t count, struct syn_buf *out,
                      struct syn_err *err)
{
    put_head(out, CBOR_MAP, 2);
    put_head(out, CBOR_TEXT, 5);
    syn_buf_adds(out, "roots");
    put_head(out, CBOR_ARRAY, count);
    for (size_t i = 0; i < count; i++) {
        uint8_t cid[1 + SYN_CID_BYTES] = {0};

        syn_cid_encode(&roots[i], cid + 1);
        put_head(out, CBOR_TAG, CID_TAG);
        put_head(out, CBOR_BYTES, sizeof(cid));
        syn_buf_add(out, cid, sizeof(cid));
    }
    put_head(out, CBOR_TEXT, 7);
    syn_buf_adds(out, "version");
    put_head(out, CBOR_UNSIGNED, 1);
    return syn_buf_ok(out, err);
}

/* ---- export ---------------------------------------------------------------------------------- */

struct car_export {
    struct syn_content *store;
    struct syn_digest_set seen;
    struct syn_cid *todo;
    size_t todo_count;
    size_t todo_cap;
    syn_content_sink *sink;
    void *arg;
};

static SYN_MUST int
want_block(struct car_export *export, const struct syn_cid *cid, struct syn_err *err)
{
    size_t item = 0;
    bool is_new = false;
    int rc = syn_digest_set_add(&export->seen, cid->digest, &item, &is_new, err);

    if (rc < 0 || !is_new)
        return rc;
    if (!syn_grow(&export->todo, &export->todo_cap, export->todo_count + 1, sizeof(*export->todo)))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a CAR file");
    export->todo[export->todo_count++] = *cid;
    return SYN_OK;
}

static SYN_MUST int
give_section(struct car_export *export, const struct syn_cid *cid, const struct syn_block *block,
             struct syn_err *err)
{
    uint8_t head[SYN_VARINT_MAX + SYN_CID_BYTES];
    size_t len = syn_varint_encode(SYN_CID_BYTES + block->len, head);
    int rc;

    syn_cid_encode(cid, head + len);
    rc = export->sink(export->arg, head, len + SYN_CID_BYTES, err);
    if (rc < 0 || block->len == 0)
        return rc;
    return export->sink(export->arg, block->data, block->len, err);
}

/* The stack gives a parent first, then its last child's whole tree, ...: children go on in reverse.
 */
static SYN_MUST int
give_blocks(struct car_export *export, struct syn_err *err)
{
    int rc = SYN_OK;

    while (rc == 0 && export->todo_count > 0) {
        struct syn_cid cid = export->todo[--export->todo_count];
        struct syn_dag_node dag;

        rc = syn_dag_node_get(export->store, &cid, &dag, err);
        if (rc != 0)
            break;
        rc = give_section(export, &cid, &dag.block, err);
        for (size_t i = dag.node.count; rc == 0 && i-- > 0;)
            rc = want_block(export, &dag.node.links[i].cid, err);
        syn_dag_node_fini(&dag);
    }
    return rc;
}

int
syn_content_car_export(struct syn_content *store, const struct syn_cid *roots, size_t count,
                       syn_content_sink *sink, void *arg, struct syn_err *err)
{
    struct car_export export = {.store = store, .sink = sink, .arg = arg};
    uint8_t length[SYN_VARINT_MAX];
    SYN_BUF(header);
    int rc;

    if (count == 0 || count > SYN_CONTENT_CAR_ROOTS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "CAR file must have 1 to %d roots",
                        SYN_CONTENT_CAR_ROOTS_MAX);
    rc = syn_car_header_encode(roots, count, &header, err);
    if (rc == 0)
        rc = sink(arg, length, syn_varint_encode(header.len, length), err);
    if (rc == 0)
        rc = sink(arg, header.data, header.len, err);
    for (size_t i = count; rc == 0 && i-- > 0;)
        rc = want_block(&export, &roots[i], err);
    if (rc == 0)
        rc = give_blocks(&export, err);
    syn_digest_set_fini(&export.seen);
    syn_free(export.todo);
    return rc;
}

/* ---- import ---------------------------------------------------------------------------------- */

/* One section on its way to the store. */
struct section {
    struct syn_buf bytes; /* CID and block */
    struct syn_unixfs_node node;
};

struct syn_content_car {
    struct syn_content *store;
    struct syn_batch *batch;
    struct syn_pipe *pipe;
    struct syn_buf header;
    struct section *section; /* being filled, or NULL */
    uint8_t length[SYN_VARINT_MAX];
    size_t length_len;
    size_t want; /* bytes the header or section has; 0 while its length is read */
    bool have_header;
    struct syn_cid roots[SYN_CONTENT_CAR_ROOTS_MAX];
    size_t roots_count;
    struct syn_digest_set wanted; /* what roots and blocks link to */
    struct syn_cid *wanted_cids;
    size_t wanted_cap;
    int failed;
    struct syn_err why;
};

static int
section_work(void *arg, void *job, struct syn_err *err)
{
    struct syn_content_car *car = arg;
    struct section *section = job;
    struct syn_cid cid;
    struct syn_cid real;
    char text[SYN_CID_TEXT_MAX];
    const char *data;
    size_t used = 0;
    size_t len;
    int rc = syn_cid_decode(section->bytes.data, section->bytes.len, &cid, &used, err);

    if (rc != 0)
        return syn_err_wrap(err, rc, "CAR file");
    data = section->bytes.data + used;
    len = section->bytes.len - used;
    syn_cid_of(cid.codec, data, len, &real);
    if (!syn_cid_eq(&real, &cid))
        return SYN_FAIL(err, SYN_E_INVALID, "CAR file: the bytes are not those of block %s",
                        syn_cid_format(&cid, text));
    rc = syn_unixfs_decode(cid.codec, data, len, &section->node, err);
    if (rc != 0)
        return syn_err_wrap(err, rc, "CAR file: block %s", syn_cid_format(&cid, text));
    return syn_batch_put(car->batch, &cid, data, len, err);
}

static SYN_MUST int
want_cid(struct syn_content_car *car, const struct syn_cid *cid, struct syn_err *err)
{
    size_t item = 0;
    bool is_new = false;
    int rc;

    if (!syn_grow(&car->wanted_cids, &car->wanted_cap, car->wanted.count + 1,
                  sizeof(*car->wanted_cids)))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a CAR file");
    rc = syn_digest_set_add(&car->wanted, cid->digest, &item, &is_new, err);
    if (rc == 0 && is_new)
        car->wanted_cids[item] = *cid;
    return rc;
}

static int
section_collect(void *arg, void *job, struct syn_err *err)
{
    struct section *section = job;
    int rc = SYN_OK;

    for (size_t i = 0; rc == 0 && i < section->node.count; i++)
        rc = want_cid(arg, &section->node.links[i].cid, err);
    syn_unixfs_node_fini(&section->node);
    return rc;
}

static void
section_fini(void *job)
{
    struct section *section = job;

    syn_unixfs_node_fini(&section->node);
    syn_buf_fini(&section->bytes);
}

static const struct syn_pipe_ops section_ops = {
    .job_size = sizeof(struct section),
    .work = section_work,
    .collect = section_collect,
    .fini = section_fini,
};

int
syn_content_car_new(struct syn_content *store, struct syn_content_car **ret_car,
                    struct syn_err *err)
{
    struct syn_content_car *car = syn_calloc(1, sizeof(*car));
    int rc;

    if (car == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a CAR file");
    car->store = store;
    rc = syn_batch_new(store->blocks, &car->batch, err);
    if (rc == 0)
        rc = syn_pipe_new(store->pool, syn_content_jobs(store), &section_ops, car, &car->pipe, err);
    if (rc < 0) {
        syn_content_car_free(car);
        return rc;
    }
    *ret_car = car;
    return SYN_OK;
}

struct syn_content_car *
syn_content_car_free(struct syn_content_car *car)
{
    if (car != NULL) {
        syn_pipe_free(car->pipe);
        syn_batch_free(car->batch);
        syn_buf_fini(&car->header);
        syn_digest_set_fini(&car->wanted);
        syn_free(car->wanted_cids);
        syn_free(car);
    }
    return NULL;
}

/* Take bytes of the next length; sets `want` when it is whole. */
static SYN_MUST int
take_length(struct syn_content_car *car, const uint8_t **at, size_t *left, struct syn_err *err)
{
    size_t most = car->have_header ? SYN_BLOCK_BYTES_MAX + SYN_CID_BYTES : SYN_CAR_HEADER_MAX;

    while (*left > 0) {
        uint64_t value = 0;
        bool last = (**at & 0x80U) == 0;

        if (car->length_len == sizeof(car->length))
            return SYN_FAIL(err, SYN_E_INVALID, "%s",
                            car->have_header ? "CAR file with a malformed length" : NO_CAR);
        car->length[car->length_len++] = *(*at)++;
        (*left)--;
        if (!last)
            continue;
        if (syn_varint_decode(car->length, car->length_len, &value) == 0 || value == 0 ||
            value > most)
            return SYN_FAIL(err, SYN_E_INVALID, "%s",
                            car->have_header ? "CAR file with a section of unusable length"
                                             : NO_CAR);
        car->length_len = 0;
        car->want = (size_t)value;
        return SYN_OK;
    }
    return SYN_OK;
}

static SYN_MUST int
take_header(struct syn_content_car *car, struct syn_err *err)
{
    int rc = syn_car_header_decode(car->header.data, car->header.len, car->roots, &car->roots_count,
                                   err);

    for (size_t i = 0; rc == 0 && i < car->roots_count; i++)
        rc = want_cid(car, &car->roots[i], err);
    car->have_header = true;
    return rc;
}

/* The buffer that the current header or section is collected in. */
static SYN_MUST int
current_buffer(struct syn_content_car *car, struct syn_buf **ret_buf, struct syn_err *err)
{
    void *job = NULL;
    int rc;

    if (!car->have_header) {
        *ret_buf = &car->header;
        return SYN_OK;
    }
    if (car->section == NULL) {
        rc = syn_pipe_next(car->pipe, &job, err);
        if (rc != 0)
            return rc;
        car->section = job;
        syn_buf_clear(&car->section->bytes);
    }
    *ret_buf = &car->section->bytes;
    return SYN_OK;
}

static SYN_MUST int
take_bytes(struct syn_content_car *car, const uint8_t **at, size_t *left, struct syn_err *err)
{
    struct syn_buf *buf = NULL;
    size_t take;
    int rc = current_buffer(car, &buf, err);

    if (rc != 0)
        return rc;
    take = SYN_MIN(*left, car->want - buf->len);
    syn_buf_add(buf, *at, take);
    rc = syn_buf_ok(buf, err);
    if (rc != 0)
        return rc;
    *at += take;
    *left -= take;
    if (buf->len < car->want)
        return SYN_OK;
    car->want = 0;
    if (!car->have_header)
        return take_header(car, err);
    syn_pipe_submit(car->pipe);
    car->section = NULL;
    return SYN_OK;
}

static int
car_failed(struct syn_content_car *car, int rc, struct syn_err *err)
{
    car->failed = rc;
    if (err != NULL)
        car->why = *err;
    else
        (void)SYN_FAIL(&car->why, rc, "the import failed before");
    return rc;
}

int
syn_content_car_write(struct syn_content_car *car, const void *data, size_t len,
                      struct syn_err *err)
{
    const uint8_t *at = data;

    if (car->failed != 0 && err != NULL)
        *err = car->why;
    if (car->failed != 0)
        return car->failed;
    while (len > 0) {
        int rc =
            car->want == 0 ? take_length(car, &at, &len, err) : take_bytes(car, &at, &len, err);

        if (rc < 0)
            return car_failed(car, rc, err);
    }
    return SYN_OK;
}

/* Input that ended too early: a CAR file that was cut, or something else altogether? */
static SYN_MUST int
cut_short(const struct syn_content_car *car, struct syn_err *err)
{
    static const char start[] = "\xa2\x65roots"; /* a map of two, the text "roots" */
    size_t len = SYN_MIN(car->header.len, sizeof(start) - 1);

    if (!car->have_header && car->want == 0 && car->length_len == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "an empty file is no CAR file");
    if (!car->have_header && len > 0 && memcmp(car->header.data, start, len) != 0)
        return SYN_FAIL(err, SYN_E_INVALID, NO_CAR);
    return SYN_FAIL(err, SYN_E_INVALID, "CAR file is cut short");
}

int
syn_content_car_commit(struct syn_content_car *car, const struct syn_cid **ret_roots,
                       size_t *ret_count, struct syn_err *err)
{
    int rc = SYN_OK;

    if (car->failed != 0 && err != NULL)
        *err = car->why;
    if (car->failed != 0)
        return car->failed;
    if (!car->have_header || car->want != 0 || car->length_len != 0)
        rc = cut_short(car, err);
    if (rc == 0)
        rc = syn_pipe_drain(car->pipe, err);
    for (size_t i = 0; rc == 0 && i < car->wanted.count; i++)
        rc = syn_batch_hold(car->batch, &car->wanted_cids[i], err);
    if (rc == 0)
        rc = syn_batch_commit(car->batch, err);
    if (rc < 0)
        return car_failed(car, rc, err);
    *ret_roots = car->roots;
    *ret_count = car->roots_count;
    return SYN_OK;
}
