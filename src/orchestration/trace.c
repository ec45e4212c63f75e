#include <synor/orchestration/trace.h>

#include <inttypes.h>

#include <synor/base/str.h>

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
    const char *what; /* a row of it is */
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

/* What the sink said, with the place. */
static int
wrap(const struct table *table, unsigned column, int rc, struct syn_err *err)
{
    return syn_err_wrap(err, rc, "%s:%" PRIu64 ": %s", table->name, table->line,
                        table->columns[column].name);
}

/* The next field of the line, without its separator; *more tells whether another follows. In quotes
 * a separator is text, and a quote is written twice. */
static int
take_field(struct table *table, char *out, bool *more, struct syn_err *err)
{
    bool quoted = table->at < table->end && *table->at == '"';
    size_t len = 0;

    table->at += quoted;
    while (table->at < table->end && (quoted || *table->at != ',') && *table->at != '\n') {
        unsigned char c = (unsigned char)*table->at++;

        if (c == '\r' && (table->at == table->end || *table->at == '\n'))
            continue;
        if (quoted && c == '"' && (table->at == table->end || *table->at != '"')) {
            quoted = false;
            if (table->at < table->end && strchr(",\r\n", *table->at) == NULL)
                return SYN_FAIL(err, SYN_E_INVALID, "%s:%" PRIu64 ": text behind a quoted field",
                                table->name, table->line);
            continue;
        }
        table->at += quoted && c == '"';
        if (c < ' ' || c == 0x7f)
            return SYN_FAIL(err, SYN_E_INVALID, "%s:%" PRIu64 ": control character %u", table->name,
                            table->line, c);
        if (len + 1 == FIELD_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "%s:%" PRIu64 ": field longer than %d bytes",
                            table->name, table->line, FIELD_MAX - 1);
        out[len++] = (char)c;
    }
    if (quoted)
        return SYN_FAIL(err, SYN_E_INVALID, "%s:%" PRIu64 ": a quote that nothing closes",
                        table->name, table->line);
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
    for (unsigned i = 0; i < table->count; i++)
        if (!syn_utf8_ok(table->values[i], strlen(table->values[i])))
            return bad(table, i, err, "not UTF-8");
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

static int
read_node(const struct syn_trace_sink *sink, const struct table *table, bool timed,
          struct syn_err *err)
{
    struct syn_fleet_node node = {.name = table->values[NODE_NAME]};
    int64_t cpu, memory, cards;
    uint32_t model = 0;
    int rc = number(table, NODE_CPU, CPU_MAX, &cpu, err);

    (void)timed;
    rc = rc < 0 ? rc : number(table, NODE_MEMORY, MEMORY_MAX, &memory, err);
    rc = rc < 0 ? rc : number(table, NODE_GPUS, SYN_FLEET_CARDS_MAX, &cards, err);
    if (rc < 0)
        return rc;
    if (*table->values[NODE_NAME] == '\0')
        return bad(table, NODE_NAME, err, "empty");
    if (cards > 0 && *table->values[NODE_MODEL] == '\0')
        return bad(table, NODE_MODEL, err, "empty beside cards");
    if (cards > 0)
        rc = sink->model(sink->arg, table->values[NODE_MODEL], false, &model, err);
    if (rc < 0)
        return wrap(table, NODE_MODEL, rc, err);
    node.capacity[SYN_FLEET_CPU] = cpu;
    node.capacity[SYN_FLEET_MEMORY] = memory << 20;
    node.cards = (uint32_t)cards;
    memset(node.models, (int)model, sizeof(node.models));
    rc = sink->node(sink->arg, &node, err);
    return rc < 0 ? wrap(table, NODE_NAME, rc, err) : SYN_OK;
}

/* --- pods ------------------------------------------------------------------------------------ */

static int
read_models(const struct syn_trace_sink *sink, const struct table *table, uint64_t *ret,
            struct syn_err *err)
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
        rc = sink->model(sink->arg, name, true, &model, err);
        if (rc < 0)
            return wrap(table, POD_MODELS, rc, err);
        assert(model < SYN_FLEET_MODELS_MAX);
        *ret |= UINT64_C(1) << model;
        at += len + (at[len] == '|');
    }
    return SYN_OK;
}

/* It runs from when it was scheduled, or else from when it was created, until it was deleted. */
static int
read_times(const struct table *table, struct syn_trace_pod *pod, struct syn_err *err)
{
    int64_t born, began, died;
    int rc = number(table, POD_BORN, SYN_TRACE_SECONDS_MAX, &born, err);

    if (rc < 0)
        return rc;
    pod->arrives_ms = born * 1000;
    pod->runs_ms = -1;
    if (*table->values[POD_DIED] == '\0')
        return SYN_OK;
    rc = number(table, POD_DIED, SYN_TRACE_SECONDS_MAX, &died, err);
    began = born;
    if (rc == SYN_OK && *table->values[POD_BEGAN] != '\0')
        rc = number(table, POD_BEGAN, SYN_TRACE_SECONDS_MAX, &began, err);
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
read_pod(const struct syn_trace_sink *sink, const struct table *table, bool timed,
         struct syn_err *err)
{
    struct syn_trace_pod pod = {.runs_ms = -1};
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
        rc = read_models(sink, table, &pod.ask.models, err);
    if (rc == SYN_OK && timed)
        rc = read_times(table, &pod, err);
    return rc < 0 ? rc : sink->pod(sink->arg, &pod, err);
}

/* --- files ----------------------------------------------------------------------------------- */

static const char *
tail_of(const char *name)
{
    size_t len = strlen(name);

    return len > SHOWN_MAX ? name + len - SHOWN_MAX : name;
}

typedef int row_reader(const struct syn_trace_sink *sink, const struct table *table, bool timed,
                       struct syn_err *err);

static int
read_table(const struct syn_trace_sink *sink, struct table *table, row_reader *read, bool timed,
           struct syn_err *err)
{
    bool there = true, any = false;
    int rc;

    if ((size_t)(table->end - table->at) > SYN_TRACE_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "%s: larger than %zu bytes", table->name,
                        SYN_TRACE_BYTES_MAX);
    if (table->at == table->end)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: empty", table->name);
    if (table->end - table->at >= 3 && memcmp(table->at, "\xef\xbb\xbf", 3) == 0)
        table->at += 3; /* some programs mark text so */
    rc = read_header(table, err);
    while (rc == SYN_OK && there) {
        rc = read_row(table, &there, err);
        if (rc == SYN_OK && there)
            rc = read(sink, table, timed, err);
        any |= there;
    }
    if (rc == SYN_OK && !any)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: no %s in it", table->name, table->what);
    return rc;
}

int
syn_trace_read_nodes(const struct syn_trace_sink *sink, const char *name, const char *text,
                     size_t len, struct syn_err *err)
{
    struct table table = {.name = tail_of(name),
                          .at = text,
                          .end = text + len,
                          .what = "node",
                          .columns = node_columns,
                          .count = SYN_LEN(node_columns)};

    return read_table(sink, &table, read_node, false, err);
}

int
syn_trace_read_pods(const struct syn_trace_sink *sink, bool timed, const char *name,
                    const char *text, size_t len, struct syn_err *err)
{
    struct column columns[SYN_LEN(pod_columns)];
    struct table table = {.name = tail_of(name),
                          .at = text,
                          .end = text + len,
                          .what = "pod",
                          .columns = columns,
                          .count = SYN_LEN(columns)};

    memcpy(columns, pod_columns, sizeof(columns));
    columns[POD_BORN].required = timed;
    columns[POD_DIED].required = timed;
    return read_table(sink, &table, read_pod, timed, err);
}
