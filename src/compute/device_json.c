#include <synor/device_json.h>

#include <stdio.h>

/* A builder that remembers its first error, so that documents are made a line a field. */
struct doc {
    json_t *object;
    int rc;
    struct syn_err *err;
};

static struct doc
doc_begin(struct syn_err *err)
{
    struct doc doc = {json_object(), SYN_OK, err};

    if (!doc.object)
        doc.rc = SYN_FAIL(err, SYN_E_NOMEM, "document");
    return doc;
}

static void
put_take(struct doc *doc, const char *key, json_t *value)
{
    if (doc->rc < 0)
        json_decref(value);
    else
        doc->rc = syn_json_set_take(doc->object, key, value, doc->err);
}

/* Unknown texts and numbers are left out. */
static void
put_text(struct doc *doc, const char *key, const char *text)
{
    if (text[0] != '\0')
        put_take(doc, key, json_string(text));
}

static void
put_number(struct doc *doc, const char *key, uint64_t number)
{
    if (number > 0)
        put_take(doc, key, json_integer((json_int_t)SYN_MIN(number, (uint64_t)INT64_MAX)));
}

static void
put_signed(struct doc *doc, const char *key, int64_t number)
{
    if (number >= 0)
        put_take(doc, key, json_integer(number));
}

/* The names of the bits of a set, by `name_of`. */
static void
put_set(struct doc *doc, const char *key, uint32_t set, unsigned count,
        const char *(*name_of)(unsigned))
{
    json_t *list = json_array();

    for (unsigned i = 0; list && i < count; i++) {
        if (set & SYN_BIT(i) && json_array_append_new(list, json_string(name_of(i))) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    put_take(doc, key, list);
}

static const char *
dtype_name(unsigned i)
{
    return syn_dtype_name((enum syn_dtype)i);
}

static const char *
operation_name(unsigned i)
{
    return syn_operation_name((enum syn_operation)i);
}

static const char *
format_name(unsigned i)
{
    return syn_format_name((enum syn_format)i);
}

static const char *
cap_name(unsigned i)
{
    return syn_device_cap_name(SYN_BIT(i));
}

static int
doc_end(struct doc *doc, json_t **ret)
{
    if (doc->rc < 0)
        json_decref(doc->object);
    else
        *ret = doc->object;
    return doc->rc;
}

/* Put a document that another function makes. */
static void
put_made(struct doc *doc, const char *key, int rc, json_t *made)
{
    if (doc->rc == SYN_OK && rc < 0)
        doc->rc = rc;
    if (rc == SYN_OK)
        put_take(doc, key, made);
}

static int
rates_json(const uint64_t *rates, json_t **ret, struct syn_err *err)
{
    struct doc doc = doc_begin(err);

    for (unsigned i = 0; i < SYN_DTYPES; i++)
        put_number(&doc, dtype_name(i), rates[i]);
    return doc_end(&doc, ret);
}

static void
put_rates(struct doc *doc, const char *key, const uint64_t *rates)
{
    json_t *made = NULL;
    int rc = rates_json(rates, &made, doc->err);

    put_made(doc, key, rc, made);
}

static void
put_link(struct doc *doc, const char *key, const struct syn_profile_link *link)
{
    struct doc inner = doc_begin(doc->err);
    json_t *made = NULL;
    int rc;

    put_text(&inner, "name", link->name);
    put_number(&inner, "mb_s", link->mb_s);
    put_number(&inner, "latency_ns", link->latency_ns);
    rc = doc_end(&inner, &made);
    if (rc == SYN_OK && json_object_size(made) == 0)
        json_decref(made);
    else
        put_made(doc, key, rc, made);
}

static json_t *
sources_json(const struct syn_profile *profile)
{
    json_t *list = json_array();

    for (unsigned i = 0; list && i < profile->sources_count; i++) {
        if (json_array_append_new(list, json_string(profile->sources[i])) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

/* Without `title` and the like: the figures. */
static void
put_figures(struct doc *doc, const struct syn_profile *p)
{
    put_rates(doc, "rates_m", p->flops_m);
    put_rates(doc, "vector_rates_m", p->vector_m);
    put_number(doc, "unstated_rate_m", p->unstated_m);
    put_number(doc, "memory_bytes", p->memory_bytes);
    put_number(doc, "memory_mb_s", p->memory_mb_s);
    put_number(doc, "local_bytes", p->local_bytes);
    put_link(doc, "host_link", &p->host);
    put_link(doc, "peer_link", &p->peer);
    put_number(doc, "launch_ns", p->launch_ns);
    put_number(doc, "tdp_mw", p->tdp_mw);
    put_number(doc, "idle_mw", p->idle_mw);
}

int
syn_profile_json(const struct syn_profile *profile, json_t **ret, struct syn_err *err)
{
    struct doc doc = doc_begin(err), assumed = doc_begin(err);
    struct syn_profile whole;
    json_t *made = NULL;
    int rc;

    put_text(&doc, "name", profile->name);
    put_text(&doc, "title", profile->title);
    put_text(&doc, "vendor", profile->vendor);
    put_text(&doc, "kind", syn_kind_name(profile->kind));
    put_number(&doc, "year", profile->year);
    put_number(&doc, "units", profile->units);
    put_number(&doc, "clock_mhz", profile->clock_mhz);
    put_figures(&doc, profile);
    put_set(&doc, "numbers", profile->dtypes, SYN_DTYPES, dtype_name);
    put_set(&doc, "operations", profile->operations, SYN_OPERATIONS, operation_name);
    put_set(&doc, "programs", profile->formats, SYN_FORMATS, format_name);
    put_number(&doc, "alloc_max_bytes", profile->alloc_max_bytes);
    put_number(&doc, "group_max", profile->group_max);
    put_number(&doc, "queues_max", profile->queues_max);
    put_take(&doc, "sources", sources_json(profile));
    /* Every figure again as estimates take it. */
    (void)syn_profile_assume(profile, &whole);
    put_figures(&assumed, &whole);
    rc = doc_end(&assumed, &made);
    put_made(&doc, "estimates_use", rc, made);
    return doc_end(&doc, ret);
}

static void
put_health(struct doc *doc, struct syn_registry *registry, size_t index)
{
    struct syn_device_health health;
    struct syn_device_power power;
    struct syn_err err = {0};

    if (syn_registry_health(registry, index, &health, &err) < 0) {
        put_text(doc, "state", syn_device_state_name(SYN_DEVICE_LOST));
        put_text(doc, "reason", err.msg);
        return;
    }
    put_text(doc, "state", syn_device_state_name(health.state));
    put_text(doc, "reason", health.reason);
    put_signed(doc, "memory_free_bytes", health.memory_free_bytes);
    put_signed(doc, "temperature_c", health.temperature_c);
    put_signed(doc, "load_permille", health.load_permille);
    put_number(doc, "memory_errors", health.memory_errors);
    if (syn_registry_power(registry, index, &power, &err) < 0)
        return;
    put_text(doc, "power_source", syn_power_source_name(power.source));
    put_signed(doc, "power_mw", power.now_mw);
    put_signed(doc, "power_limit_mw", power.limit_mw);
    put_signed(doc, "energy_uj", power.total_uj);
}

int
syn_device_json(struct syn_registry *registry, size_t index, bool ask, json_t **ret,
                struct syn_err *err)
{
    const struct syn_device_info *info = syn_registry_device(registry, index);
    struct doc doc = doc_begin(err);

    put_text(&doc, "id", info->id);
    put_text(&doc, "kind", syn_kind_name(info->kind));
    put_take(&doc, "modelled", json_boolean(info->modelled));
    put_text(&doc, "driver", info->driver);
    put_text(&doc, "model", info->model);
    put_text(&doc, "vendor", info->vendor);
    put_text(&doc, "version", info->version);
    put_text(&doc, "uuid", info->uuid);
    put_text(&doc, "profile", info->profile);
    put_text(&doc, "features", info->features);
    put_text(&doc, "share", syn_device_share_name(info->share));
    put_text(&doc, "share_of", info->share_of);
    put_text(&doc, "pci", info->pci);
    put_signed(&doc, "numa_node", info->numa_node);
    put_take(&doc, "memory_node",
             json_integer((json_int_t)syn_registry_device_node(registry, index)));
    put_number(&doc, "units", info->units);
    put_number(&doc, "clock_mhz", info->clock_mhz);
    put_number(&doc, "link_gen", info->link_gen);
    put_number(&doc, "link_width", info->link_width);
    put_number(&doc, "memory_bytes", info->memory_bytes);
    put_number(&doc, "memory_mb_s", info->memory_mb_s);
    put_number(&doc, "alloc_max_bytes", info->alloc_max_bytes);
    put_number(&doc, "local_bytes", info->local_bytes);
    put_number(&doc, "group_max", info->group_max);
    put_number(&doc, "queues_max", info->queues_max);
    put_set(&doc, "capabilities", info->caps, 32, cap_name);
    put_set(&doc, "numbers", info->dtypes, SYN_DTYPES, dtype_name);
    put_set(&doc, "programs", info->formats, SYN_FORMATS, format_name);
    if (ask)
        put_health(&doc, registry, index);
    return doc_end(&doc, ret);
}

static int
driver_json(const struct syn_driver_report *report, json_t **ret, struct syn_err *err)
{
    struct doc doc = doc_begin(err);

    put_text(&doc, "name", report->name);
    put_text(&doc, "state", syn_driver_state_name(report->state));
    put_text(&doc, "version", report->version);
    put_text(&doc, "reason", report->reason);
    put_take(&doc, "devices", json_integer((json_int_t)report->devices));
    put_take(&doc, "probe_us", json_integer((json_int_t)(report->probe_ns / 1000)));
    return doc_end(&doc, ret);
}

static int
node_json(const struct syn_memory_node *node, json_t **ret, struct syn_err *err)
{
    struct doc doc = doc_begin(err);

    put_take(&doc, "id", json_integer((json_int_t)node->id));
    put_text(&doc, "name", node->name);
    put_number(&doc, "bytes", node->bytes);
    put_take(&doc, "modelled", json_boolean(node->modelled));
    return doc_end(&doc, ret);
}

static int
link_json(const struct syn_registry *registry, unsigned from, unsigned to, json_t **ret,
          struct syn_err *err)
{
    struct syn_link link = syn_registry_link(registry, from, to);
    struct doc doc = doc_begin(err);

    put_take(&doc, "from", json_integer((json_int_t)from));
    put_take(&doc, "to", json_integer((json_int_t)to));
    put_text(&doc, "path", syn_link_path_name(link.path));
    put_text(&doc, "source", syn_link_source_name(link.source));
    put_number(&doc, "mb_s", link.mb_s);
    put_number(&doc, "latency_ns", link.latency_ns);
    return doc_end(&doc, ret);
}

/* An array that grows by what other functions make. */
static void
append_made(struct doc *doc, json_t *list, int rc, json_t *made)
{
    if (doc->rc == SYN_OK && rc < 0)
        doc->rc = rc;
    else if (rc == SYN_OK && !list)
        json_decref(made);
    else if (rc == SYN_OK && json_array_append_new(list, made) != 0)
        doc->rc = SYN_FAIL(doc->err, SYN_E_NOMEM, "document");
}

int
syn_registry_json(struct syn_registry *registry, json_t **ret, struct syn_err *err)
{
    struct doc doc = doc_begin(err);
    json_t *devices = json_array(), *drivers = json_array(), *nodes = json_array(),
           *links = json_array(), *made = NULL;
    size_t count = syn_registry_nodes_count(registry);
    int rc;

    for (size_t i = 0; doc.rc == SYN_OK && i < syn_registry_count(registry); i++) {
        rc = syn_device_json(registry, i, false, &made, err);
        append_made(&doc, devices, rc, made);
    }
    for (size_t i = 0; doc.rc == SYN_OK && i < syn_registry_drivers_count(registry); i++) {
        rc = driver_json(syn_registry_driver(registry, i), &made, err);
        append_made(&doc, drivers, rc, made);
    }
    for (size_t i = 0; doc.rc == SYN_OK && i < count; i++) {
        rc = node_json(syn_registry_node(registry, i), &made, err);
        append_made(&doc, nodes, rc, made);
    }
    for (size_t i = 0; doc.rc == SYN_OK && i < count * count; i++) {
        if (i / count == i % count)
            continue;
        rc = link_json(registry, (unsigned)(i / count), (unsigned)(i % count), &made, err);
        append_made(&doc, links, rc, made);
    }
    put_take(&doc, "devices", devices);
    put_take(&doc, "drivers", drivers);
    put_take(&doc, "nodes", nodes);
    put_take(&doc, "links", links);
    return doc_end(&doc, ret);
}

static int
numa_json(const struct syn_numa_node *node, unsigned count, json_t **ret, struct syn_err *err)
{
    struct doc doc = doc_begin(err);
    json_t *distances = json_array();

    put_take(&doc, "id", json_integer((json_int_t)node->id));
    put_number(&doc, "bytes", node->bytes);
    put_take(&doc, "cpus", json_integer((json_int_t)node->cpus));
    for (unsigned i = 0; doc.rc == SYN_OK && i < count; i++)
        append_made(&doc, distances, SYN_OK, json_integer((json_int_t)node->distance[i]));
    put_take(&doc, "distances", distances);
    return doc_end(&doc, ret);
}

static int
cache_json(const struct syn_cache *cache, json_t **ret, struct syn_err *err)
{
    struct doc doc = doc_begin(err);

    put_number(&doc, "level", cache->level);
    put_text(&doc, "type",
             cache->type == 'd'   ? "data"
             : cache->type == 'i' ? "instruction"
                                  : "unified");
    put_number(&doc, "bytes", cache->bytes);
    put_number(&doc, "line_bytes", cache->line_bytes);
    put_number(&doc, "ways", cache->ways);
    put_text(&doc, "cpus", cache->cpus);
    return doc_end(&doc, ret);
}

static int
pci_json(const struct syn_pci_device *device, json_t **ret, struct syn_err *err)
{
    struct doc doc = doc_begin(err);
    char text[16];

    put_text(&doc, "address", device->address);
    (void)snprintf(text, sizeof(text), "%04x:%04x", device->vendor, device->device);
    put_text(&doc, "ids", text);
    (void)snprintf(text, sizeof(text), "%06x", device->class_code);
    put_text(&doc, "class", text);
    put_signed(&doc, "numa_node", device->numa_node);
    put_number(&doc, "link_gen", device->link_gen);
    put_number(&doc, "link_width", device->link_width);
    put_text(&doc, "parent", device->parent);
    return doc_end(&doc, ret);
}

int
syn_topology_json(const struct syn_topology *t, json_t **ret, struct syn_err *err)
{
    struct doc doc = doc_begin(err);
    json_t *numa = json_array(), *caches = json_array(), *pci = json_array(), *made = NULL;
    int rc;

    put_number(&doc, "cpus", t->cpus_count);
    put_number(&doc, "cores", t->cores);
    put_number(&doc, "packages", t->packages);
    for (unsigned i = 0; doc.rc == SYN_OK && i < t->numa_count; i++) {
        rc = numa_json(&t->numa[i], t->numa_count, &made, err);
        append_made(&doc, numa, rc, made);
    }
    for (unsigned i = 0; doc.rc == SYN_OK && i < t->caches_count; i++) {
        rc = cache_json(&t->caches[i], &made, err);
        append_made(&doc, caches, rc, made);
    }
    for (unsigned i = 0; doc.rc == SYN_OK && i < t->pci_count; i++) {
        rc = pci_json(&t->pci[i], &made, err);
        append_made(&doc, pci, rc, made);
    }
    put_take(&doc, "numa", numa);
    put_take(&doc, "caches", caches);
    put_take(&doc, "pci", pci);
    return doc_end(&doc, ret);
}
