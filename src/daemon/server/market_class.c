/* What is traded: classes of processors, and how many of them nodes have. */
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/node_view.h>

#include "market_priv.h"

#define HOUR_MS INT64_C(3600000)

static const char *const kinds[] = {
#define SYN_KIND(symbol, name, text) name,
#include <synor/kinds.def>
#undef SYN_KIND
};

static const struct {
    const char *name;
    int64_t ms;
} durations[] = {
    {"minute", HOUR_MS / 60}, {"hour", HOUR_MS}, {"day", 24 * HOUR_MS}, {"month", 730 * HOUR_MS}};

const char *
srv_market_duration(size_t index)
{
    return index < SYN_LEN(durations) ? durations[index].name : NULL;
}

/* --- names ------------------------------------------------------------------------------------ */

static bool
word_ok(const char *word)
{
    return word[0] != '\0' && strchr(".-_", word[0]) == NULL &&
           strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789.-_") == strlen(word);
}

/* The next part of a name into out[MARKET_WORD_MAX]; moves *at behind it. */
static bool
next_word(const char **at, char *out)
{
    size_t len = strcspn(*at, "/");

    if (len >= MARKET_WORD_MAX)
        return false;
    memcpy(out, *at, len);
    out[len] = '\0';
    *at += len + ((*at)[len] == '/');
    return word_ok(out);
}

int
srv_market_class_parse(const char *text, struct market_class_name *ret, struct syn_err *err)
{
    struct market_class_name class = {.duration_ms = 0};
    const char *at = text;
    size_t slashes = 0;
    bool known = false;

    for (const char *c = text; *c != '\0'; c++)
        slashes += *c == '/';
    if (slashes != 3 || strlen(text) > SYN_MARKET_NAME_MAX || !next_word(&at, class.kind) ||
        !next_word(&at, class.model) || !next_word(&at, class.region) ||
        !next_word(&at, class.duration))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "class: expected kind/model/region/duration in lower case, as "
                        "gpu/h100/eu-west/hour; got \"%.80s\"",
                        text);
    for (size_t i = 0; i < SYN_LEN(kinds); i++)
        known = known || syn_str_eq(kinds[i], class.kind);
    if (!known)
        return SYN_FAIL(err, SYN_E_INVALID, "class: \"%s\" is no kind of processor", class.kind);
    for (size_t i = 0; i < SYN_LEN(durations); i++) {
        if (syn_str_eq(durations[i].name, class.duration))
            class.duration_ms = durations[i].ms;
    }
    if (class.duration_ms == 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "class: \"%s\" is no duration: minute, hour, day or month", class.duration);
    (void)syn_str_copy(class.text, sizeof(class.text), text);
    (void)snprintf(class.triple, sizeof(class.triple), "%.*s", (int)(strrchr(text, '/') - text),
                   text);
    *ret = class;
    return SYN_OK;
}

/* Any text as a word: what is in none becomes '-'. */
static void
make_word(const char *text, const char *otherwise, char *out)
{
    size_t len = 0;

    for (; *text != '\0' && len < MARKET_WORD_MAX - 1; text++) {
        char c = *text;

        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (strchr("abcdefghijklmnopqrstuvwxyz0123456789.-_", c) == NULL)
            c = '-';
        if (len > 0 || strchr(".-_", c) == NULL)
            out[len++] = c;
    }
    out[len] = '\0';
    if (len == 0)
        (void)syn_str_copy(out, MARKET_WORD_MAX, otherwise);
}

bool
srv_market_list_price(const struct syn_server *server, const struct market_class_name *class,
                      const char **ret_item, int64_t *ret_price)
{
    char item[SYN_ITEM_MAX];
    const struct syn_price *price;
    syn_i128 cost;

    if (syn_str_eq(class->kind, "cpu"))
        (void)snprintf(item, sizeof(item), "cpu");
    else if (snprintf(item, sizeof(item), "%s:%s", class->kind, class->model) >= (int)sizeof(item))
        return false;
    price = syn_pricebook_find(server->prices, item);
    if (price == NULL)
        return false;
    /* Both a core and a card are priced by the hour. */
    cost = (syn_i128)price->price * class->duration_ms / HOUR_MS;
    if (cost > SYN_AMOUNT_MAX)
        return false;
    *ret_item = price->item;
    *ret_price = (int64_t)cost;
    return true;
}

/* --- what nodes have -------------------------------------------------------------------------- */

void
srv_market_supply_fini(struct market_supply *supply)
{
    supply->counts = syn_map_free(supply->counts);
    supply->there = syn_map_free(supply->there);
    supply->taken = syn_map_free(supply->taken);
}

static int
add_count(struct syn_map *counts, const char *key, int64_t count, struct syn_err *err)
{
    int64_t *known = syn_map_find(counts, key);

    if (known == NULL) {
        int rc;

        known = syn_calloc(1, sizeof(*known));
        if (known == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for what nodes have");
        rc = syn_map_put_take(counts, key, known, err);
        if (rc < 0)
            return rc;
    }
    *known += count;
    return SYN_OK;
}

/* A node under the reading. `taken` is of what runs there and holds no units: a provider cannot
 * sell it. */
struct offer {
    struct market_supply *supply;
    const char *provider;
    char region[MARKET_WORD_MAX];
    bool heard; /* of the node, lately */
};

static int
add_processors(struct offer *offer, const char *kind, const char *model, int64_t count,
               int64_t taken, struct syn_err *err)
{
    char triple[4 * MARKET_WORD_MAX];
    char key[SRV_KEY_MAX];
    char word[MARKET_WORD_MAX];
    int rc;

    make_word(model, "unknown", word);
    (void)snprintf(triple, sizeof(triple), "%s/%s/%s", kind, word, offer->region);
    if (count <= 0 || strlen(triple) + sizeof("/minute") > SYN_MARKET_NAME_MAX)
        return SYN_OK;
    rc = add_count(offer->supply->counts, triple, count, err);
    if (rc == SYN_OK)
        rc = add_count(offer->supply->counts, srv_key(key, offer->provider, triple, NULL),
                       SYN_MAX(count - taken, 0), err);
    return rc < 0 || !offer->heard ? rc : add_count(offer->supply->there, key, count, err);
}

/* The profile says most of what cores can do, and many processors have it in common. */
static const char *
model_of(const json_t *device)
{
    const char *profile = syn_json_str(device, "profile", "");

    if (profile[0] == '\0')
        return syn_json_str(device, "model", "");
    return syn_str_starts(profile, "cpu-") ? profile + sizeof("cpu-") - 1 : profile;
}

/* Of a group's cards. */
static int64_t
cards_taken(const struct syn_node_view *runs, const struct syn_gpu_group *group)
{
    for (unsigned i = 0; runs != NULL && i < runs->gpus_count; i++)
        if (syn_str_eq(runs->gpus[i].model, group->model) &&
            (runs->gpus[i].vram_bytes == 0 || runs->gpus[i].vram_bytes == group->vram_bytes))
            return runs->gpus[i].used;
    return 0;
}

/* A core of which a part is taken is none that could be sold. */
static int64_t
cores_taken(const struct syn_node_view *runs, const struct syn_node_view *node)
{
    int64_t left;

    if (runs == NULL)
        return 0;
    left = SYN_MAX(node->capacity.cpu_millicores - runs->used.cpu_millicores, 0);
    return node->capacity.cpu_millicores / 1000 - left / 1000;
}

/* "instance-on/NODE/ID": all that hold something are among them. Spot work gives way, and what
 * holds units is counted as those. */
static int
add_taken(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct market_supply *supply = arg;
    struct syn_instance_view view;
    struct syn_node_view *runs;
    struct syn_gpu_group *group;
    char instance_key[SRV_KEY_MAX];
    const char *kind;
    SYN_JSON(instance);
    int rc =
        srv_load(supply->server, srv_key(instance_key, "instance", strrchr(key, '/') + 1, NULL),
                 &instance, NULL, err);

    (void)doc;
    (void)revision;
    if (rc != SYN_OK)
        return rc == SRV_ABSENT ? SYN_OK : rc;
    rc = syn_instance_view_read(instance, &view, err);
    kind = syn_json_str(syn_json_at(instance, "spec.lease.terms"), "kind", "");
    if (rc < 0 || !view.holds || syn_str_eq(kind, "spot") || syn_str_eq(kind, "reserved"))
        return rc;
    runs = syn_map_find(supply->taken, view.node);
    if (runs == NULL) {
        runs = syn_calloc(1, sizeof(*runs));
        if (runs == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for what runs on nodes");
        rc = syn_map_put_take(supply->taken, view.node, runs, err);
        if (rc < 0)
            return rc;
    }
    runs->used.cpu_millicores += view.amounts.cpu_millicores;
    for (group = runs->gpus; view.gpus > 0 && group < runs->gpus + SYN_LEN(runs->gpus); group++) {
        if (group == runs->gpus + runs->gpus_count) {
            (void)syn_str_copy(group->model, sizeof(group->model), view.gpu_model);
            group->vram_bytes = view.gpu_vram_bytes;
            runs->gpus_count++;
        }
        if (syn_str_eq(group->model, view.gpu_model) && group->vram_bytes == view.gpu_vram_bytes) {
            group->used += view.gpus;
            break;
        }
    }
    return SYN_OK;
}

/* Cores and cards that a job can be given, and every processor of another kind. What cores they are
 * a node tells a moment after it has joined; until then it has none to sell, since what was sold
 * under another name could not be served. */
static int
add_node(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct offer offer = {.supply = arg};
    const struct syn_node_view *runs;
    const json_t *devices = json_object_get(syn_document_status(doc), "devices");
    struct syn_node_view view;
    size_t i;
    json_t *device;
    int rc = syn_node_view_read(doc, &view, err);

    (void)key;
    (void)revision;
    if (rc < 0)
        return rc;
    if (view.state == SYN_NODE_LEFT || view.unschedulable)
        return SYN_OK;
    offer.heard = view.state == SYN_NODE_READY;
    offer.provider = syn_json_str(syn_document_spec(doc), "provider", "");
    runs = syn_map_find(offer.supply->taken, view.id);
    make_word(view.region, SYN_NODE_REGION_LOCAL, offer.region);
    for (unsigned g = 0; rc == SYN_OK && g < view.gpus_count; g++)
        rc = add_processors(&offer, "gpu", view.gpus[g].model, view.gpus[g].count,
                            cards_taken(runs, &view.gpus[g]), err);
    json_array_foreach (devices, i, device) {
        const char *kind = syn_json_str(device, "kind", "");

        if (rc == SYN_OK && word_ok(kind) && !syn_str_eq(kind, "cpu") && !syn_str_eq(kind, "gpu"))
            rc = add_processors(&offer, kind, model_of(device), 1, 0, err);
    }
    if (rc < 0 || view.cores[0] == '\0')
        return rc;
    return add_processors(&offer, "cpu", view.cores, view.capacity.cpu_millicores / 1000,
                          cores_taken(runs, &view), err);
}

int
srv_market_supply_read(struct syn_server *server, struct market_supply *supply, struct syn_err *err)
{
    int rc;

    srv_market_supply_fini(supply);
    supply->server = server;
    rc = syn_map_new(syn_free, &supply->counts, err);
    if (rc == SYN_OK)
        rc = syn_map_new(syn_free, &supply->there, err);
    if (rc == SYN_OK)
        rc = syn_map_new(syn_free, &supply->taken, err);
    if (rc == SYN_OK)
        rc = srv_each(server, "instance-on/", add_taken, supply, err);
    return rc < 0 ? rc : srv_each(server, "node/", add_node, supply, err);
}

int64_t
srv_market_supply_of(const struct market_supply *supply, const char *provider, const char *triple)
{
    char key[SRV_KEY_MAX];
    const int64_t *count = syn_map_find(
        supply->counts, provider == NULL ? triple : srv_key(key, provider, triple, NULL));

    return count != NULL ? *count : 0;
}

/* --- what was issued -------------------------------------------------------------------------- */

int64_t
srv_market_issued(const struct srv_market *market, const char *account, const char *class)
{
    char key[SRV_KEY_MAX];
    const struct market_issued *issued =
        syn_map_find(market->issued, srv_key(key, account, class, NULL));

    return issued != NULL ? issued->count : 0;
}

int64_t
srv_market_committed(const struct srv_market *market, const char *account, const char *triple)
{
    int64_t sum = 0;
    size_t cursor = 0;
    void *value;

    for (size_t i = 0; i < SYN_LEN(durations); i++) {
        char class[MARKET_TRIPLE_MAX + 16];

        (void)snprintf(class, sizeof(class), "%s/%s", triple, durations[i].name);
        sum += srv_market_issued(market, account, class);
    }
    while (syn_map_next(market->uses, &cursor, NULL, &value)) {
        const struct market_use *use = value;
        size_t len = strlen(triple);

        if (syn_str_eq(use->provider, account) && strncmp(use->class, triple, len) == 0 &&
            use->class[len] == '/')
            sum += use->units;
    }
    return sum;
}
