#include "store_suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include <synor/base/test.h>
#include <synor/base/world.h>

#include "store_model.h"

/* One test's store. cmocka gives the factory as the group's state. */
struct world {
    const struct syn_store_factory *factory;
    struct syn_store *store;
    struct syn_err err;
};

static void
reopen(struct world *world)
{
    world->store = syn_store_close(world->store);
    assert_done(world->factory->open(world->factory->self, &world->store, &world->err),
                &world->err);
}

static int
setup(void **state)
{
    struct world *world = *state;

    world->err = (struct syn_err){0};
    world->factory->wipe(world->factory->self);
    return world->factory->open(world->factory->self, &world->store, &world->err);
}

static int
teardown(void **state)
{
    struct world *world = *state;

    world->store = syn_store_close(world->store);
    return 0;
}

static struct syn_store_value
text(const char *value)
{
    return (struct syn_store_value){.data = value, .len = strlen(value)};
}

static int64_t
put(struct world *world, const char *key, const char *value)
{
    int64_t revision = 0;

    assert_done(syn_store_put(world->store, key, text(value), &revision, &world->err), &world->err);
    return revision;
}

static int64_t
revision_now(struct world *world)
{
    int64_t revision;

    assert_done(syn_store_revision(world->store, &revision, &world->err), &world->err);
    return revision;
}

/* The document at `key` is `value`, or is absent when NULL. */
static void
expect(struct world *world, const char *key, const char *value)
{
    SYN_SCOPED(syn_store_doc_scope) const struct syn_store_doc *doc = NULL;
    int rc = syn_store_get(world->store, key, &doc, &world->err);

    if (!value) {
        assert_int_equal(rc, SYN_STORE_ABSENT);
        return;
    }
    assert_done(rc, &world->err);
    assert_string_equal(doc->key, key);
    assert_int_equal(doc->len, strlen(value));
    assert_memory_equal(doc->value, value, doc->len + 1);
}

/* Single keys */

static void
keeps_versions_of_a_key(void **state)
{
    struct world *w = *state;
    const struct syn_store_doc *doc = NULL;
    int64_t made = 0;
    int64_t changed = 0;

    expect(w, "training/a", NULL);
    assert_done(syn_store_create(w->store, "training/a", text("one"), &made, &w->err), &w->err);
    assert_int_equal(made, revision_now(w));
    assert_code(syn_store_create(w->store, "training/a", text("two"), NULL, &w->err),
                SYN_STORE_CONFLICT, &w->err);
    expect(w, "training/a", "one");
    assert_code(syn_store_put_if(w->store, "training/a", made + 1, text("x"), NULL, &w->err),
                SYN_STORE_CONFLICT, &w->err);
    assert_done(syn_store_put_if(w->store, "training/a", made, text("two"), &changed, &w->err),
                &w->err);
    assert_int_equal(changed, made + 1);
    assert_done(syn_store_get(w->store, "training/a", &doc, &w->err), &w->err);
    assert_int_equal(doc->create_revision, made);
    assert_int_equal(doc->mod_revision, changed);
    assert_int_equal(doc->lease, 0);
    put(w, "training/a", "three");
    assert_memory_equal(doc->value, "two", 4); /* a document in hand does not change */
    doc = syn_store_doc_unref(doc);
    expect(w, "training/a", "three");
    assert_code(syn_store_delete_if(w->store, "training/a", changed, NULL, &w->err),
                SYN_STORE_CONFLICT, &w->err);
    assert_done(syn_store_delete_if(w->store, "training/a", changed + 1, NULL, &w->err), &w->err);
    expect(w, "training/a", NULL);
    assert_done(syn_store_create(w->store, "training/a", text(""), &made, &w->err), &w->err);
    assert_done(syn_store_get(w->store, "training/a", &doc, &w->err), &w->err);
    assert_int_equal(doc->create_revision, made);
    assert_int_equal(doc->len, 0);
    syn_store_doc_unref(doc);
}

static void
survives_reopening(void **state)
{
    struct world *w = *state;
    int64_t revision;

    put(w, "a", "1");
    put(w, "b", "2");
    assert_done(syn_store_delete(w->store, "a", &revision, &w->err), &w->err);
    for (int i = 0; i < 2; i++) {
        reopen(w);
        assert_int_equal(revision_now(w), revision);
        expect(w, "a", NULL);
        expect(w, "b", "2");
    }
    assert_int_equal(put(w, "a", "3"), revision + 1);
}

static void
holds_any_bytes(void **state)
{
    struct world *w = *state;
    unsigned char bytes[256];
    const struct syn_store_doc *doc;

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)(255 - i);
    assert_done(syn_store_put(w->store, "bytes",
                              (struct syn_store_value){.data = bytes, .len = sizeof(bytes)}, NULL,
                              &w->err),
                &w->err);
    reopen(w);
    assert_done(syn_store_get(w->store, "bytes", &doc, &w->err), &w->err);
    assert_int_equal(doc->len, sizeof(bytes));
    assert_memory_equal(doc->value, bytes, sizeof(bytes));
    syn_store_doc_unref(doc);
}

static void
refuses_bad_keys(void **state)
{
    static const char *const bad[] = {"", "a\nb", "\x01", "\x7f", "\xff", "\xc3", "\xed\xa0\x80"};
    struct world *w = *state;
    char key[SYN_STORE_KEY_MAX + 2];
    const struct syn_store_doc *doc;

    for (size_t i = 0; i < SYN_LEN(bad); i++) {
        assert_code(syn_store_put(w->store, bad[i], text("x"), NULL, &w->err), SYN_E_INVALID,
                    &w->err);
        assert_code(syn_store_get(w->store, bad[i], &doc, &w->err), SYN_E_INVALID, &w->err);
    }
    memset(key, 'k', sizeof(key));
    key[SYN_STORE_KEY_MAX + 1] = '\0';
    assert_code(syn_store_put(w->store, key, text("x"), NULL, &w->err), SYN_E_INVALID, &w->err);
    key[SYN_STORE_KEY_MAX] = '\0';
    put(w, key, "long");
    expect(w, key, "long");
}

static void
refuses_what_is_too_large(void **state)
{
    struct world *w = *state;
    struct syn_store_result result;
    struct syn_store_op ops[SYN_STORE_OPS_MAX + 1];
    char keys[SYN_STORE_OPS_MAX + 1][16];
    char *value = calloc(1, SYN_STORE_VALUE_MAX + 1);
    struct syn_store_value most = {.data = value, .len = SYN_STORE_VALUE_MAX};
    struct syn_store_value over = {.data = value, .len = SYN_STORE_VALUE_MAX + 1};

    assert_non_null(value);
    assert_done(syn_store_put(w->store, "big", most, NULL, &w->err), &w->err);
    assert_code(syn_store_put(w->store, "big", over, NULL, &w->err), SYN_E_TOOBIG, &w->err);
    for (size_t i = 0; i < SYN_LEN(ops); i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "k%zu", i);
        ops[i] = (struct syn_store_op){.kind = SYN_STORE_PUT, .key = keys[i], .value = value};
        ops[i].len = i < 3 ? SYN_STORE_VALUE_MAX : 1;
    }
    assert_code(syn_store_txn(w->store, ops, 3, &result, &w->err), SYN_E_TOOBIG, &w->err);
    assert_code(syn_store_txn(w->store, ops, 0, &result, &w->err), SYN_E_INVALID, &w->err);
    ops[0].len = ops[1].len = ops[2].len = 1;
    assert_code(syn_store_txn(w->store, ops, SYN_LEN(ops), &result, &w->err), SYN_E_LIMIT, &w->err);
    assert_done(syn_store_txn(w->store, ops, SYN_STORE_OPS_MAX, &result, &w->err), &w->err);
    ops[1].key = keys[0];
    assert_code(syn_store_txn(w->store, ops, 2, &result, &w->err), SYN_E_INVALID, &w->err);
    free(value);
}

/* What a watch sees */

struct seen {
    struct syn_store_recorder *recorder;
    struct syn_store_watch *watch;
};

static struct seen
watch(struct world *w, const char *prefix, int64_t after)
{
    struct seen seen = {.recorder = syn_store_recorder_new()};

    assert_done(syn_store_watch(w->store, prefix, after, syn_store_recorder_event, seen.recorder,
                                &seen.watch, &w->err),
                &w->err);
    return seen;
}

static void
unwatch(struct world *w, struct seen *seen)
{
    seen->watch = syn_store_unwatch(w->store, seen->watch);
    seen->recorder = syn_store_recorder_free(seen->recorder);
}

static void
expect_event(struct seen *seen, size_t i, struct syn_store_record want, const char *value)
{
    assert_true(syn_store_recorder_wait(seen->recorder, i + 1) > i);
    struct syn_store_record got = syn_store_recorder_at(seen->recorder, i);
    assert_int_equal(got.kind, want.kind);
    assert_int_equal(got.revision, want.revision);
    assert_int_equal(got.prev_revision, want.prev_revision);
    assert_int_equal(got.more, want.more);
    assert_string_equal(got.doc->value, value);
    assert_int_equal(got.doc->mod_revision, want.revision);
    assert_int_equal(got.prev != NULL, want.prev_revision != 0);
    if (got.prev) {
        assert_int_equal(got.prev->mod_revision, want.prev_revision);
        assert_string_equal(got.prev->key, got.doc->key);
    }
}

/* Transactions */

/* What one revision has no room for goes in the next ones, and all of it is one change. */
static void
changes_more_than_a_revision_holds(void **state)
{
    enum { ROWS = 2 * SYN_STORE_ROWS_MAX + 5 };
    struct world *w = *state;
    struct syn_store_result result;
    struct syn_store_op ops[ROWS + 1];
    char keys[ROWS][16];
    int64_t start = put(w, "guard", "1"), count = -1;
    struct seen seen = watch(w, "k", start);

    for (size_t i = 0; i < ROWS; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "k%zu", i);
        ops[i] = (struct syn_store_op){
            .kind = SYN_STORE_PUT, .key = keys[i], .value = keys[i], .len = strlen(keys[i])};
    }
    ops[ROWS] =
        (struct syn_store_op){.kind = SYN_STORE_CHECK, .key = "guard", .mod_revision = start + 1};
    assert_code(syn_store_txn(w->store, ops, ROWS + 1, &result, &w->err), SYN_STORE_CONFLICT,
                &w->err);
    assert_done(syn_store_count(w->store, "k", &count, &w->err), &w->err);
    assert_int_equal(count, 0);
    ops[ROWS].mod_revision = start;
    assert_done(syn_store_txn(w->store, ops, ROWS + 1, &result, &w->err), &w->err);
    assert_int_equal(result.revision, start + 3);
    for (size_t i = 0; i < ROWS; i++) {
        int64_t revision = start + 1 + (int64_t)(i / SYN_STORE_ROWS_MAX);
        bool last = i + 1 == ROWS || (i + 1) % SYN_STORE_ROWS_MAX == 0;

        expect_event(&seen, i, (struct syn_store_record){.revision = revision, .more = !last},
                     keys[i]);
    }
    assert_int_equal(put(w, "guard", "2"), start + 4);
    assert_done(syn_store_verify(w->store, &w->err), &w->err);
    unwatch(w, &seen);
}

static void
changes_all_or_nothing(void **state)
{
    struct world *w = *state;
    struct syn_store_result result;
    int64_t a = put(w, "a", "1");
    struct syn_store_op ops[] = {
        {.kind = SYN_STORE_CHECK, .key = "a", .mod_revision = a},
        {.kind = SYN_STORE_PUT, .key = "a", .value = "2", .len = 1},
        {.kind = SYN_STORE_DELETE, .key = "nothing"},
        {.kind = SYN_STORE_PUT, .key = "b", .value = "2", .len = 1},
        {.kind = SYN_STORE_CHECK, .key = "c", .mod_revision = 0},
    };

    put(w, "c", "in the way");
    assert_code(syn_store_txn(w->store, ops, SYN_LEN(ops), &result, &w->err), SYN_STORE_CONFLICT,
                &w->err);
    assert_int_equal(result.failed, 4);
    assert_int_equal(result.actual, a + 1);
    expect(w, "a", "1");
    expect(w, "b", NULL);
    assert_done(syn_store_delete(w->store, "c", NULL, &w->err), &w->err);
    assert_done(syn_store_txn(w->store, ops, SYN_LEN(ops), &result, &w->err), &w->err);
    assert_int_equal(result.revision, a + 3);
    expect(w, "a", "2");
    expect(w, "b", "2");
}

static void
grows_the_revision_only_for_changes(void **state)
{
    struct world *w = *state;
    int64_t at = put(w, "a", "1");
    struct syn_store_result result;
    struct syn_store_op check = {.kind = SYN_STORE_CHECK, .key = "a", .mod_revision = at};
    int64_t revision;

    assert_done(syn_store_txn(w->store, &check, 1, &result, &w->err), &w->err);
    assert_int_equal(result.revision, at);
    assert_done(syn_store_delete(w->store, "none", &revision, &w->err), &w->err);
    assert_int_equal(revision, at);
    assert_int_equal(put(w, "a", "1"), at + 1); /* the same bytes are still a change */
}

/* Lists */

static void
expect_page(struct world *w, struct syn_store_range range, const char *keys, bool more)
{
    struct syn_store_page page;
    char seen[256] = "";
    size_t len = 0;

    assert_done(syn_store_list(w->store, &range, &page, &w->err), &w->err);
    for (size_t i = 0; i < page.count; i++)
        len += (size_t)snprintf(seen + len, sizeof(seen) - len, "%s ", page.docs[i]->key);
    assert_string_equal(seen, keys);
    assert_int_equal(page.more, more);
    assert_int_equal(page.revision, revision_now(w));
    syn_store_page_fini(&page);
}

static void
lists_in_key_order(void **state)
{
    static const char *const keys[] = {"b/2", "a", "b", "b/1", "b/10", "b0", "c", "b/\xc3\xa9"};
    struct world *w = *state;
    int64_t count;

    for (size_t i = 0; i < SYN_LEN(keys); i++)
        put(w, keys[i], "x");
    put(w, "b/gone", "x");
    assert_done(syn_store_delete(w->store, "b/gone", NULL, &w->err), &w->err);
#define RANGE(...) ((struct syn_store_range){__VA_ARGS__})
    expect_page(w, RANGE(.prefix = ""), "a b b/1 b/10 b/2 b/\xc3\xa9 b0 c ", false);
    expect_page(w, RANGE(.prefix = "b/"), "b/1 b/10 b/2 b/\xc3\xa9 ", false);
    expect_page(w, RANGE(.prefix = "b/", .limit = 2), "b/1 b/10 ", true);
    expect_page(w, RANGE(.prefix = "b/", .limit = 4), "b/1 b/10 b/2 b/\xc3\xa9 ", false);
    expect_page(w, RANGE(.prefix = "b/", .after = "b/10"), "b/2 b/\xc3\xa9 ", false);
    expect_page(w, RANGE(.prefix = "b/", .after = "a"), "b/1 b/10 b/2 b/\xc3\xa9 ", false);
    expect_page(w, RANGE(.prefix = "b/", .after = "c"), "", false);
    expect_page(w, RANGE(.prefix = "b", .reverse = true), "b0 b/\xc3\xa9 b/2 b/10 b/1 b ", false);
    expect_page(w, RANGE(.prefix = "b/", .after = "b/2", .limit = 1, .reverse = true), "b/10 ",
                true);
    expect_page(w, RANGE(.prefix = "b/", .after = "c", .limit = 1, .reverse = true), "b/\xc3\xa9 ",
                true);
    expect_page(w, RANGE(.prefix = "b/", .after = "a", .reverse = true), "", false);
    expect_page(w, RANGE(.prefix = "nothing"), "", false);
#undef RANGE
    assert_done(syn_store_count(w->store, "b", &count, &w->err), &w->err);
    assert_int_equal(count, 6);
    assert_done(syn_store_count(w->store, "x", &count, &w->err), &w->err);
    assert_int_equal(count, 0);
}

static void
bounds_a_page(void **state)
{
    struct world *w = *state;
    struct syn_store_page page;
    struct syn_store_range range = {.prefix = "big/", .limit = SYN_STORE_LIST_MAX + 1};
    char *value = calloc(1, SYN_STORE_VALUE_MAX);
    char key[16];
    size_t total = 0;

    assert_non_null(value);
    assert_code(syn_store_list(w->store, &range, &page, &w->err), SYN_E_LIMIT, &w->err);
    for (int i = 0; i < 6; i++) {
        (void)snprintf(key, sizeof(key), "big/%d", i);
        assert_done(
            syn_store_put(w->store, key,
                          (struct syn_store_value){.data = value, .len = SYN_STORE_VALUE_MAX}, NULL,
                          &w->err),
            &w->err);
    }
    free(value);
    range.limit = 0;
    do {
        assert_done(syn_store_list(w->store, &range, &page, &w->err), &w->err);
        assert_in_range(page.count, 1, 5);
        total += page.count;
        (void)snprintf(key, sizeof(key), "%s", page.docs[page.count - 1]->key);
        range.after = key;
        syn_store_page_fini(&page);
    } while (page.more || total < 6);
    assert_int_equal(total, 6);
}

/* Watches */

/* The same five changes must be told by a watch that was there and by one that came later. */
static void
tells_changes_in_order(void **state)
{
    struct world *w = *state;
    int64_t start = put(w, "other", "x");
    struct seen live = watch(w, "w/", start);
    struct syn_store_result result;
    struct syn_store_op ops[] = {
        {.kind = SYN_STORE_PUT, .key = "w/a", .value = "2", .len = 1},
        {.kind = SYN_STORE_PUT, .key = "other", .value = "y", .len = 1},
        {.kind = SYN_STORE_DELETE, .key = "w/b"},
    };

    put(w, "w/a", "1");
    put(w, "w/b", "1");
    assert_done(syn_store_txn(w->store, ops, SYN_LEN(ops), &result, &w->err), &w->err);
    put(w, "w", "beside the prefix");
    put(w, "w/b", "3");
    for (int round = 0; round < 3; round++) {
        struct seen late = watch(w, "w/", start);
        struct seen *seen = round == 0 ? &live : &late;
        expect_event(seen, 0, (struct syn_store_record){.revision = start + 1}, "1");
        expect_event(seen, 1, (struct syn_store_record){.revision = start + 2}, "1");
        expect_event(seen, 2,
                     (struct syn_store_record){
                         .revision = start + 3, .prev_revision = start + 1, .more = true},
                     "2");
        expect_event(seen, 3,
                     (struct syn_store_record){.kind = SYN_STORE_EVENT_DELETE,
                                               .revision = start + 3,
                                               .prev_revision = start + 2},
                     "");
        expect_event(seen, 4, (struct syn_store_record){.revision = start + 5}, "3");
        assert_int_equal(syn_store_recorder_wait(seen->recorder, 5), 5);
        unwatch(w, &late);
        if (round == 0) {
            unwatch(w, &live);
            reopen(w);
        }
    }
}

static void
resumes_from_any_revision(void **state)
{
    enum { CHANGES = 600 };
    struct world *w = *state;
    int64_t start = revision_now(w);
    char key[16];

    for (int i = 0; i < CHANGES; i++) {
        (void)snprintf(key, sizeof(key), "k%d", i % 7);
        put(w, key, "x");
    }
    for (int from = 0; from < CHANGES; from += 37) {
        struct seen seen = watch(w, "", start + from);
        size_t want = (size_t)(CHANGES - from);
        assert_int_equal(syn_store_recorder_wait(seen.recorder, want), want);
        for (size_t i = 0; i < want; i++)
            assert_int_equal(syn_store_recorder_at(seen.recorder, i).revision,
                             start + from + 1 + (int64_t)i);
        unwatch(w, &seen);
    }
    struct seen ahead = watch(w, "", start + CHANGES + 1);
    put(w, "skipped", "x");
    int64_t told = put(w, "told", "x");
    assert_int_equal(syn_store_recorder_wait(ahead.recorder, 1), 1);
    assert_int_equal(syn_store_recorder_at(ahead.recorder, 0).revision, told);
    unwatch(w, &ahead);
}

struct stopper {
    struct world *world;
    _Atomic(struct syn_store_watch *) watch;
    atomic_int calls;
};

static void
unwatch_inside(void *arg, const struct syn_store_event *event)
{
    struct stopper *stopper = arg;
    struct syn_store_watch *self;

    (void)event;
    atomic_fetch_add(&stopper->calls, 1);
    while (!(self = atomic_load(&stopper->watch)))
        usleep(100);
    syn_store_unwatch(stopper->world->store, self);
}

static void
ends_a_watch_inside_its_call(void **state)
{
    struct world *w = *state;
    struct stopper stopper = {.world = w};
    struct syn_store_watch *self;
    int64_t start = revision_now(w);

    put(w, "a", "1");
    put(w, "a", "2");
    assert_done(syn_store_watch(w->store, "", start, unwatch_inside, &stopper, &self, &w->err),
                &w->err);
    atomic_store(&stopper.watch, self);
    struct seen other = watch(w, "", start + 1);
    put(w, "a", "3");
    assert_int_equal(syn_store_recorder_wait(other.recorder, 2), 2);
    assert_int_equal(atomic_load(&stopper.calls), 1);
    unwatch(w, &other);
}

static void
forgets_history_but_no_document(void **state)
{
    struct world *w = *state;
    struct syn_store_watch *none;
    struct syn_store_recorder *recorder = syn_store_recorder_new();
    int64_t first = put(w, "a", "1");
    int64_t last = 0;

    put(w, "gone", "1");
    assert_done(syn_store_delete(w->store, "gone", NULL, &w->err), &w->err);
    put(w, "old", "1");
    for (int i = 0; i < 20; i++)
        last = put(w, "a", "2");
    assert_code(syn_store_compact(w->store, last + 1, &w->err), SYN_E_INVALID, &w->err);
    assert_done(syn_store_compact(w->store, last - 2, &w->err), &w->err);
    for (int round = 0; round < 2; round++) {
        expect(w, "a", "2");
        expect(w, "old", "1");
        expect(w, "gone", NULL);
        assert_code(syn_store_watch(w->store, "", first, syn_store_recorder_event, recorder, &none,
                                    &w->err),
                    SYN_STORE_COMPACTED, &w->err);
        assert_code(syn_store_watch(w->store, "", last - 3, syn_store_recorder_event, recorder,
                                    &none, &w->err),
                    SYN_STORE_COMPACTED, &w->err);
        struct seen seen = watch(w, "", last - 2);
        assert_int_equal(syn_store_recorder_wait(seen.recorder, 2), 2);
        unwatch(w, &seen);
        reopen(w);
        assert_int_equal(revision_now(w), last);
    }
    assert_done(syn_store_delete(w->store, "a", &last, &w->err), &w->err);
    assert_done(syn_store_compact(w->store, last, &w->err), &w->err);
    reopen(w);
    assert_int_equal(revision_now(w), last);
    assert_int_equal(put(w, "b", "1"), last + 1);
    assert_done(syn_store_compact(w->store, last + 1, &w->err), &w->err);
    assert_done(syn_store_verify(w->store, &w->err), &w->err);
    syn_store_recorder_free(recorder);
}

/* Leases */

static int64_t
put_leased(struct world *w, const char *key, int64_t lease)
{
    int64_t revision = 0;
    struct syn_store_value value = {.data = "leased", .len = 6, .lease = lease};

    assert_done(syn_store_put(w->store, key, value, &revision, &w->err), &w->err);
    return revision;
}

static void
deletes_keys_with_their_lease(void **state)
{
    struct world *w = *state;
    int64_t lease = 0;
    int64_t other = 0;
    struct syn_store_value value = {.data = "x", .len = 1, .lease = 0};

    assert_code(syn_store_lease_grant(w->store, 0, &lease, &w->err), SYN_E_INVALID, &w->err);
    assert_done(syn_store_lease_grant(w->store, 60000, &lease, &w->err), &w->err);
    assert_done(syn_store_lease_grant(w->store, 60000, &other, &w->err), &w->err);
    assert_true(lease > 0 && other > 0 && lease != other);
    put_leased(w, "l/a", lease);
    put_leased(w, "l/b", lease);
    put_leased(w, "l/c", lease);
    put(w, "l/c", "no longer leased");
    int64_t last = put_leased(w, "l/d", other);
    struct seen seen = watch(w, "l/", last);
    assert_done(syn_store_lease_revoke(w->store, lease, &w->err), &w->err);
    assert_int_equal(syn_store_recorder_wait(seen.recorder, 2), 2);
    for (size_t i = 0; i < 2; i++) {
        struct syn_store_record record = syn_store_recorder_at(seen.recorder, i);
        assert_int_equal(record.kind, SYN_STORE_EVENT_DELETE);
        assert_int_equal(record.revision, last + 1);
        assert_string_equal(record.prev->value, "leased");
    }
    expect(w, "l/a", NULL);
    expect(w, "l/b", NULL);
    expect(w, "l/c", "no longer leased");
    expect(w, "l/d", "leased");
    assert_code(syn_store_lease_revoke(w->store, lease, &w->err), SYN_STORE_LEASE_OVER, &w->err);
    assert_code(syn_store_lease_keepalive(w->store, lease, &w->err), SYN_STORE_LEASE_OVER, &w->err);
    value.lease = lease;
    assert_code(syn_store_put(w->store, "l/e", value, NULL, &w->err), SYN_STORE_LEASE_OVER,
                &w->err);
    expect(w, "l/e", NULL);
    unwatch(w, &seen);
}

static int64_t
now_ms(void)
{
    return syn_mono_ms(syn_world_system());
}

static bool
is_there(struct world *w, const char *key)
{
    SYN_SCOPED(syn_store_doc_scope) const struct syn_store_doc *doc = NULL;

    return syn_store_get(w->store, key, &doc, &w->err) == SYN_OK;
}

/* A lease is kept for three times as long as it lasts. False: we came too late for that once. */
static bool
keep_lease(struct world *w, int64_t ttl)
{
    int64_t lease = 0, begun = now_ms(), last = begun;

    assert_done(syn_store_lease_grant(w->store, ttl, &lease, &w->err), &w->err);
    (void)put_leased(w, "kept", lease);
    while (last < begun + 3 * ttl) {
        int64_t before;
        int rc;

        usleep((useconds_t)ttl * 1000 / 4);
        before = now_ms();
        rc = syn_store_lease_keepalive(w->store, lease, &w->err);
        if (rc == SYN_STORE_LEASE_OVER || !is_there(w, "kept")) {
            assert_true(now_ms() >= last + ttl);
            return false;
        }
        assert_done(rc, &w->err);
        last = before;
    }
    return true;
}

static void
ends_leases_in_time(void **state)
{
    struct world *w = *state;
    int64_t ttl = w->factory->ttl_min_ms;
    int64_t begun = now_ms();
    int64_t brief = 0;
    struct seen seen;

    assert_done(syn_store_lease_grant(w->store, ttl, &brief, &w->err), &w->err);
    seen = watch(w, "", put_leased(w, "brief", brief));
    assert_int_equal(syn_store_recorder_wait(seen.recorder, 1), 1);
    assert_true(now_ms() >= begun + ttl);
    assert_string_equal(syn_store_recorder_at(seen.recorder, 0).doc->key, "brief");
    assert_false(is_there(w, "brief"));
    unwatch(w, &seen);
    for (int i = 0; !keep_lease(w, ttl * 2); i++)
        assert_true(i < 20); /* a machine as busy as that keeps nothing */
    for (int i = 0; i < 3000 && is_there(w, "kept"); i++)
        usleep(10000);
    assert_false(is_there(w, "kept"));
}

static void
keeps_leases_over_reopening(void **state)
{
    struct world *w = *state;
    int64_t ttl = w->factory->ttl_min_ms * 2;
    int64_t brief = 0;
    int64_t lasting = 0;

    assert_done(syn_store_lease_grant(w->store, ttl, &brief, &w->err), &w->err);
    assert_done(syn_store_lease_grant(w->store, 600000, &lasting, &w->err), &w->err);
    put_leased(w, "brief", brief);
    int64_t last = put_leased(w, "lasting", lasting);
    reopen(w);
    struct seen seen = watch(w, "", last);
    assert_int_equal(syn_store_recorder_wait(seen.recorder, 1), 1);
    assert_string_equal(syn_store_recorder_at(seen.recorder, 0).doc->key, "brief");
    expect(w, "lasting", "leased");
    assert_done(syn_store_lease_keepalive(w->store, lasting, &w->err), &w->err);
    unwatch(w, &seen);
}

/* Concurrency */

struct async {
    struct world *world;
    atomic_int answers;
    atomic_int conflicts;
    atomic_int chained;
};

static void
async_done(void *arg, int rc, const struct syn_store_result *result, const struct syn_err *err)
{
    struct async *async = arg;
    struct syn_store_op op = {.kind = SYN_STORE_PUT, .key = "chained", .value = "x", .len = 1};

    (void)err;
    if (rc == SYN_STORE_CONFLICT)
        atomic_fetch_add(&async->conflicts, 1);
    if (rc == SYN_OK && result->revision > 0 && atomic_fetch_add(&async->chained, 1) == 0)
        rc = syn_store_txn_async(async->world->store, &op, 1, async_done, async, NULL);
    atomic_fetch_add(&async->answers, rc < 0 ? 1000 : 1);
}

static void
answers_every_submission_once(void **state)
{
    enum { WRITES = 500 };
    struct world *w = *state;
    struct async async = {.world = w};
    char key[16];

    for (int i = 0; i < WRITES; i++) {
        struct syn_store_op ops[] = {{.kind = SYN_STORE_CHECK, .key = key},
                                     {.kind = SYN_STORE_PUT, .key = key, .value = "x", .len = 1}};
        (void)snprintf(key, sizeof(key), "a/%d", i / 2); /* each key twice: one must conflict */
        assert_done(syn_store_txn_async(w->store, ops, 2, async_done, &async, &w->err), &w->err);
    }
    reopen(w); /* closing waits for the answers */
    assert_int_equal(atomic_load(&async.answers), WRITES + 1);
    assert_int_equal(atomic_load(&async.conflicts), WRITES / 2);
    expect(w, "chained", "x");
    expect(w, "a/249", "x");
}

enum { THREADS = 8, INCREMENTS = 60 };

struct adder {
    struct world *world;
    int wrong;
};

/* Add one to a shared counter by compare and swap; own writes must be read back at once. */
static int
increment(struct syn_store *store, struct syn_err *err)
{
    for (;;) {
        const struct syn_store_doc *doc;
        char number[16];
        int rc = syn_store_get(store, "counter", &doc, err);
        if (rc != SYN_OK)
            return rc;
        int64_t seen = doc->mod_revision;
        int64_t mine = 0;
        int len = snprintf(number, sizeof(number), "%d", (int)strtoll(doc->value, NULL, 10) + 1);
        syn_store_doc_unref(doc);
        rc = syn_store_put_if(store, "counter", seen,
                              (struct syn_store_value){.data = number, .len = (size_t)len}, &mine,
                              err);
        if (rc == SYN_STORE_CONFLICT)
            continue;
        if (rc != SYN_OK)
            return rc;
        rc = syn_store_get(store, "counter", &doc, err);
        if (rc != SYN_OK)
            return rc;
        rc = doc->mod_revision >= mine ? SYN_OK : 99;
        syn_store_doc_unref(doc);
        return rc;
    }
}

static void *
adder_main(void *arg)
{
    struct adder *adder = arg;
    struct syn_err err;

    for (int i = 0; i < INCREMENTS; i++)
        adder->wrong += increment(adder->world->store, &err) != SYN_OK;
    return NULL;
}

/* What one thread saw, in any way, it never sees older again. */
static void *
observer_main(void *arg)
{
    struct adder *observer = arg;
    struct syn_store *store = observer->world->store;
    struct syn_store_range range = {.prefix = "counter"};
    struct syn_err err;
    int64_t seen = 0;

    for (int i = 0; i < INCREMENTS * 20; i++) {
        const struct syn_store_doc *doc = NULL;
        struct syn_store_page page = {0};
        int64_t now = 0;
        bool list = i % 3 == 0;
        int rc = list ? syn_store_list(store, &range, &page, &err)
                      : syn_store_get(store, "counter", &doc, &err);
        if (rc == SYN_OK)
            rc = syn_store_revision(store, &now, &err);
        int64_t got = rc != SYN_OK ? -1 : list ? page.docs[0]->mod_revision : doc->mod_revision;
        observer->wrong += got < seen || now < got;
        seen = got;
        syn_store_doc_unref(doc);
        syn_store_page_fini(&page);
    }
    return NULL;
}

static void
keeps_threads_apart(void **state)
{
    struct world *w = *state;
    pthread_t threads[THREADS + 2];
    struct adder adders[THREADS + 2];
    int64_t start = put(w, "counter", "0");
    struct seen seen = watch(w, "counter", start);
    char number[16];

    for (size_t i = 0; i < SYN_LEN(threads); i++) {
        adders[i] = (struct adder){.world = w};
        assert_int_equal(
            pthread_create(&threads[i], NULL, i < THREADS ? adder_main : observer_main, &adders[i]),
            0);
    }
    for (size_t i = 0; i < SYN_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < SYN_LEN(threads); i++)
        assert_int_equal(adders[i].wrong, 0);
    (void)snprintf(number, sizeof(number), "%d", THREADS * INCREMENTS);
    expect(w, "counter", number);
    size_t total = (size_t)THREADS * INCREMENTS;
    assert_int_equal(syn_store_recorder_wait(seen.recorder, total), total);
    for (size_t i = 0; i < total; i++)
        assert_int_equal(syn_store_recorder_at(seen.recorder, i).revision, start + 1 + (int64_t)i);
    unwatch(w, &seen);
}

/* Watches that begin in the middle of a storm miss nothing and see nothing twice. */
static void
joins_a_storm_of_writes(void **state)
{
    enum { JOINERS = 12 };
    struct world *w = *state;
    pthread_t threads[2];
    struct adder adders[2] = {{.world = w}, {.world = w}};
    struct seen joiners[JOINERS];
    int64_t from[JOINERS];
    int64_t start = put(w, "counter", "0");

    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, adder_main, &adders[i]), 0);
    for (int i = 0; i < JOINERS; i++) {
        usleep(2000);
        from[i] = i % 2 ? revision_now(w) : start;
        joiners[i] = watch(w, "", from[i]);
    }
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    int64_t end = revision_now(w);
    for (int i = 0; i < JOINERS; i++) {
        size_t want = (size_t)(end - from[i]);
        assert_int_equal(syn_store_recorder_wait(joiners[i].recorder, want), want);
        for (size_t k = 0; k < want; k++) {
            struct syn_store_record record = syn_store_recorder_at(joiners[i].recorder, k);
            assert_int_equal(record.revision, from[i] + 1 + (int64_t)k);
            assert_non_null(record.prev);
        }
        unwatch(w, &joiners[i]);
    }
}

/* The model */

static int
model_reopen(void *self, struct syn_store **store, struct syn_err *err)
{
    const struct syn_store_factory *factory = self;

    syn_store_close(*store);
    return factory->open(factory->self, store, err);
}

static void
agrees_with_the_model(void **state)
{
    struct world *w = *state;

    for (unsigned seed = 1; seed <= w->factory->seeds; seed++) {
        syn_store_close(w->store);
        w->factory->wipe(w->factory->self);
        assert_done(w->factory->open(w->factory->self, &w->store, &w->err), &w->err);
        union {
            const struct syn_store_factory *from;
            void *to;
        } factory = {.from = w->factory};
        syn_store_model_run(&w->store, model_reopen, factory.to, seed);
    }
}

int
syn_store_suite(const char *name, const struct syn_store_factory *factory)
{
    struct world world = {.factory = factory};
#define TEST(fn)                         \
    {                                    \
#fn, fn, setup, teardown, &world \
    }
    const struct CMUnitTest tests[] = {
        TEST(keeps_versions_of_a_key),
        TEST(survives_reopening),
        TEST(holds_any_bytes),
        TEST(refuses_bad_keys),
        TEST(refuses_what_is_too_large),
        TEST(changes_more_than_a_revision_holds),
        TEST(changes_all_or_nothing),
        TEST(grows_the_revision_only_for_changes),
        TEST(lists_in_key_order),
        TEST(bounds_a_page),
        TEST(tells_changes_in_order),
        TEST(resumes_from_any_revision),
        TEST(ends_a_watch_inside_its_call),
        TEST(forgets_history_but_no_document),
        TEST(deletes_keys_with_their_lease),
        TEST(ends_leases_in_time),
        TEST(keeps_leases_over_reopening),
        TEST(answers_every_submission_once),
        TEST(keeps_threads_apart),
        TEST(joins_a_storm_of_writes),
        TEST(agrees_with_the_model),
    };
#undef TEST
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}
