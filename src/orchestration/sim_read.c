/* Nodes and workloads as text: comma-separated values under a line of names, as the openb trace has
 * them. Strict about every value that is used; what is refused is named by line and field. */
#include <inttypes.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "sim_priv.h"

#define SHOWN_MAX   80  /* bytes of a file's name in messages: line and field have to fit too */
#define COLUMNS_MAX 64  /* of a file */
#define FIELD_MAX   256 /* bytes, with terminator */
#define CPU_MAX     (INT64_C(1) << 32) /* millicores of one machine or ask */
#define MEMORY_MAX  (INT64_C(1) << 25) /* MiB */

struct column {
    const char *name;
    bool required;
};

struct table {
    const char *name; /* of the file */
    const char *at;
    const char *end;
    uint64_t line;
    const struct column *columns;
    unsigned count;
    unsigned places[16]; /* of our columns in the file; COLUMNS_MAX: not there */
    unsigned width;      /* columns of the file */
    char values[16][FIELD_MAX];
};

enum { NODE_NAME, NODE_CPU, NODE_MEMORY, NODE_GPUS, NODE_MODEL };
static const struct column node_columns[] = {
    {"sn", true}, {"cpu_milli", true}, {"memory_mib", true}, {"gpu", true}, {"model", true}};

enum { POD_CPU, POD_MEMORY, POD_GPUS, POD_MILLI, POD_MODELS, POD_BORN, POD_DIED, POD_BEGAN };
static const struct column pod_columns[] = {{"cpu_milli", true},      {"memory_mib", true},
                                            {"num_gpu", true},        {"gpu_milli", true},
                                            {"gpu_spec", false},      {"creation_time", false},
                                            {"deletion_time", false}, {"scheduled_time", false}};

static int
bad(const struct table *table, unsigned column, struct syn_err *err, const char *why)
{
    const char *value = table->values[column];

    return SYN_FAIL(err, SYN_E_INVALID, "%s:%" PRIu64 ": %s: %s%s%.40s%s", table->name, table->line,
                    table->columns[column].name, why, *value != '\0' ? ": '" : "", value,
                    *value != '\0' ? "'" : "");
}

/* The next field of the line, without its separator; *more tells whether another follows. */
static int
take_field(struct table *table, char *out, bool *more, struct syn_err *err)
{
    size_t len = 0;

    while (table->at < table->end && *table->at != ',' && *table->at != '\n') {
        unsigned char c = (unsigned char)*table->at++;

        if (c == '\r' && (table->at == table->end || *table->at == '\n'))
            continue;
        if (c < ' ' || c == 0x7f)
            return SYN_FAIL(err, SYN_E_INVALID, "%s:%" PRIu64 ": control character %u", table->name,
                            table->line, c);
        if (len + 1 == FIELD_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "%s:%" PRIu64 ": field longer than %d bytes",
                            table->name, table->line, FIELD_MAX - 1);
        out[len++] = (char)c;
    }
    out[len] = '\0';
    *more = table->at < table->end && *table->at == ',';
    if (table->at < table->end)
        table->at++;
    return SYN_OK;
}

static int
read_header(struct table *table, struct syn_err *err)
{
    bool more = true;

    table->line = 1;
    for (unsigned i = 0; i < table->count; i++)
        table->places[i] = COLUMNS_MAX;
    for (table->width = 0; more; table->width++) {
        char field[FIELD_MAX];
        int rc = take_field(table, field, &more, err);

        if (rc < 0)
            return rc;
        if (table->width == COLUMNS_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "%s:1: more than %d columns", table->name,
                            COLUMNS_MAX);
        for (unsigned i = 0; i < table->count; i++) {
            if (!syn_str_eq(table->columns[i].name, field))
                continue;
            if (table->places[i] != COLUMNS_MAX)
                return SYN_FAIL(err, SYN_E_INVALID, "%s:1: %s: twice", table->name, field);
            table->places[i] = table->width;
        }
    }
    for (unsigned i = 0; i < table->count; i++)
        if (table->columns[i].required && table->places[i] == COLUMNS_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "%s:1: %s: no such column", table->name,
                            table->columns[i].name);
    return SYN_OK;
}

/* The next row into `values`; *ret is false at the end. Empty lines are passed over. */
static int
read_row(struct table *table, bool *ret, struct syn_err *err)
{
    bool more = true;

    *ret = false;
    for (table->line++; table->at < table->end && (*table->at == '\n' || *table->at == '\r');
         table->at++)
        table->line += *table->at == '\n';
    if (table->at == table->end)
        return SYN_OK;
    for (unsigned i = 0; i < table->count; i++)
        table->values[i][0] = '\0';
    for (unsigned place = 0; more; place++) {
        char field[FIELD_MAX];
        int rc = take_field(table, field, &more, err);

        if (rc < 0)
            return rc;
        if (place >= table->width || (!more && place + 1 < table->width))
            return SYN_FAIL(err, SYN_E_INVALID, "%s:%" PRIu64 ": %s than the %u fields of line 1",
                            table->name, table->line,
                            more || place >= table->width ? "more" : "fewer", table->width);
        for (unsigned i = 0; i < table->count; i++)
            if (table->places[i] == place)
                (void)syn_str_copy(table->values[i], FIELD_MAX, field);
    }
    *ret = true;
    return SYN_OK;
}

static int
number(const struct table *table, unsigned column, int64_t max, int64_t *ret, struct syn_err *err)
{
    const char *text = table->values[column];
    int64_t value = 0;

    if (*text == '-')
        return bad(table, column, err, "below 0");
    if (*text == '\0')
        return bad(table, column, err, "empty");
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return bad(table, column, err, "no whole number");
        value = value * 10 + (*text - '0');
        if (value > max)
            return bad(table, column, err, "too large");
    }
    *ret = value;
    return SYN_OK;
}

/* --- nodes ----------------------------------------------------------------------------------- */

int
sim_model_add(struct syn_sim *sim, const char *name, bool must_be_known, uint32_t *ret,
              struct syn_err *err)
{
    struct syn_fleet_model model;
    bool known = syn_sim_model(name, &model);
    uint32_t number;
    int rc;

    for (uint32_t i = 0; i < sim->models_count; i++)
        if (syn_str_eq(sim->model_names[i], name)) {
            *ret = i;
            return SYN_OK;
        }
    if (!known && must_be_known)
        return SYN_FAIL(err, SYN_E_INVALID, "unknown model '%.40s'", name);
    rc = syn_fleet_model_add(sim->fleet, &model, &number, err);
    if (rc < 0)
        return rc;
    assert(number == sim->models_count && number < SYN_FLEET_MODELS_MAX);
    (void)syn_str_copy(sim->model_names[number], sizeof(sim->model_names[0]), name);
    sim->models[number] = model;
    sim->models[number].name = sim->model_names[number];
    sim->models_count++;
    *ret = number;
    return SYN_OK;
}

int64_t
sim_list_price(const struct syn_sim *sim, uint32_t model)
{
    return sim->options.price_card * (int64_t)sim->models[model].speed / SIM_CARD_SPEED;
}

int
sim_add_node(struct syn_sim *sim, struct syn_fleet_node *node, struct syn_err *err)
{
    uint32_t number;
    int rc;

    if (syn_fleet_find_node(sim->fleet, node->name) != SYN_FLEET_NONE)
        return SYN_FAIL(err, SYN_E_INVALID, "node '%.60s' is there already", node->name);
    if (sim->nodes_count == SYN_SIM_NODES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "more than %u nodes", SYN_SIM_NODES_MAX);
    if (!syn_grow((void *)&sim->nodes, &sim->nodes_cap, (size_t)sim->nodes_count + 1,
                  sizeof(*sim->nodes)))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for nodes");
    node->idle_mw = SIM_NODE_MW;
    node->price_core = sim->options.price_core;
    node->price_gib = sim->options.price_gib;
    node->price_card = node->cards > 0 ? sim_list_price(sim, node->models[0]) : 0;
    rc = syn_fleet_put_node(sim->fleet, node, &number, err);
    if (rc < 0)
        return rc;
    assert(number == sim->nodes_count);
    sim->nodes[number] = (struct sim_node){.spec = *node};
    sim->nodes[number].spec.name = NULL;
    (void)syn_str_copy(sim->nodes[number].name, sizeof(sim->nodes[number].name), node->name);
    sim->nodes_count++;
    sim->cards += node->cards;
    return SYN_OK;
}

static int
read_node(struct syn_sim *sim, const struct table *table, struct syn_err *err)
{
    struct syn_fleet_node node = {.name = table->values[NODE_NAME]};
    int64_t cpu, memory, cards;
    uint32_t model = 0;
    int rc = number(table, NODE_CPU, CPU_MAX, &cpu, err);

    rc = rc < 0 ? rc : number(table, NODE_MEMORY, MEMORY_MAX, &memory, err);
    rc = rc < 0 ? rc : number(table, NODE_GPUS, SYN_FLEET_CARDS_MAX, &cards, err);
    if (rc < 0)
        return rc;
    if (*table->values[NODE_NAME] == '\0')
        return bad(table, NODE_NAME, err, "empty");
    if (cards > 0 && *table->values[NODE_MODEL] == '\0')
        return bad(table, NODE_MODEL, err, "empty beside cards");
    if (cards > 0)
        rc = sim_model_add(sim, table->values[NODE_MODEL], false, &model, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "%s:%" PRIu64 ": model", table->name, table->line);
    node.capacity[SYN_FLEET_CPU] = cpu;
    node.capacity[SYN_FLEET_MEMORY] = memory << 20;
    node.cards = (uint32_t)cards;
    memset(node.models, (int)model, sizeof(node.models));
    rc = sim_add_node(sim, &node, err);
    return rc < 0 ? syn_err_wrap(err, rc, "%s:%" PRIu64 ": sn", table->name, table->line) : SYN_OK;
}

/* --- pods ------------------------------------------------------------------------------------ */

int
sim_add_pod(struct syn_sim *sim, const struct sim_pod *pod, struct syn_err *err)
{
    if (sim->pods_count == SYN_SIM_PODS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "more than %u pods", SYN_SIM_PODS_MAX);
    if (!syn_grow((void *)&sim->pods, &sim->pods_cap, (size_t)sim->pods_count + 1,
                  sizeof(*sim->pods)))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for pods");
    sim->pods[sim->pods_count] = *pod;
    sim->pods[sim->pods_count].order = sim->pods_count;
    sim->pods_count++;
    return SYN_OK;
}

static int
read_models(struct syn_sim *sim, const struct table *table, uint64_t *ret, struct syn_err *err)
{
    const char *at = table->values[POD_MODELS];

    *ret = 0;
    while (*at != '\0') {
        size_t len = strcspn(at, "|");
        char name[FIELD_MAX];
        uint32_t model;
        int rc;

        memcpy(name, at, len);
        name[len] = '\0';
        if (len == 0 || (at[len] == '|' && at[len + 1] == '\0'))
            return bad(table, POD_MODELS, err, "an empty name in");
        rc = sim_model_add(sim, name, true, &model, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "%s:%" PRIu64 ": gpu_spec", table->name, table->line);
        *ret |= UINT64_C(1) << model;
        at += len + (at[len] == '|');
    }
    return SYN_OK;
}

/* It runs from when it was scheduled, or else from when it was created, until it was deleted. */
static int
read_times(const struct table *table, struct sim_pod *pod, struct syn_err *err)
{
    int64_t born, began, died;
    int rc = number(table, POD_BORN, SYN_SIM_SECONDS_MAX, &born, err);

    if (rc < 0)
        return rc;
    pod->arrives_ms = born * 1000;
    pod->runs_ms = -1;
    if (*table->values[POD_DIED] == '\0')
        return SYN_OK;
    rc = number(table, POD_DIED, SYN_SIM_SECONDS_MAX, &died, err);
    began = born;
    if (rc == SYN_OK && *table->values[POD_BEGAN] != '\0')
        rc = number(table, POD_BEGAN, SYN_SIM_SECONDS_MAX, &began, err);
    if (rc < 0)
        return rc;
    if (died < born)
        return bad(table, POD_DIED, err, "before creation_time");
    if (began < born || began > died)
        return bad(table, POD_BEGAN, err, "not between creation_time and deletion_time");
    pod->runs_ms = (died - began) * 1000;
    return SYN_OK;
}

static int
read_pod(struct syn_sim *sim, const struct table *table, struct syn_err *err)
{
    struct sim_pod pod = {.ask = {.policy = (uint32_t)sim->options.policy}, .runs_ms = -1};
    int64_t cpu, memory, cards, milli = 0;
    int rc = number(table, POD_CPU, CPU_MAX, &cpu, err);

    rc = rc < 0 ? rc : number(table, POD_MEMORY, MEMORY_MAX, &memory, err);
    rc = rc < 0 ? rc : number(table, POD_GPUS, SYN_FLEET_CARDS_MAX, &cards, err);
    if (rc == SYN_OK && (cards > 0 || *table->values[POD_MILLI] != '\0'))
        rc = number(table, POD_MILLI, SYN_FLEET_WHOLE, &milli, err);
    if (rc < 0)
        return rc;
    if (cards > 0 && milli == 0)
        return bad(table, POD_MILLI, err, "nothing of a GPU");
    if (cards > 1 && milli < SYN_FLEET_WHOLE)
        return bad(table, POD_MILLI, err, "a share of several GPUs");
    pod.ask.need[SYN_FLEET_CPU] = cpu;
    pod.ask.need[SYN_FLEET_MEMORY] = memory << 20;
    pod.ask.cards = (uint32_t)cards;
    if (cards == 1 && milli < SYN_FLEET_WHOLE) {
        pod.ask.mode = SYN_FLEET_SHARED;
        pod.ask.share = (uint32_t)milli;
    }
    if (cards > 0)
        rc = read_models(sim, table, &pod.ask.models, err);
    if (rc == SYN_OK && sim->options.arrivals_percent == 0)
        rc = read_times(table, &pod, err);
    return rc < 0 ? rc : sim_add_pod(sim, &pod, err);
}

/* --- files ----------------------------------------------------------------------------------- */

static const char *
tail_of(const char *name)
{
    size_t len = strlen(name);

    return len > SHOWN_MAX ? name + len - SHOWN_MAX : name;
}

static int
read_table(struct syn_sim *sim, struct table *table,
           int (*read)(struct syn_sim *sim, const struct table *table, struct syn_err *err),
           struct syn_err *err)
{
    bool there = true;
    int rc;

    if ((size_t)(table->end - table->at) > SYN_SIM_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "%s: larger than %zu bytes", table->name,
                        SYN_SIM_BYTES_MAX);
    rc = read_header(table, err);
    while (rc == SYN_OK && there) {
        rc = read_row(table, &there, err);
        if (rc == SYN_OK && there)
            rc = read(sim, table, err);
    }
    return rc;
}

int
syn_sim_read_nodes(struct syn_sim *sim, const char *name, const char *text, size_t len,
                   struct syn_err *err)
{
    struct table table = {.name = tail_of(name),
                          .at = text,
                          .end = text + len,
                          .columns = node_columns,
                          .count = SYN_LEN(node_columns)};
    int rc;

    assert(sim->nodes_count == 0);
    rc = read_table(sim, &table, read_node, err);
    if (rc == SYN_OK && sim->nodes_count == 0)
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s: no node in it", name);
    return rc;
}

/* By times: in their order; of equal ones the first in the file is the first. */
static int
by_arrival(const void *a, const void *b)
{
    const struct sim_pod *x = a, *y = b;

    if (x->arrives_ms != y->arrives_ms)
        return x->arrives_ms < y->arrives_ms ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

int
syn_sim_read_workload(struct syn_sim *sim, const char *name, const char *text, size_t len,
                      struct syn_err *err)
{
    struct column columns[SYN_LEN(pod_columns)];
    struct table table = {.name = tail_of(name),
                          .at = text,
                          .end = text + len,
                          .columns = columns,
                          .count = SYN_LEN(columns)};
    bool sorted = true;
    int rc;

    assert(sim->nodes_count > 0 && sim->pods_count == 0);
    memcpy(columns, pod_columns, sizeof(columns));
    columns[POD_BORN].required = sim->options.arrivals_percent == 0;
    columns[POD_DIED].required = sim->options.arrivals_percent == 0;
    rc = read_table(sim, &table, read_pod, err);
    if (rc == SYN_OK && sim->pods_count == 0)
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s: no pod in it", name);
    for (uint32_t i = 1; i < sim->pods_count; i++)
        sorted &= sim->pods[i - 1].arrives_ms <= sim->pods[i].arrives_ms;
    if (rc == SYN_OK && !sorted)
        qsort(sim->pods, sim->pods_count, sizeof(*sim->pods), by_arrival);
    return rc;
}
