/* Keeping: removing what nothing reaches.
 *
 * gc marks what the roots reach while puts go on. Then, with puts held up for a moment, it also
 * marks what was put lately and what open puts rely on, with all below these, and takes the rest
 * out of the index in one transaction. Only then are pack files removed, or copied together where
 * less than half of one is alive. A crash in between leaves either the old state or files that
 * nothing names. */
#include "content_priv.h"

#include <synor/base/mem.h>
#include <synor/base/world.h>

/* ---- marking --------------------------------------------------------------------------------- */

struct mark {
    struct syn_content *store;
    struct syn_digest_set live;
    struct syn_cid *todo; /* nodes that are marked, but not yet looked into */
    size_t todo_count;
    size_t todo_cap;
    bool lenient; /* past the roots: a block that was put without its children is no damage */
};

static SYN_MUST int
mark_cid(struct mark *mark, const struct syn_cid *cid, struct syn_err *err)
{
    size_t item = 0;
    bool is_new = false;
    int rc = syn_digest_set_add(&mark->live, cid->digest, &item, &is_new, err);

    if (rc < 0 || !is_new || cid->codec == SYN_CODEC_RAW)
        return rc;
    if (!syn_grow(&mark->todo, &mark->todo_cap, mark->todo_count + 1, sizeof(*mark->todo)))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory walking the content store");
    mark->todo[mark->todo_count++] = *cid;
    return SYN_OK;
}

static SYN_MUST int
mark_below(struct mark *mark, struct syn_err *err)
{
    int rc = SYN_OK;

    while (rc == 0 && mark->todo_count > 0) {
        struct syn_cid cid = mark->todo[--mark->todo_count];
        struct syn_dag_node dag;

        rc = syn_dag_node_get(mark->store, &cid, &dag, err);
        if (rc == SYN_E_NOTFOUND && mark->lenient) {
            rc = SYN_OK;
            continue;
        }
        if (rc != 0)
            break;
        for (size_t i = 0; rc == 0 && i < dag.node.count; i++)
            rc = mark_cid(mark, &dag.node.links[i].cid, err);
        syn_dag_node_fini(&dag);
    }
    return rc;
}

static SYN_MUST int
mark_roots(struct mark *mark, syn_content_roots *roots, void *arg, struct syn_err *err)
{
    for (;;) {
        struct syn_cid cid;
        char text[SYN_CID_TEXT_MAX];
        struct syn_index_row row;
        int rc = roots(arg, &cid, err);

        if (rc <= 0)
            return rc;
        rc = syn_index_find(syn_blocks_index(mark->store->blocks), cid.digest, &row, err);
        if (rc == SYN_INDEX_NONE)
            rc = SYN_FAIL(err, SYN_E_NOTFOUND, "root %s: not in the content store",
                          syn_cid_format(&cid, text));
        if (rc == 0)
            rc = mark_cid(mark, &cid, err);
        if (rc == 0)
            rc = mark_below(mark, err);
        if (rc != 0)
            return rc;
    }
}

static int
mark_row(void *arg, const struct syn_index_row *row, struct syn_err *err)
{
    return mark_cid(arg, &row->cid, err);
}

/* What a batch claims may be stored, or only about to be. */
static int
mark_claim(void *arg, const uint8_t *digest, struct syn_err *err)
{
    struct mark *mark = arg;
    struct syn_index_row row;
    int rc = syn_index_find(syn_blocks_index(mark->store->blocks), digest, &row, err);

    if (rc == SYN_INDEX_NONE)
        return SYN_OK;
    return rc == 0 ? mark_cid(mark, &row.cid, err) : rc;
}

/* What a live recipe is made of lives, too; these are whole blocks, so once around is enough. */
static int
mark_base(void *arg, const uint8_t *digest, const uint8_t *base, struct syn_err *err)
{
    struct mark *mark = arg;
    struct syn_cid cid = {.codec = SYN_CODEC_RAW};

    if (syn_digest_set_find(&mark->live, digest) == SIZE_MAX)
        return SYN_OK;
    memcpy(cid.digest, base, SYN_DIGEST_BYTES);
    return mark_cid(mark, &cid, err);
}

/* ---- sweeping -------------------------------------------------------------------------------- */

struct sweep {
    const struct mark *mark;
    uint8_t (*dead)[SYN_DIGEST_BYTES];
    size_t count;
    size_t cap;
    uint64_t kept;
};

static int
sweep_row(void *arg, const struct syn_index_row *row, struct syn_err *err)
{
    struct sweep *sweep = arg;

    if (syn_digest_set_find(&sweep->mark->live, row->cid.digest) != SIZE_MAX) {
        sweep->kept++;
        return SYN_OK;
    }
    if (!syn_grow(&sweep->dead, &sweep->cap, sweep->count + 1, sizeof(*sweep->dead)))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory walking the content store");
    memcpy(sweep->dead[sweep->count++], row->cid.digest, SYN_DIGEST_BYTES);
    return SYN_OK;
}

static SYN_MUST int
remove_dead(struct syn_content *store, const struct sweep *sweep, struct syn_err *err)
{
    struct syn_index *index = syn_blocks_index(store->blocks);
    int rc;

    if (sweep->count == 0)
        return SYN_OK;
    rc = syn_index_begin(index, err);
    if (rc != 0)
        return rc;
    for (size_t i = 0; rc == 0 && i < sweep->count; i++)
        rc = syn_index_remove(index, sweep->dead[i], err);
    return syn_index_end(index, rc, err);
}

static SYN_MUST int
sweep_blocks(struct mark *mark, int64_t since_ms, struct sweep *sweep, struct syn_err *err)
{
    struct syn_content *store = mark->store;
    struct syn_index *index = syn_blocks_index(store->blocks);
    int rc;

    mark->lenient = true;
    syn_blocks_sweep_begin(store->blocks);
    rc = syn_blocks_each_claim(store->blocks, mark_claim, mark, err);
    if (rc == 0)
        rc = syn_index_each(index, SYN_INDEX_BY_DIGEST, since_ms, mark_row, mark, err);
    if (rc == 0)
        rc = mark_below(mark, err);
    if (rc == 0)
        rc = syn_index_each_base(index, mark_base, mark, err);
    if (rc == 0)
        rc = syn_index_each(index, SYN_INDEX_BY_DIGEST, INT64_MIN, sweep_row, sweep, err);
    if (rc == 0)
        rc = remove_dead(store, sweep, err);
    syn_blocks_sweep_end(store->blocks);
    return rc;
}

/* ---- giving space back ----------------------------------------------------------------------- */

struct worn_pack {
    uint32_t id;
    uint64_t size;
};

struct compaction {
    struct syn_content *store;
    uint32_t limit; /* packs from here on may be in use by an open batch */
    struct worn_pack *packs;
    size_t packs_count;
    size_t packs_cap;
    struct syn_index_row *rows; /* alive in these packs, in order of place */
    size_t rows_count;
    size_t rows_cap;
    uint64_t freed;
};

static int
note_worn(void *arg, uint32_t pack, uint64_t size, uint64_t live, struct syn_err *err)
{
    struct compaction *work = arg;

    if (pack >= work->limit || live >= size / 2)
        return SYN_OK;
    if (!syn_grow(&work->packs, &work->packs_cap, work->packs_count + 1, sizeof(*work->packs)))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory compacting the content store");
    work->packs[work->packs_count++] = (struct worn_pack){pack, size};
    return SYN_OK;
}

static int
note_row(void *arg, const struct syn_index_row *row, struct syn_err *err)
{
    struct compaction *work = arg;
    bool worn = false;

    for (size_t i = 0; !worn && i < work->packs_count; i++)
        worn = work->packs[i].id == row->place.pack;
    if (!worn)
        return SYN_OK;
    if (!syn_grow(&work->rows, &work->rows_cap, work->rows_count + 1, sizeof(*work->rows)))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory compacting the content store");
    work->rows[work->rows_count++] = *row;
    return SYN_OK;
}

static SYN_MUST int
commit_moves(struct syn_index *index, uint32_t pack, const struct syn_index_row *rows,
             const struct syn_index_row *moved, size_t count, struct syn_err *err)
{
    int rc = syn_index_begin(index, err);

    if (rc != 0)
        return rc;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = syn_index_move(index, &moved[i], rows[i].place, err);
        if (rc == 0)
            rc = syn_index_pack(index, moved[i].place.pack, moved[i].place.offset + moved[i].stored,
                                err);
    }
    if (rc == 0)
        rc = syn_index_pack(index, pack, 0, err);
    return syn_index_end(index, rc, err);
}

/* Copy what is alive in one pack, make it durable, switch the index over, then remove the file. */
static SYN_MUST int
compact_pack(struct compaction *work, const struct worn_pack *pack,
             const struct syn_index_row *rows, size_t count, struct syn_err *err)
{
    struct syn_blocks *blocks = work->store->blocks;
    struct syn_packs *packs = syn_blocks_packs(blocks);
    SYN_SCOPED(syn_free_scope) struct syn_index_row *moved = syn_calloc(count, sizeof(*moved));
    uint64_t stored = 0;
    uint32_t synced = 0;
    int rc = SYN_OK;

    if (moved == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory compacting the content store");
    for (size_t i = 0; rc == 0 && i < count; i++) {
        moved[i] = rows[i];
        rc = syn_blocks_copy(blocks, &moved[i], err);
        stored += moved[i].stored;
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (moved[i].place.pack != synced)
            rc = syn_packs_sync(packs, moved[i].place.pack, err);
        synced = moved[i].place.pack;
    }
    if (rc == 0)
        rc = commit_moves(syn_blocks_index(blocks), pack->id, rows, moved, count, err);
    if (rc == 0)
        rc = syn_packs_cut(packs, pack->id, 0, err);
    if (rc == 0)
        work->freed += pack->size > stored ? pack->size - stored : 0;
    return rc;
}

static SYN_MUST int
compact_packs(struct compaction *work, struct syn_err *err)
{
    struct syn_index *index = syn_blocks_index(work->store->blocks);
    size_t row = 0;
    int rc = syn_index_packs(index, note_worn, work, err);

    if (rc == 0 && work->packs_count > 0)
        rc = syn_index_each(index, SYN_INDEX_BY_PLACE, INT64_MIN, note_row, work, err);
    for (size_t i = 0; rc == 0 && i < work->packs_count; i++) {
        size_t first = row;

        while (row < work->rows_count && work->rows[row].place.pack == work->packs[i].id)
            row++;
        rc = compact_pack(work, &work->packs[i], work->rows + first, row - first, err);
        /* A block that cannot be read cannot be moved: its pack stays, for whoever repairs it. */
        if (rc == SYN_E_CORRUPT || rc == SYN_E_UNAVAILABLE)
            rc = SYN_OK;
    }
    return rc;
}

/* The batch held meanwhile keeps the copies from being cut away as somebody's leftovers. */
static SYN_MUST int
give_back_space(struct syn_content *store, uint64_t *ret_freed, struct syn_err *err)
{
    struct compaction work = {.store = store};
    struct syn_batch *holder = NULL;
    int rc = syn_blocks_seal(store->blocks, &holder, &work.limit, err);

    if (rc == 0)
        rc = compact_packs(&work, err);
    *ret_freed = work.freed;
    syn_batch_free(holder);
    syn_free(work.packs);
    syn_free(work.rows);
    return rc;
}

static int
add_dead(void *arg, uint32_t pack, uint64_t size, uint64_t live, struct syn_err *err)
{
    uint64_t *dead = arg;

    (void)pack;
    (void)err;
    *dead += size > live ? size - live : 0;
    return SYN_OK;
}

/* What is named after the roots were asked for is kept by the guard; it ends with the sweep,
 * because nothing that it keeps is removed by what comes then. */
static SYN_MUST int
mark_and_sweep(struct mark *mark, int64_t grace_ms, syn_content_roots *roots, void *arg,
               struct sweep *sweep, struct syn_err *err)
{
    int64_t begun = syn_wall_ms(syn_world_system());
    struct syn_batch *guard = NULL;
    int rc = syn_batch_new_guard(mark->store->blocks, &guard, err);

    if (rc == 0)
        rc = mark_roots(mark, roots, arg, err);
    if (rc == 0)
        rc = sweep_blocks(mark, begun - grace_ms + 1, sweep, err);
    syn_batch_free(guard);
    return rc;
}

int
syn_content_gc(struct syn_content *store, int64_t grace_ms, syn_content_roots *roots, void *arg,
               struct syn_content_gc *ret_result, struct syn_err *err)
{
    struct mark mark = {.store = store};
    struct sweep sweep = {.mark = &mark};
    uint64_t freed = 0;
    uint64_t waiting = 0;
    int rc;

    (void)pthread_mutex_lock(&store->gc_lock);
    rc = mark_and_sweep(&mark, grace_ms, roots, arg, &sweep, err);
    if (rc == 0 && sweep.count > 0)
        rc = syn_index_prune_anchors(syn_blocks_index(store->blocks), err);
    if (rc == 0)
        rc = give_back_space(store, &freed, err);
    if (rc == 0)
        rc = syn_index_packs(syn_blocks_index(store->blocks), add_dead, &waiting, err);
    (void)pthread_mutex_unlock(&store->gc_lock);
    if (rc == 0)
        *ret_result = (struct syn_content_gc){.blocks_kept = sweep.kept,
                                              .blocks_removed = sweep.count,
                                              .bytes_freed = freed,
                                              .bytes_waiting = waiting};
    syn_free(sweep.dead);
    syn_free(mark.todo);
    syn_digest_set_fini(&mark.live);
    return rc;
}

/* ---- guards ---------------------------------------------------------------------------------- */

struct syn_content_guard {
    struct syn_batch *batch;
};

int
syn_content_guard_new(struct syn_content *store, struct syn_content_guard **ret_guard,
                      struct syn_err *err)
{
    struct syn_content_guard *guard = syn_calloc(1, sizeof(*guard));
    int rc;

    if (guard == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory to keep content");
    rc = syn_batch_new_guard(store->blocks, &guard->batch, err);
    if (rc < 0) {
        syn_free(guard);
        return rc;
    }
    *ret_guard = guard;
    return SYN_OK;
}

int
syn_content_guard_add(struct syn_content_guard *guard, const struct syn_cid *cid,
                      struct syn_err *err)
{
    return syn_batch_hold(guard->batch, cid, err);
}

struct syn_content_guard *
syn_content_guard_free(struct syn_content_guard *guard)
{
    if (guard != NULL) {
        syn_batch_free(guard->batch);
        syn_free(guard);
    }
    return NULL;
}

void
syn_content_guard_free_scope(struct syn_content_guard **slot)
{
    (void)syn_content_guard_free(*slot);
}
