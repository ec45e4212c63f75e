#include "store_group_priv.h"

#include <synor/base/mem.h>

#include "store_priv.h"

/* How long to wait before a lease whose end could not be written is tried again. */
#define EXPIRE_RETRY_MS 1000

int64_t
syn_store_group_now_ms(const struct syn_store_group *group)
{
    return group->base_wall_ms + syn_mono_ms(group->parts.world) - group->base_mono_ms;
}

/* Events of the transaction under way. The key is held in the cache from here to the end. */

static int
stage(struct syn_store_group *group, struct syn_store_event event, struct syn_err *err)
{
    if (!syn_grow(&group->events, &group->cap, group->count + 1, sizeof(*group->events)))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the events of a transaction");
    syn_store_doc_ref(event.doc);
    if (event.prev)
        syn_store_doc_ref(event.prev);
    group->events[group->count++] = event;
    syn_store_cache_hold(group->parts.cache, event.doc->key);
    return SYN_OK;
}

static void
release_all(struct syn_store_group *group, bool committed)
{
    for (size_t i = 0; i < group->count; i++) {
        const struct syn_store_event *event = &group->events[i];
        bool fills = committed && event->kind == SYN_STORE_EVENT_PUT;
        syn_store_cache_release(group->parts.cache, event->doc->key, fills ? event->doc : NULL);
    }
}

static void
undo(struct syn_store_group *group)
{
    syn_store_db_rollback(group->parts.db);
    release_all(group, false);
    for (size_t i = 0; i < group->count; i++) {
        syn_store_doc_unref(group->events[i].doc);
        syn_store_doc_unref(group->events[i].prev);
    }
    group->count = 0;
}

/* Steps */

/* A cached document is as good as a reading: a key written in this transaction is held, so it is
 * not in the cache. */
static int
look_up(struct syn_store_group *group, struct syn_store_step *step, struct syn_err *err)
{
    step->was = syn_store_cache_get(group->parts.cache, step->doc->key, NULL);
    if (step->was) {
        step->row = (struct syn_store_row){.id = syn_store_box_of(step->was)->row,
                                           .create_revision = step->was->create_revision,
                                           .lease = step->was->lease};
        return SYN_OK;
    }
    return syn_store_db_find(group->parts.db, step->doc->key, &step->row, err);
}

static void
forget(struct syn_store_request *request)
{
    for (size_t i = 0; i < request->count; i++)
        request->steps[i].was = syn_store_doc_unref(request->steps[i].was);
}

/* Read what each step needs to know; a check and the write it guards share one reading. */
static int
look_up_all(struct syn_store_group *group, struct syn_store_request *request, struct syn_err *err)
{
    for (size_t i = 0; i < request->count; i++) {
        struct syn_store_step *step = &request->steps[i];
        struct syn_store_step *before = i ? step - 1 : NULL;
        if (before && strcmp(before->doc->key, step->doc->key) == 0) {
            step->row = before->row;
            step->was = before->was ? syn_store_doc_ref(before->was) : NULL;
            continue;
        }
        int rc = look_up(group, step, err);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

static int
lease_lives(struct syn_store_group *group, int64_t lease, struct syn_err *err)
{
    int64_t one;
    int rc = syn_store_db_number(group->parts.db, SYN_SQL_LEASE_LIVES, lease,
                                 syn_store_group_now_ms(group), &one, err);

    return rc == SYN_STORE_ABSENT ? SYN_STORE_LEASE_OVER : rc;
}

/* 0; CONFLICT; LEASE_OVER; < 0. */
static int
judge(struct syn_store_group *group, struct syn_store_request *request, struct syn_err *err)
{
    for (size_t i = 0; i < request->count; i++) {
        const struct syn_store_step *step = &request->steps[i];
        int64_t actual = syn_store_row_revision(step->row.id);
        if (step->kind == SYN_STORE_CHECK && step->mod_revision != actual) {
            request->result.failed = i;
            request->result.actual = actual;
            return SYN_STORE_CONFLICT;
        }
    }
    for (size_t i = 0; i < request->count; i++) {
        const struct syn_store_step *step = &request->steps[i];
        if (step->kind != SYN_STORE_PUT || !step->doc->lease)
            continue;
        int rc = lease_lives(group, step->doc->lease, err);
        if (rc != SYN_OK)
            return rc;
    }
    return SYN_OK;
}

/* The document that `step` replaces, for its event; *ret_prev is a reference or NULL. */
static int
find_prev(struct syn_store_group *group, const struct syn_store_step *step,
          const struct syn_store_doc **ret_prev, struct syn_err *err)
{
    *ret_prev = NULL;
    if (!group->wanted || !step->row.id)
        return SYN_OK;
    if (!step->was)
        return syn_store_db_version(group->parts.db, step->row.id, SYN_STORE_PREV_MAX, ret_prev,
                                    err);
    if (step->was->len <= SYN_STORE_PREV_MAX)
        *ret_prev = syn_store_doc_ref(step->was);
    return SYN_OK;
}

static int
write_step(struct syn_store_group *group, struct syn_store_step *step, int64_t id,
           struct syn_err *err)
{
    SYN_SCOPED(syn_store_doc_scope) const struct syn_store_doc *prev = NULL;
    struct syn_store_doc *doc = step->doc;
    bool put = step->kind == SYN_STORE_PUT;
    int rc = find_prev(group, step, &prev, err);

    if (rc < 0)
        return rc;
    doc->mod_revision = syn_store_row_revision(id);
    doc->create_revision = put && step->row.id ? step->row.create_revision
                           : put               ? doc->mod_revision
                                               : 0;
    syn_store_box_of(doc)->row = id;
    rc = stage(group,
               (struct syn_store_event){.kind = put ? SYN_STORE_EVENT_PUT : SYN_STORE_EVENT_DELETE,
                                        .revision = doc->mod_revision,
                                        .prev_revision = syn_store_row_revision(step->row.id),
                                        .doc = doc,
                                        .prev = prev},
               err);
    if (rc < 0)
        return rc;
    return put ? syn_store_db_put(group->parts.db, doc, id, &step->row, err)
               : syn_store_db_delete(group->parts.db, doc, id, step->row.id, err);
}

/* The next row is written. What one revision has no room for goes in the next one, still in one
 * commit. */
static void
next_place(struct syn_store_group *group, int64_t *place)
{
    if (++*place < SYN_STORE_ROWS_MAX)
        return;
    group->revision++;
    *place = 0;
}

static int
apply_txn(struct syn_store_group *group, struct syn_store_request *request, struct syn_err *err)
{
    int64_t place = 0;
    int rc = look_up_all(group, request, err);

    if (rc == SYN_OK)
        rc = judge(group, request, err);
    for (size_t i = 0; rc == SYN_OK && i < request->count; i++) {
        struct syn_store_step *step = &request->steps[i];
        bool idle =
            step->kind == SYN_STORE_CHECK || (step->kind == SYN_STORE_DELETE && !step->row.id);
        if (idle)
            continue;
        rc = write_step(group, step, syn_store_row_id(group->revision + 1, place), err);
        next_place(group, &place);
    }
    forget(request);
    if (place > 0)
        group->revision++;
    request->result.revision = group->revision;
    return rc;
}

/* Leases */

static int
lease_grant(struct syn_store_group *group, struct syn_store_request *request, struct syn_err *err)
{
    struct syn_store_db *db = group->parts.db;
    int64_t count = 0;
    int rc = syn_store_db_number(db, SYN_SQL_LEASE_COUNT, 0, 0, &count, err);

    if (rc < 0)
        return rc;
    if (count >= SYN_STORE_LEASES_MAX) {
        request->rc = SYN_FAIL(&request->err, SYN_E_LIMIT, "the store has %d leases already",
                               SYN_STORE_LEASES_MAX);
        return SYN_OK;
    }
    rc = syn_store_db_run(db, SYN_SQL_LEASE_GRANT, request->number,
                          syn_store_group_now_ms(group) + request->number, err);
    if (rc == SYN_OK)
        request->result.revision = sqlite3_last_insert_rowid(db->sql);
    return rc;
}

static int
lease_keepalive(struct syn_store_group *group, int64_t lease, struct syn_err *err)
{
    int rc = syn_store_db_run(group->parts.db, SYN_SQL_LEASE_RENEW, lease,
                              syn_store_group_now_ms(group), err);

    if (rc == SYN_OK && sqlite3_changes(group->parts.db->sql) == 0)
        return SYN_STORE_LEASE_OVER;
    return rc;
}

/* Delete one key of `lease` as the next step of revision group->revision + 1. */
static int
lease_delete_key(struct syn_store_group *group, int64_t lease, int64_t place, struct syn_err *err)
{
    struct syn_store_step step = {.kind = SYN_STORE_DELETE};
    int rc = syn_store_db_lease_key(group->parts.db, lease, &step.doc, err);

    if (rc != SYN_OK)
        return rc;
    rc = look_up(group, &step, err);
    if (rc == SYN_OK)
        rc = write_step(group, &step, syn_store_row_id(group->revision + 1, place), err);
    syn_store_doc_unref(step.was);
    syn_store_doc_unref(step.doc);
    return rc;
}

static int
lease_end(struct syn_store_group *group, int64_t lease, struct syn_err *err)
{
    int64_t place = 0;
    int rc;

    while ((rc = lease_delete_key(group, lease, place, err)) == SYN_OK)
        next_place(group, &place);
    if (place > 0)
        group->revision++;
    if (rc < 0)
        return rc;
    rc = syn_store_db_run(group->parts.db, SYN_SQL_LEASE_DROP, lease, 0, err);
    if (rc == SYN_OK && sqlite3_changes(group->parts.db->sql) == 0)
        return SYN_STORE_LEASE_OVER;
    return rc;
}

/* History */

static int
compact(struct syn_store_group *group, struct syn_store_request *request, struct syn_err *err)
{
    if (request->number > group->revision) {
        request->rc =
            SYN_FAIL(&request->err, SYN_E_INVALID, "revision %lld lies ahead: the store is at %lld",
                     (long long)request->number, (long long)group->revision);
        return SYN_OK;
    }
    if (request->number <= group->compacted)
        return SYN_OK;
    int rc = syn_store_db_compact(group->parts.db, group->compacted, request->number, err);
    if (rc == SYN_OK)
        group->compacted = request->number;
    return rc;
}

/* The group */

/* 0 or a condition is the request's own answer; < 0 fails the group. */
static int
apply(struct syn_store_group *group, struct syn_store_request *request, struct syn_err *err)
{
    switch (request->kind) {
    case SYN_REQUEST_TXN:
        return apply_txn(group, request, err);
    case SYN_REQUEST_LEASE_GRANT:
        group->leases_changed = true;
        return lease_grant(group, request, err);
    case SYN_REQUEST_LEASE_KEEPALIVE:
        group->leases_changed = true;
        return lease_keepalive(group, request->number, err);
    case SYN_REQUEST_LEASE_REVOKE:
        group->leases_changed = true;
        return lease_end(group, request->number, err);
    case SYN_REQUEST_COMPACT:
        return compact(group, request, err);
    }
    assert(!"a request has a kind");
    return SYN_E_INTERNAL;
}

/* When the first lease ends. A failed reading only makes the next look come sooner. */
static void
plan_expiry(struct syn_store_group *group)
{
    struct syn_err err;
    int64_t lease;
    int64_t ends_ms = INT64_MAX;
    int rc = syn_store_db_first_lease(group->parts.db, &lease, &ends_ms, &err);

    group->lease_next_ms = rc < 0 ? syn_store_group_now_ms(group) + EXPIRE_RETRY_MS : ends_ms;
    group->leases_changed = false;
}

/* Readers see the commit from now on: let the revision, the cache and the watches follow, in this
 * order, before anybody is answered. The revision first: nobody may find a document in the cache
 * that is newer than it. */
static void
publish(struct syn_store_group *group)
{
    int64_t seen = atomic_load(group->parts.revision);

    while (seen < group->revision &&
           !atomic_compare_exchange_weak(group->parts.revision, &seen, group->revision))
        ;
    release_all(group, true);
    atomic_store(group->parts.compacted, group->compacted);
    syn_store_hub_publish_take(group->parts.hub, group->events, group->count, group->revision,
                               group->wanted);
    group->count = 0;
    if (group->leases_changed)
        plan_expiry(group);
}

/* A commit that reports failure has not happened, as far as SQLite's code goes. Should it have, go
 * on from what the database says, else the next transaction would reuse its revision. */
static void
reread(struct syn_store_group *group)
{
    struct syn_err err;
    int64_t newest = 0;
    int64_t compacted = 0;

    if (syn_store_db_number(group->parts.db, SYN_SQL_REVISION, 0, 0, &newest, &err) != SYN_OK ||
        syn_store_db_number(group->parts.db, SYN_SQL_COMPACTED, 0, 0, &compacted, &err) != SYN_OK)
        return;
    if (syn_store_row_revision(newest) == group->revision && compacted == group->compacted)
        return;
    group->revision = syn_store_row_revision(newest);
    group->compacted = compacted;
    group->wanted = false;
    group->leases_changed = true;
    publish(group);
}

int
syn_store_group_commit(struct syn_store_group *group, struct syn_store_request *const *requests,
                       size_t count, struct syn_err *err)
{
    int64_t revision = group->revision;
    int64_t compacted = group->compacted;
    int rc = syn_store_db_run(group->parts.db, SYN_SQL_BEGIN_WRITE, 0, 0, err);

    group->wanted = syn_store_hub_wanted(group->parts.hub);
    for (size_t i = 0; rc == SYN_OK && i < count; i++) {
        requests[i]->rc = SYN_OK;
        rc = apply(group, requests[i], err);
        if (rc > 0) {
            requests[i]->rc = rc;
            rc = SYN_OK;
        }
    }
    if (rc == SYN_OK)
        rc = syn_store_db_run(group->parts.db, SYN_SQL_COMMIT, 0, 0, err);
    if (rc < 0) {
        undo(group);
        group->revision = revision;
        group->compacted = compacted;
        group->leases_changed = false;
        reread(group);
        return rc;
    }
    publish(group);
    return SYN_OK;
}

void
syn_store_group_expire(struct syn_store_group *group)
{
    struct syn_err err;
    struct syn_store_request request = {.kind = SYN_REQUEST_LEASE_REVOKE};
    struct syn_store_request *one = &request;
    int64_t ends_ms = INT64_MAX;
    int rc = syn_store_db_first_lease(group->parts.db, &request.number, &ends_ms, &err);

    if (rc == SYN_OK && ends_ms <= syn_store_group_now_ms(group))
        rc = syn_store_group_commit(group, &one, 1, &err);
    else if (rc >= 0)
        group->lease_next_ms = ends_ms;
    if (rc < 0)
        group->lease_next_ms = syn_store_group_now_ms(group) + EXPIRE_RETRY_MS;
}

int
syn_store_group_init(struct syn_store_group *group, const struct syn_store_writer_parts *parts,
                     struct syn_err *err)
{
    *group = (struct syn_store_group){.parts = *parts,
                                      .base_wall_ms = syn_wall_ms(parts->world),
                                      .base_mono_ms = syn_mono_ms(parts->world),
                                      .revision = atomic_load(parts->revision),
                                      .compacted = atomic_load(parts->compacted)};
    int64_t leases = 0;
    int rc = syn_store_db_number(parts->db, SYN_SQL_LEASE_COUNT, 0, 0, &leases, err);

    if (rc == SYN_OK && leases > 0)
        rc = syn_store_db_run(parts->db, SYN_SQL_LEASE_CLAMP, group->base_wall_ms,
                              parts->lease_grace_ms, err);
    if (rc < 0)
        return rc;
    plan_expiry(group);
    return SYN_OK;
}

void
syn_store_group_fini(struct syn_store_group *group)
{
    assert(group->count == 0);
    syn_free(group->events);
    group->events = NULL;
}
