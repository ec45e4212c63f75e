#include <synor/orchestration/node_view.h>

#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/market/lease.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/life.h>

static const char *const isolation_names[] = {
    [SYN_ISOLATION_AUTO] = "auto",
    [SYN_ISOLATION_GVISOR] = "gvisor",
    [SYN_ISOLATION_RUNC] = "runc",
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

static void
node_view_count(struct syn_node_view *node, const struct syn_instance_view *instance, int sign)
{
    struct syn_gpu_group *group;

    if (!instance->holds)
        return;
    node->used.cpu_millicores += sign * instance->amounts.cpu_millicores;
    node->used.memory_bytes += sign * instance->amounts.memory_bytes;
    node->used.scratch_bytes += sign * instance->amounts.scratch_bytes;
    node->bandwidth_used_bps += sign * instance->bandwidth_bps;
    group = instance->gpus > 0 ? group_find(node, instance) : NULL;
    if (group)
        group->used += sign * instance->gpus;
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

    if (choice != SYN_ISOLATION_AUTO && (ready & SYN_BIT(choice)))
        return choice;
    if (wanted != SYN_ISOLATION_AUTO)
        return SYN_ISOLATION_AUTO;
    for (unsigned i = 1; i < SYN_LEN(isolation_names); i++)
        if (ready & SYN_BIT(i))
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
syn_node_view_framework(const struct syn_node_view *node, const char *name, const char *version)
{
    if (!name || !*name || !node->frameworks_told)
        return true;
    for (unsigned i = 0; i < node->frameworks_count; i++)
        if (syn_str_eq(node->frameworks[i].name, name))
            return !version || !*version || version_begins(node->frameworks[i].version, version);
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
