#include <synor/orchestration/node_view.h>

#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/market/lease.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/life.h>

#include "card_priv.h"

static const char *const isolation_names[] = {
    [SYN_ISOLATION_AUTO] = "auto",           [SYN_ISOLATION_GVISOR] = "gvisor",
    [SYN_ISOLATION_RUNC] = "runc",           [SYN_ISOLATION_KATA] = "kata",
    [SYN_ISOLATION_NAMESPACE] = "namespace",
};

static const char *const state_names[] = {
    [SYN_NODE_READY] = "ready",
    [SYN_NODE_SILENT] = "silent",
    [SYN_NODE_LEFT] = "left",
};

static int
name_find(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (syn_str_eq(names[i], name))
            return (int)i;
    return -1;
}

const char *
syn_isolation_name(enum syn_isolation isolation)
{
    assert((size_t)isolation < SYN_LEN(isolation_names));
    return isolation_names[isolation];
}

int
syn_isolation_find(const char *name)
{
    return name_find(isolation_names, SYN_LEN(isolation_names), name);
}

const char *
syn_node_state_name(enum syn_node_state state)
{
    assert((size_t)state < SYN_LEN(state_names));
    return state_names[state];
}

static int
quantity(const json_t *obj, const char *path, const char *key, int64_t *ret, struct syn_err *err)
{
    *ret = 0;
    return syn_json_opt_i64(obj, path, key, 0, SYN_NODE_QUANTITY_MAX, ret, err);
}

/* "9.0" is 90. What is no such text is not told: it never satisfies a minimum. */
static uint32_t
capability_of(const char *text)
{
    uint32_t ret;

    return syn_capability_parse(text, &ret, NULL) == SYN_OK ? ret : 0;
}

int
syn_capability_parse(const char *text, uint32_t *ret, struct syn_err *err)
{
    size_t len = strlen(text), major = strspn(text, "0123456789");

    if (major < 1 || major > 2 || len != major + 2 || text[major] != '.' || text[len - 1] < '0' ||
        text[len - 1] > '9')
        return SYN_FAIL(err, SYN_E_INVALID,
                        "compute capability \"%.16s\": expected a number as 8.0 or 9.0", text);
    *ret = 0;
    for (size_t i = 0; i < len; i++)
        if (text[i] != '.')
            *ret = *ret * 10 + (uint32_t)(text[i] - '0');
    return SYN_OK;
}

static int
amounts_read(const json_t *obj, const char *path, struct syn_amounts *ret, struct syn_err *err)
{
    int rc = quantity(obj, path, "cpu_millicores", &ret->cpu_millicores, err);

    if (rc == SYN_OK)
        rc = quantity(obj, path, "memory_bytes", &ret->memory_bytes, err);
    if (rc == SYN_OK)
        rc = quantity(obj, path, "scratch_bytes", &ret->scratch_bytes, err);
    return rc;
}

static int
text_read(const json_t *obj, const char *path, const char *key, char *out, size_t cap,
          struct syn_err *err)
{
    const char *text = "";
    int rc;

    if (json_is_null(json_object_get(obj, key)))
        return SYN_OK;
    rc = syn_json_opt_str(obj, path, key, &text, err);
    if (rc < 0)
        return rc;
    if (!syn_str_copy(out, cap, text))
        return SYN_FAIL(err, SYN_E_INVALID, "%s.%s: longer than %zu bytes", path, key, cap - 1);
    return SYN_OK;
}

/* One price of an offer. A node's spec was checked when it was written; what is wrong all the same
 * is an error, never a free machine. */
static int
price_read(const json_t *prices, const char *key, int64_t *ret, struct syn_err *err)
{
    const char *text = NULL;
    int rc = SYN_OK;

    *ret = SYN_NODE_PRICE_BOOK;
    if (!prices || json_is_null(json_object_get(prices, key)))
        return SYN_OK;
    rc = syn_json_opt_str(prices, "spec.offer", key, &text, err);
    if (rc < 0 || !text)
        return rc;
    rc = syn_parse_amount(text, key, ret, err);
    if (rc == SYN_OK && *ret > SYN_LEASE_PRICE_MAX)
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s: expected 0..%lld SYNOR an hour, got %s", key,
                      (long long)(SYN_LEASE_PRICE_MAX / SYN_SYNOR), text);
    return rc < 0 ? syn_err_wrap(err, rc, "spec.offer") : SYN_OK;
}

/* What the provider asks; needs the groups of cards. */
static int
offer_read(const json_t *spec, struct syn_node_view *node, struct syn_err *err)
{
    const json_t *offer = json_object_get(spec, "offer");
    const json_t *models = json_object_get(offer, "gpu_hour");
    int rc = price_read(offer, "cpu_core_hour", &node->prices.cpu_core, err);

    if (rc == SYN_OK)
        rc = price_read(offer, "memory_gib_hour", &node->prices.memory_gib, err);
    if (rc == SYN_OK)
        rc = price_read(offer, "scratch_gib_hour", &node->prices.scratch_gib, err);
    for (unsigned i = 0; rc == SYN_OK && i < node->gpus_count; i++)
        rc = price_read(models, node->gpus[i].model, &node->gpus[i].price_hour, err);
    node->spot_floor_percent = 100;
    if (rc == SYN_OK && offer)
        rc = syn_json_opt_i64(offer, "spec.offer", "spot_floor_percent", 0, 100,
                              &node->spot_floor_percent, err);
    return rc;
}

/* The book's price of an hour of `item` by `unit`, or SYN_NODE_PRICE_BOOK. */
static int64_t
book_price(const struct syn_pricebook *book, const char *item, const char *unit)
{
    const struct syn_price *row = syn_pricebook_find(book, item);

    return row && syn_str_eq(row->unit->name, unit) ? row->price : SYN_NODE_PRICE_BOOK;
}

/* What spot work pays where everybody pays `list` and the market asks `hour`. */
static int64_t
spot_price(const struct syn_node_view *node, int64_t list, int64_t hour)
{
    int64_t floor;

    if (list == SYN_NODE_PRICE_BOOK)
        return SYN_NODE_PRICE_BOOK;
    floor = (list * node->spot_floor_percent + 99) / 100;
    return SYN_MIN(list, SYN_MAX(floor, hour));
}

void
syn_node_view_unspot(struct syn_node_view *node)
{
    node->spot = node->prices;
    node->spot.cpu_core = spot_price(node, node->prices.cpu_core, 0);
    for (unsigned i = 0; i < node->gpus_count; i++)
        node->gpus[i].spot_hour = spot_price(node, node->gpus[i].price_hour, 0);
}

void
syn_node_view_price(struct syn_node_view *node, const struct syn_pricebook *book)
{
    const struct {
        const char *item, *unit;
        int64_t *price;
    } rows[] = {
        {"cpu", "core-hour", &node->prices.cpu_core},
        {"memory", "gb-hour", &node->prices.memory_gib},
        {"scratch", "gb-hour", &node->prices.scratch_gib},
    };

    for (size_t i = 0; i < SYN_LEN(rows); i++)
        if (*rows[i].price == SYN_NODE_PRICE_BOOK)
            *rows[i].price = book_price(book, rows[i].item, rows[i].unit);
    for (unsigned i = 0; i < node->gpus_count; i++) {
        char item[SYN_ITEM_MAX];

        (void)snprintf(item, sizeof(item), "gpu:%s", node->gpus[i].model);
        if (node->gpus[i].price_hour == SYN_NODE_PRICE_BOOK)
            node->gpus[i].price_hour = book_price(book, item, "gpu-hour");
    }
    syn_node_view_unspot(node);
}

/* Any text as a word of a good: what is in none becomes '-'. False when nothing is left. */
static bool
good_word(const char *text, char *out, size_t cap)
{
    size_t len = 0;

    for (; *text && len < cap - 1; text++) {
        char c = *text;

        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789.-_", c))
            c = '-';
        if (len > 0 || !strchr(".-_", c))
            out[len++] = c;
    }
    out[len] = '\0';
    return len > 0;
}

/* The profile says most of what cores can do, and many processors have it in common. */
static void
cores_read(const json_t *status, struct syn_node_view *node)
{
    const json_t *device;
    size_t i;

    json_array_foreach (json_object_get(status, "devices"), i, device) {
        const char *profile = syn_json_str(device, "profile", "");

        if (!syn_str_eq(syn_json_str(device, "kind", ""), "cpu") || node->cores[0])
            continue;
        if (!*profile)
            profile = syn_json_str(device, "model", "");
        else if (syn_str_starts(profile, "cpu-"))
            profile += sizeof("cpu-") - 1;
        (void)good_word(profile, node->cores, sizeof(node->cores));
    }
}

bool
syn_node_view_good(const struct syn_node_view *node, const char *model, char *out)
{
    char region[SYN_NODE_REGION_MAX], word[SYN_NODE_CORES_MAX];

    out[0] = '\0';
    if (!good_word(model ? model : node->cores, word, sizeof(word)))
        return false;
    if (!good_word(node->region, region, sizeof(region)))
        (void)syn_str_copy(region, sizeof(region), SYN_NODE_REGION_LOCAL);
    (void)snprintf(out, SYN_GOOD_MAX, "%s/%s/%s", model ? "gpu" : "cpu", word, region);
    return true;
}

void
syn_node_view_spot(struct syn_node_view *node, const char *good, int64_t hour)
{
    char own[SYN_GOOD_MAX];

    if (syn_node_view_good(node, NULL, own) && syn_str_eq(own, good))
        node->spot.cpu_core = spot_price(node, node->prices.cpu_core, hour);
    for (unsigned i = 0; i < node->gpus_count; i++) {
        struct syn_gpu_group *group = &node->gpus[i];

        if (syn_node_view_good(node, group->model, own) && syn_str_eq(own, good))
            group->spot_hour = spot_price(node, group->price_hour, hour);
    }
}

/* A partition as the core knows such ones; what it does not know is not let. */
static int
cut_read(const json_t *part, struct syn_gpu_group *group, struct syn_err *err)
{
    static const struct {
        int64_t slices, eighths;
        enum syn_fleet_profile profile;
    } rows[] = {{1, 1, SYN_FLEET_1G}, {1, 2, SYN_FLEET_1G_PLUS}, {2, 2, SYN_FLEET_2G},
                {3, 4, SYN_FLEET_3G}, {4, 4, SYN_FLEET_4G},      {7, 8, SYN_FLEET_7G}};
    struct syn_gpu_cut *cut = &group->cuts[group->cuts_count];
    int64_t start = syn_json_i64(part, "start", -1);
    int rc = text_read(part, "parts", "name", cut->name, sizeof(cut->name), err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        if (rows[i].slices == syn_json_i64(part, "slices", 0) &&
            rows[i].eighths == syn_json_i64(part, "eighths", 0) && start >= 0 && start < 8 &&
            card_profile_starts(SYN_FLEET_EIGHTHS, rows[i].profile, (uint32_t)start)) {
            cut->profile = (uint8_t)rows[i].profile;
            cut->start = (uint8_t)start;
            group->cuts_count++;
            return SYN_OK;
        }
    *cut = (struct syn_gpu_cut){0};
    return SYN_OK;
}

/* How its cards are divided, and may be. */
static int
cuts_read(const json_t *obj, struct syn_gpu_group *group, struct syn_err *err)
{
    const json_t *parts = json_object_get(obj, "parts"), *part;
    const char *sharing = syn_json_str(obj, "sharing", "");
    size_t i;
    int rc = SYN_OK;

    if (syn_str_eq(sharing, "mps"))
        group->modes = SYN_BIT(SYN_FLEET_MPS);
    else if (syn_str_eq(sharing, "time-slice"))
        group->modes = SYN_BIT(SYN_FLEET_TIME_SLICE);
    if (json_array_size(parts) > SYN_NODE_CUTS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "parts: at most %d", SYN_NODE_CUTS_MAX);
    json_array_foreach (parts, i, part) {
        rc = cut_read(part, group, err);
        if (rc < 0)
            return rc;
    }
    if (group->cuts_count > 0)
        group->modes = SYN_BIT(SYN_FLEET_MIG);
    return rc;
}

static int
gpus_read(const json_t *capacity, struct syn_node_view *node, struct syn_err *err)
{
    const json_t *groups = json_object_get(capacity, "gpus");
    const json_t *group;
    size_t i;

    if (groups && !json_is_array(groups))
        return SYN_FAIL(err, SYN_E_INVALID, "status.capacity.gpus: expected a list");
    if (json_array_size(groups) > SYN_NODE_GPU_GROUPS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "status.capacity.gpus: at most %d groups",
                        SYN_NODE_GPU_GROUPS_MAX);
    json_array_foreach (groups, i, group) {
        struct syn_gpu_group *view = &node->gpus[node->gpus_count];
        int rc = text_read(group, "gpus", "model", view->model, sizeof(view->model), err);

        if (rc == SYN_OK)
            rc = quantity(group, "gpus", "count", &view->count, err);
        if (rc == SYN_OK)
            rc = quantity(group, "gpus", "vram_bytes", &view->vram_bytes, err);
        if (rc == SYN_OK)
            rc = text_read(group, "gpus", "profile", view->profile, sizeof(view->profile), err);
        view->capability = capability_of(syn_json_str(group, "capability", ""));
        if (rc == SYN_OK)
            rc = cuts_read(group, view, err);
        view->first = (uint32_t)SYN_MIN(
            SYN_MAX(syn_json_i64(group, "first", syn_node_view_first(node, (unsigned)i)), 0),
            INT64_C(1) << 20);
        if (rc < 0)
            return syn_err_wrap(err, rc, "status.capacity.gpus[%zu]", i);
        node->gpus_count++;
    }
    return SYN_OK;
}

/* They were checked when they were set. */
static int
labels_read(json_t *spec, struct syn_node_view *node, struct syn_err *err)
{
    json_t *labels = json_object_get(spec, "labels"), *value;
    const char *key;
    int rc = SYN_OK;

    if (json_object_size(labels) > SYN_NODE_LABELS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.labels: at most %d", SYN_NODE_LABELS_MAX);
    json_object_foreach (labels, key, value) {
        struct syn_label *label = &node->labels[node->labels_count];

        (void)value;
        if (!syn_str_copy(label->key, sizeof(label->key), key))
            return SYN_FAIL(err, SYN_E_INVALID, "spec.labels: \"%.64s\" is too long", key);
        rc = text_read(labels, "spec.labels", key, label->value, sizeof(label->value), err);
        if (rc < 0)
            return rc;
        node->labels_count++;
    }
    return rc;
}

const char *
syn_node_view_label(const struct syn_node_view *node, const char *key)
{
    if (syn_str_eq(key, SYN_LABEL_REGION))
        return *node->region ? node->region : NULL;
    if (syn_str_eq(key, SYN_LABEL_NODE))
        return node->id;
    for (unsigned i = 0; i < node->labels_count; i++)
        if (syn_str_eq(node->labels[i].key, key))
            return node->labels[i].value;
    return NULL;
}

static void
sandboxes_read(const json_t *status, struct syn_node_view *node)
{
    const json_t *sandbox;
    size_t i;
    int found;

    json_array_foreach (json_object_get(status, "sandboxes"), i, sandbox) {
        found = syn_isolation_find(syn_json_str(sandbox, "name", ""));
        if (found > 0 && syn_str_eq(syn_json_str(sandbox, "state", ""), "ready"))
            node->sandboxes |= SYN_BIT(found);
        if (found > 0 && syn_json_bool(sandbox, "gpus", true))
            node->gpu_sandboxes |= SYN_BIT(found) & node->sandboxes;
    }
    node->netless =
        syn_str_eq(syn_json_str(json_object_get(status, "networks"), "state", "ready"), "missing");
    found = syn_isolation_find(syn_json_str(status, "default_isolation", ""));
    node->default_isolation = found > 0 ? (enum syn_isolation)found : SYN_ISOLATION_AUTO;
}

static int
frameworks_read(const json_t *status, struct syn_node_view *node, struct syn_err *err)
{
    json_t *told = json_object_get(status, "frameworks");
    const char *name;
    json_t *version;
    int rc = SYN_OK;

    node->frameworks_told = json_is_object(told);
    if (json_object_size(told) > SYN_NODE_FRAMEWORKS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "status.frameworks: at most %d",
                        SYN_NODE_FRAMEWORKS_MAX);
    json_object_foreach (told, name, version) {
        struct syn_framework *view = &node->frameworks[node->frameworks_count];

        (void)version;
        if (!syn_str_copy(view->name, sizeof(view->name), name))
            return SYN_FAIL(err, SYN_E_INVALID, "status.frameworks: \"%.32s\" is too long", name);
        rc = text_read(told, "status.frameworks", name, view->version, sizeof(view->version), err);
        if (rc < 0)
            return rc;
        node->frameworks_count++;
    }
    return rc;
}

/* Those that functions can be run by. */
static int
languages_read(const json_t *status, struct syn_node_view *node, struct syn_err *err)
{
    const json_t *told = json_object_get(status, "languages"), *language;
    size_t i;
    int rc = SYN_OK;

    node->languages_told = json_is_array(told);
    if (json_array_size(told) > SYN_NODE_LANGUAGES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "status.languages: at most %d", SYN_NODE_LANGUAGES_MAX);
    json_array_foreach (told, i, language) {
        struct syn_framework *view = &node->languages[node->languages_count];

        if (!syn_str_eq(syn_json_str(language, "state", "ready"), "ready"))
            continue;
        rc = text_read(language, "status.languages", "name", view->name, sizeof(view->name), err);
        if (rc == SYN_OK)
            rc = text_read(language, "status.languages", "version", view->version,
                           sizeof(view->version), err);
        if (rc < 0)
            return rc;
        node->languages_count++;
    }
    return rc;
}

int
syn_node_view_read(const json_t *doc, struct syn_node_view *ret, struct syn_err *err)
{
    struct syn_node_view node = {0};
    const char *state = "", *id = "";
    json_t *spec = NULL, *status = NULL, *capacity = NULL;
    int rc, found;

    rc = syn_json_get_str(doc, "node", "id", &id, err);
    if (rc == SYN_OK)
        rc = syn_json_get_obj(doc, id, "spec", &spec, err);
    if (rc == SYN_OK)
        rc = syn_json_get_obj(doc, id, "status", &status, err);
    if (rc == SYN_OK)
        rc = syn_json_get_str(status, "status", "state", &state, err);
    if (rc == SYN_OK)
        rc = syn_json_get_obj(status, "status", "capacity", &capacity, err);
    if (rc == SYN_OK)
        rc = amounts_read(capacity, "status.capacity", &node.capacity, err);
    if (rc == SYN_OK)
        rc = text_read(spec, "spec", "region", node.region, sizeof(node.region), err);
    if (rc == SYN_OK && *node.region == '\0')
        (void)syn_str_copy(node.region, sizeof(node.region), SYN_NODE_REGION_LOCAL);
    if (rc == SYN_OK)
        rc = gpus_read(capacity, &node, err);
    if (rc == SYN_OK)
        rc = text_read(spec, "spec", "provider", node.provider, sizeof(node.provider), err);
    if (rc == SYN_OK)
        rc = offer_read(spec, &node, err);
    if (rc == SYN_OK)
        rc = frameworks_read(status, &node, err);
    if (rc == SYN_OK)
        rc = languages_read(status, &node, err);
    if (rc == SYN_OK)
        rc = labels_read(spec, &node, err);
    if (rc == SYN_OK)
        rc = quantity(capacity, "status.capacity", "bandwidth_bps", &node.bandwidth_bps, err);
    if (rc == SYN_OK)
        rc = quantity(status, "status", "rtt_us", &node.rtt_us, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "node %s", id);
    if (!*id || !syn_str_copy(node.id, sizeof(node.id), id))
        return SYN_FAIL(err, SYN_E_INVALID, "node id \"%s\": expected 1..%d bytes", id,
                        SYN_ID_MAX - 1);
    found = name_find(state_names, SYN_LEN(state_names), state);
    if (found < 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "node %s: status.state \"%s\" is none of ready, "
                        "silent, left",
                        id, state);
    node.state = (enum syn_node_state)found;
    node.unschedulable = syn_json_bool(spec, "unschedulable", false);
    node.evacuate = node.unschedulable && syn_json_bool(spec, "evacuate", false);
    node.last_seen_ms = syn_document_time(status, "last_seen_at");
    sandboxes_read(status, &node);
    cores_read(status, &node);
    syn_node_view_unspot(&node);
    *ret = node;
    return SYN_OK;
}

/* Which cards, and what of them. */
static int
cards_read(const json_t *resources, struct syn_instance_view *view, struct syn_err *err)
{
    const char *sharing = syn_json_str(resources, "gpu_sharing", "");
    const json_t *card;
    int64_t share = 0, mib = 0, part = 0;
    size_t i;
    int rc = text_read(resources, "spec.resources", "gpu_mig", view->gpu_mig, sizeof(view->gpu_mig),
                       err);

    json_array_foreach (json_object_get(resources, "gpu_cards"), i, card)
        if (json_is_integer(card) && json_integer_value(card) >= 0 && json_integer_value(card) < 32)
            view->gpu_cards |= SYN_BIT(json_integer_value(card));
    if (rc == SYN_OK)
        rc = syn_json_opt_i64(resources, "spec.resources", "gpu_share", 1, SYN_FLEET_WHOLE, &share,
                              err);
    if (rc == SYN_OK)
        rc = syn_json_opt_i64(resources, "spec.resources", "gpu_share_mib", 0, 1 << 24, &mib, err);
    if (rc == SYN_OK)
        rc = syn_json_opt_i64(resources, "spec.resources", "gpu_part", 0, 7, &part, err);
    if (rc == SYN_OK)
        rc = syn_json_opt_i64(resources, "spec.resources", "gpu_permille", 1, SYN_FLEET_WHOLE,
                              &view->gpu_permille, err);
    view->gpu_share = (uint32_t)share;
    view->gpu_share_mib = (uint32_t)mib;
    view->gpu_part = (uint32_t)part;
    if (*view->gpu_mig)
        view->gpu_mode = SYN_FLEET_MIG;
    else if (share > 0)
        view->gpu_mode = syn_str_eq(sharing, "mps") ? SYN_FLEET_MPS : SYN_FLEET_TIME_SLICE;
    return rc;
}

int
syn_instance_view_read(const json_t *doc, struct syn_instance_view *ret, struct syn_err *err)
{
    struct syn_instance_view view = {0};
    json_t *spec = NULL, *status = NULL, *resources = NULL;
    const char *id = "";
    int rc, state;

    rc = syn_json_get_str(doc, "instance", "id", &id, err);
    if (rc == SYN_OK)
        rc = text_read(doc, "instance", "id", view.id, sizeof(view.id), err);
    if (rc == SYN_OK)
        rc = syn_json_get_obj(doc, id, "spec", &spec, err);
    if (rc == SYN_OK)
        rc = syn_json_get_obj(doc, id, "status", &status, err);
    if (rc == SYN_OK)
        rc = syn_json_get_obj(spec, "spec", "resources", &resources, err);
    if (rc == SYN_OK)
        rc = text_read(spec, "spec", "node", view.node, sizeof(view.node), err);
    if (rc == SYN_OK)
        rc = text_read(spec, "spec", "job", view.job, sizeof(view.job), err);
    if (rc == SYN_OK)
        rc = text_read(spec, "spec", "place", view.place, sizeof(view.place), err);
    if (rc == SYN_OK && !*view.place)
        (void)syn_str_copy(view.place, sizeof(view.place), view.job);
    if (rc == SYN_OK)
        rc = text_read(doc, "instance", "account", view.account, sizeof(view.account), err);
    if (rc == SYN_OK)
        rc = amounts_read(resources, "spec.resources", &view.amounts, err);
    if (rc == SYN_OK)
        rc = quantity(resources, "spec.resources", "bandwidth_bps", &view.bandwidth_bps, err);
    if (rc == SYN_OK)
        rc = text_read(spec, "spec", "group", view.group, sizeof(view.group), err);
    if (rc == SYN_OK)
        rc = quantity(resources, "spec.resources", "gpus", &view.gpus, err);
    if (rc == SYN_OK)
        rc = text_read(resources, "spec.resources", "gpu_model", view.gpu_model,
                       sizeof(view.gpu_model), err);
    if (rc == SYN_OK)
        rc = quantity(resources, "spec.resources", "gpu_vram_bytes", &view.gpu_vram_bytes, err);
    if (rc == SYN_OK)
        rc = cards_read(resources, &view, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "instance %s", id);
    state = syn_instance_state_find(syn_json_str(status, "state", ""));
    if (state < 0 || !*view.id || !*view.node)
        return SYN_FAIL(err, SYN_E_INVALID, "instance %s: no id, node or known state", id);
    view.holds = !syn_instance_ended((unsigned)state);
    view.priority = (int32_t)syn_json_i64(spec, "priority", SYN_PRIORITY_NORMAL);
    *ret = view;
    return SYN_OK;
}

/* The group an instance's cards come from: its own model and size, else the first of its model. */
static struct syn_gpu_group *
group_find(struct syn_node_view *node, const struct syn_instance_view *instance)
{
    struct syn_gpu_group *first = NULL;

    for (unsigned i = 0; i < node->gpus_count; i++) {
        struct syn_gpu_group *group = &node->gpus[i];

        if (!syn_str_eq(group->model, instance->gpu_model))
            continue;
        if (group->vram_bytes == instance->gpu_vram_bytes)
            return group;
        if (!first)
            first = group;
    }
    return first;
}

uint32_t
syn_node_view_first(const struct syn_node_view *node, unsigned group)
{
    int64_t first = 0;

    for (unsigned i = 0; i < group; i++)
        first += node->gpus[i].count;
    return (uint32_t)SYN_MIN(first, (int64_t)UINT32_MAX);
}

const struct syn_gpu_cut *
syn_gpu_cut_find(const struct syn_gpu_group *group, const char *name, uint32_t start)
{
    for (unsigned i = 0; i < group->cuts_count; i++)
        if (group->cuts[i].start == start && syn_str_eq(group->cuts[i].name, name))
            return &group->cuts[i];
    return NULL;
}

bool
syn_gpu_group_same(const struct syn_gpu_group *a, const struct syn_gpu_group *b)
{
    return syn_str_eq(a->model, b->model) && a->vram_bytes == b->vram_bytes &&
           a->cuts_count == b->cuts_count && memcmp(a->cuts, b->cuts, sizeof(a->cuts)) == 0;
}

uint32_t
syn_node_view_cards(const struct syn_node_view *node, uint32_t named)
{
    uint32_t cards = 0, known = 0;

    for (unsigned g = 0; g < node->gpus_count; g++) {
        uint32_t first = syn_node_view_first(node, g);

        for (uint32_t i = 0; i < node->gpus[g].count; i++) {
            uint32_t name = node->gpus[g].first + i;

            if (first + i >= SYN_FLEET_CARDS_MAX || name >= 32)
                break;
            if (!(named & SYN_BIT(name)))
                continue;
            known |= SYN_BIT(name);
            cards |= SYN_BIT(first + i);
        }
    }
    return known == named ? cards : 0;
}

uint32_t
syn_node_view_named(const struct syn_node_view *node, uint32_t cards)
{
    uint32_t named = 0;

    for (unsigned g = 0; g < node->gpus_count; g++) {
        uint32_t first = syn_node_view_first(node, g);

        for (uint32_t i = 0; i < node->gpus[g].count && first + i < SYN_FLEET_CARDS_MAX; i++)
            if ((cards & SYN_BIT(first + i)) && node->gpus[g].first + i < 32)
                named |= SYN_BIT(node->gpus[g].first + i);
    }
    return named;
}

/* The group that has all of these cards, and what the instance has of them; NULL: none. */
static struct syn_gpu_group *
group_having(struct syn_node_view *node, const struct syn_instance_view *instance, uint32_t cards)
{
    for (unsigned i = 0; i < node->gpus_count && cards; i++) {
        struct syn_gpu_group *group = &node->gpus[i];
        uint32_t first = syn_node_view_first(node, i);

        if (first >= SYN_FLEET_CARDS_MAX || (cards & (SYN_BIT(first) - 1)) ||
            (int64_t)(cards >> first) >= INT64_C(1) << SYN_MIN(group->count, INT64_C(32)))
            continue;
        if (syn_str_eq(group->model, instance->gpu_model) &&
            (instance->gpu_mode != SYN_FLEET_MIG ||
             syn_gpu_cut_find(group, instance->gpu_mig, instance->gpu_part)))
            return group;
    }
    return NULL;
}

/* What the instance has of each card that it names. */
static struct syn_card_use
use_of(const struct syn_gpu_group *group, const struct syn_instance_view *instance)
{
    const struct syn_fleet_ask ask = {.mode = instance->gpu_mode,
                                      .cards = 1,
                                      .share = instance->gpu_share,
                                      .vram_mib = instance->gpu_share_mib};
    const struct syn_fleet_model model = {.vram_mib = (uint32_t)(group->vram_bytes >> 20)};
    const struct syn_gpu_cut *cut;
    struct syn_card_use use = {.time = SYN_FLEET_WHOLE, .vram = SYN_FLEET_WHOLE, .holders = 1};

    use.mode = (uint8_t)instance->gpu_mode;
    if (instance->gpu_mode == SYN_FLEET_CARDS)
        return use;
    if (instance->gpu_mode != SYN_FLEET_MIG) {
        use.time = (uint16_t)instance->gpu_share;
        use.vram = (uint16_t)SYN_MIN(card_vram_share(&ask, &model), SYN_FLEET_WHOLE);
        return use;
    }
    cut = syn_gpu_cut_find(group, instance->gpu_mig, instance->gpu_part);
    assert(cut); /* group_having() found it */
    use.time = use.vram = 0;
    use.slices =
        (uint8_t)(((1U << card_profile_slices(SYN_FLEET_EIGHTHS, cut->profile)) - 1) << cut->start);
    return use;
}

static void
card_count(struct syn_card_use *card, const struct syn_card_use *use, int sign)
{
    if (sign > 0) {
        card->time = (uint16_t)(card->time + use->time);
        card->vram = (uint16_t)(card->vram + use->vram);
        card->slices |= use->slices;
        card->mode = use->mode;
        card->holders++;
        return;
    }
    assert(card->holders > 0 && card->time >= use->time && card->vram >= use->vram);
    card->time = (uint16_t)(card->time - use->time);
    card->vram = (uint16_t)(card->vram - use->vram);
    card->slices &= (uint8_t)~use->slices;
    card->holders--;
}

/* A group's cards in use are those that somebody has a part of, and those of who does not say
 * which. */
static void
cards_count(struct syn_node_view *node, const struct syn_instance_view *instance, int sign)
{
    uint32_t cards = syn_node_view_cards(node, instance->gpu_cards);
    struct syn_gpu_group *group = group_having(node, instance, cards);
    struct syn_card_use use;

    if (!group) {
        group = group_find(node, instance);
        if (group)
            group->used += sign * instance->gpus;
        return;
    }
    use = use_of(group, instance);
    for (uint32_t i = 0; i < SYN_FLEET_CARDS_MAX; i++) {
        struct syn_card_use *card = &node->cards[i];

        if (!(cards & SYN_BIT(i)))
            continue;
        group->used += sign > 0 && card->holders == 0;
        card_count(card, &use, sign);
        group->used -= sign < 0 && card->holders == 0;
    }
}

static void
node_view_count(struct syn_node_view *node, const struct syn_instance_view *instance, int sign)
{
    if (!instance->holds)
        return;
    node->used.cpu_millicores += sign * instance->amounts.cpu_millicores;
    node->used.memory_bytes += sign * instance->amounts.memory_bytes;
    node->used.scratch_bytes += sign * instance->amounts.scratch_bytes;
    node->bandwidth_used_bps += sign * instance->bandwidth_bps;
    if (instance->gpus > 0)
        cards_count(node, instance, sign);
}

void
syn_node_view_add(struct syn_node_view *node, const struct syn_instance_view *instance)
{
    node_view_count(node, instance, 1);
}

void
syn_node_view_sub(struct syn_node_view *node, const struct syn_instance_view *instance)
{
    node_view_count(node, instance, -1);
    assert(node->used.cpu_millicores >= 0 && node->used.memory_bytes >= 0);
}

bool
syn_node_view_open(const struct syn_node_view *node)
{
    return node->state == SYN_NODE_READY && !node->unschedulable;
}

enum syn_isolation
syn_node_view_sandbox(const struct syn_node_view *node, enum syn_isolation wanted, bool gpus)
{
    /* Where there is no card it is cards that are missing, whatever the sandbox. */
    uint32_t ready = gpus && node->gpus_count > 0 ? node->gpu_sandboxes : node->sandboxes;
    enum syn_isolation choice = wanted == SYN_ISOLATION_AUTO ? node->default_isolation : wanted;

    if (wanted == SYN_ISOLATION_AUTO && choice == SYN_ISOLATION_NAMESPACE)
        choice = SYN_ISOLATION_AUTO;
    if (choice != SYN_ISOLATION_AUTO && (ready & SYN_BIT(choice)))
        return choice;
    if (wanted != SYN_ISOLATION_AUTO)
        return SYN_ISOLATION_AUTO;
    for (unsigned i = 1; i < SYN_LEN(isolation_names); i++)
        if ((ready & SYN_BIT(i)) && i != SYN_ISOLATION_NAMESPACE)
            return (enum syn_isolation)i;
    return SYN_ISOLATION_AUTO;
}

/* "1.13" of "1.13.0a0+git": whole numbers only, so that 1.1 is not a beginning of 1.13. */
static bool
version_begins(const char *version, const char *wanted)
{
    size_t len = strlen(wanted);

    return strncmp(version, wanted, len) == 0 && !(version[len] >= '0' && version[len] <= '9');
}

bool
syn_node_is_language(const char *name)
{
    static const char *const names[] = {"python", "node", "ruby", "java"};

    for (size_t i = 0; i < SYN_LEN(names); i++)
        if (syn_str_eq(name, names[i]))
            return true;
    return false;
}

bool
syn_node_view_framework(const struct syn_node_view *node, const char *name, const char *version)
{
    bool language = name && syn_node_is_language(name);
    const struct syn_framework *has = language ? node->languages : node->frameworks;
    unsigned count = language ? node->languages_count : node->frameworks_count;

    if (!name || !*name || !(language ? node->languages_told : node->frameworks_told))
        return true;
    for (unsigned i = 0; i < count; i++)
        if (syn_str_eq(has[i].name, name) &&
            (!version || !*version || version_begins(has[i].version, version)))
            return true;
    return false;
}

int64_t
syn_node_view_silent_ms(const struct syn_node_view *node, int64_t observing_since_ms,
                        int64_t now_ms)
{
    int64_t since = SYN_MAX(node->last_seen_ms, observing_since_ms);

    if (node->state == SYN_NODE_READY || now_ms <= since)
        return 0;
    return now_ms - since;
}
