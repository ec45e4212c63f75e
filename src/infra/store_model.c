#include "store_model.h"

#include <synor/base/str.h>
#include <synor/base/test.h>

#include "store_suite.h"

#define KEYS       20
#define STEPS      300
#define EVENTS_MAX (STEPS * 6)

struct entry {
    bool there;
    int64_t create_revision;
    int64_t mod_revision;
    char value[24];
};

struct change {
    int key;
    bool dead;
    int64_t revision;
    int64_t prev_revision;
    char value[24];
};

struct model {
    struct syn_store *store;
    struct syn_store_recorder *recorder;
    struct syn_store_watch *watch;
    struct syn_err err;
    unsigned seed;
    uint64_t random;
    unsigned step;
    int64_t start;
    int64_t revision;
    int64_t compacted;
    struct entry entries[KEYS];
    struct change changes[EVENTS_MAX];
    size_t count;
};

/* Keys that are prefixes of one another, so that ranges have edges. */
static const char *
key_name(int key)
{
    static const char *const names[KEYS] = {
        "a",     "a/",    "a/0",   "a/00", "a/1", "a/10", "a/2", "a0",  "b",          "b/x",
        "b/x/1", "b/x/2", "b/x/3", "b/xy", "b/y", "c",    "c/1", "c/2", "c/\xc3\xa4", "d"};
    return names[key];
}

static unsigned
pick(struct model *m, unsigned below)
{
    return (unsigned)(syn_test_random(&m->random) >> 33) % below;
}

#define ensure(m, condition)                                                                      \
    do {                                                                                          \
        if (!(condition))                                                                         \
            fail_msg("seed %u step %u: %s (%s)", (m)->seed, (m)->step, #condition, (m)->err.msg); \
    } while (0)

static void
model_write(struct model *m, int key, const char *value, int64_t revision)
{
    struct entry *entry = &m->entries[key];
    struct change *change = &m->changes[m->count++];

    *change = (struct change){.key = key,
                              .dead = !value,
                              .revision = revision,
                              .prev_revision = entry->there ? entry->mod_revision : 0};
    if (!value) {
        entry->there = false;
        return;
    }
    if (!entry->there)
        entry->create_revision = revision;
    entry->there = true;
    entry->mod_revision = revision;
    assert_true(syn_str_copy(entry->value, sizeof(entry->value), value));
    assert_true(syn_str_copy(change->value, sizeof(change->value), value));
}

/* A transaction of some steps on distinct keys; checks are mostly right. */
static void
play_txn(struct model *m)
{
    struct syn_store_op ops[6];
    char values[6][24];
    int keys[6];
    struct syn_store_result result = {0};
    size_t count = 1 + pick(m, 5);
    bool conflict = false;
    size_t failed = 0;
    bool changes = false;
    int base = (int)pick(m, KEYS);

    for (size_t i = 0; i < count; i++) {
        keys[i] = (base + (int)i * 3) % KEYS;
        struct entry *entry = &m->entries[keys[i]];
        int64_t actual = entry->there ? entry->mod_revision : 0;
        int len = snprintf(values[i], sizeof(values[i]), "%u.%u.%zu", m->seed, m->step, i);
        ops[i] = (struct syn_store_op){.kind = (enum syn_store_op_kind)pick(m, 3),
                                       .key = key_name(keys[i]),
                                       .mod_revision = actual,
                                       .value = values[i],
                                       .len = (size_t)len};
        if (ops[i].kind == SYN_STORE_CHECK && pick(m, 5) == 0) {
            ops[i].mod_revision = actual ? 0 : m->start + 1;
            failed = conflict ? failed : i;
            conflict = true;
        }
        changes |= ops[i].kind == SYN_STORE_PUT || (ops[i].kind == SYN_STORE_DELETE && actual);
    }
    int rc = syn_store_txn(m->store, ops, count, &result, &m->err);
    ensure(m, rc == (conflict ? SYN_STORE_CONFLICT : SYN_OK));
    if (conflict) {
        ensure(m, result.failed == failed);
        return;
    }
    m->revision += changes;
    ensure(m, result.revision == m->revision);
    for (size_t i = 0; i < count; i++) {
        if (ops[i].kind == SYN_STORE_PUT)
            model_write(m, keys[i], values[i], m->revision);
        else if (ops[i].kind == SYN_STORE_DELETE && m->entries[keys[i]].there)
            model_write(m, keys[i], NULL, m->revision);
    }
}

static void
same_entry(struct model *m, const struct entry *entry, const struct syn_store_doc *doc)
{
    ensure(m, doc->create_revision == entry->create_revision);
    ensure(m, doc->mod_revision == entry->mod_revision);
    ensure(m, doc->len == strlen(entry->value));
    ensure(m, strcmp(doc->value, entry->value) == 0);
}

static void
play_get(struct model *m)
{
    const struct syn_store_doc *doc = NULL;
    int key = (int)pick(m, KEYS);
    int rc = syn_store_get(m->store, key_name(key), &doc, &m->err);

    ensure(m, rc == (m->entries[key].there ? SYN_OK : SYN_STORE_ABSENT));
    if (rc == SYN_OK)
        same_entry(m, &m->entries[key], doc);
    syn_store_doc_unref(doc);
}

static bool
in_range(const struct syn_store_range *range, const char *key)
{
    if (strncmp(key, range->prefix, strlen(range->prefix)) != 0)
        return false;
    if (!range->after)
        return true;
    return range->reverse ? strcmp(key, range->after) < 0 : strcmp(key, range->after) > 0;
}

static void
play_list(struct model *m)
{
    static const char *const prefixes[] = {"", "a", "a/", "a/1", "b/x", "c/", "z"};
    struct syn_store_range range = {.prefix = prefixes[pick(m, SYN_LEN(prefixes))],
                                    .after = pick(m, 2) ? key_name((int)pick(m, KEYS)) : NULL,
                                    .limit = pick(m, 6),
                                    .reverse = pick(m, 2)};
    struct syn_store_page page;
    size_t at = 0;
    bool more = false;
    int64_t count = 0;
    int64_t total = 0;
    int rc = syn_store_list(m->store, &range, &page, &m->err);

    ensure(m, rc == SYN_OK);
    ensure(m, page.revision == m->revision);
    for (int i = 0; i < KEYS; i++) { /* key_name() is sorted */
        int key = range.reverse ? KEYS - 1 - i : i;
        bool there = m->entries[key].there;
        total += there && strncmp(key_name(key), range.prefix, strlen(range.prefix)) == 0;
        if (!there || !in_range(&range, key_name(key)))
            continue;
        if (range.limit && at == range.limit) {
            more = true;
            continue;
        }
        ensure(m, at < page.count);
        ensure(m, strcmp(page.docs[at]->key, key_name(key)) == 0);
        same_entry(m, &m->entries[key], page.docs[at++]);
    }
    ensure(m, at == page.count && more == page.more);
    syn_store_page_fini(&page);
    rc = syn_store_count(m->store, range.prefix, &count, &m->err);
    ensure(m, rc == SYN_OK && count == total);
}

/* Everything after revision `after` must be told, as the model has it. */
static void
same_events(struct model *m, struct syn_store_recorder *recorder, int64_t after)
{
    size_t first = 0;

    while (first < m->count && m->changes[first].revision <= after)
        first++;
    ensure(m, syn_store_recorder_wait(recorder, m->count - first) == m->count - first);
    for (size_t i = first; i < m->count; i++) {
        const struct change *want = &m->changes[i];
        struct syn_store_record got = syn_store_recorder_at(recorder, i - first);
        ensure(m, got.kind == (want->dead ? SYN_STORE_EVENT_DELETE : SYN_STORE_EVENT_PUT));
        ensure(m, got.revision == want->revision);
        ensure(m, got.prev_revision == want->prev_revision);
        ensure(m, strcmp(got.doc->key, key_name(want->key)) == 0);
        ensure(m, strcmp(got.doc->value, want->value) == 0);
        ensure(m, got.more == (i + 1 < m->count && m->changes[i + 1].revision == want->revision));
    }
}

static void
watch_from(struct model *m, int64_t after, struct syn_store_recorder **recorder,
           struct syn_store_watch **watch)
{
    *recorder = syn_store_recorder_new();
    int rc =
        syn_store_watch(m->store, "", after, syn_store_recorder_event, *recorder, watch, &m->err);
    ensure(m, rc == SYN_OK);
}

static void
play_watch(struct model *m)
{
    struct syn_store_recorder *recorder;
    struct syn_store_watch *watch;
    int64_t after = m->compacted + (int64_t)pick(m, (unsigned)(m->revision - m->compacted) + 1);

    watch_from(m, after, &recorder, &watch);
    same_events(m, recorder, after);
    syn_store_unwatch(m->store, watch);
    syn_store_recorder_free(recorder);
}

static void
play_compact(struct model *m)
{
    int64_t to = m->compacted + (int64_t)pick(m, (unsigned)(m->revision - m->compacted) + 1);
    int rc = syn_store_compact(m->store, to, &m->err);

    ensure(m, rc == SYN_OK);
    m->compacted = to;
}

static void
play_step(struct model *m, int (*reopen)(void *, struct syn_store **, struct syn_err *), void *self)
{
    unsigned dice = pick(m, 100);

    if (dice < 55) {
        play_txn(m);
    } else if (dice < 75) {
        play_get(m);
    } else if (dice < 92) {
        play_list(m);
    } else if (dice < 95) {
        play_watch(m);
    } else if (dice < 97) {
        play_compact(m);
    } else if (dice < 99 && m->watch) {
        /* The long watch must have heard all of it before it ends. */
        same_events(m, m->recorder, m->start);
        m->watch = syn_store_unwatch(m->store, m->watch);
    } else if (!m->watch) {
        int rc = reopen(self, &m->store, &m->err);
        ensure(m, rc == SYN_OK);
    }
}

void
syn_store_model_run(struct syn_store **store,
                    int (*reopen)(void *self, struct syn_store **store, struct syn_err *err),
                    void *self, unsigned seed)
{
    struct model *m = calloc(1, sizeof(*m));

    assert_non_null(m);
    m->store = *store;
    m->seed = seed;
    m->random = seed * UINT64_C(0x9e3779b97f4a7c15);
    int rc = syn_store_revision(m->store, &m->start, &m->err);
    ensure(m, rc == SYN_OK);
    m->revision = m->compacted = m->start;
    watch_from(m, m->start, &m->recorder, &m->watch);
    for (m->step = 0; m->step < STEPS; m->step++) {
        play_step(m, reopen, self);
        *store = m->store;
    }
    if (m->watch) {
        same_events(m, m->recorder, m->start);
        syn_store_unwatch(m->store, m->watch);
    }
    rc = syn_store_verify(m->store, &m->err);
    ensure(m, rc == SYN_OK);
    syn_store_recorder_free(m->recorder);
    free(m);
}
