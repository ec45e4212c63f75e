/* HAProxy's counters ("show stat") and what becomes of them. The table names its columns in its
 * first line, so that a newer HAProxy, which has more of them, is read as well. */
#include "balancer_priv.h"

#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#define COLUMNS_MAX 256
#define ROWS_MAX    (SYN_BALANCER_BACKENDS_MAX * 4 + SYN_BALANCER_SERVERS_MAX)
#define PROXY       LB_FIELDS
#define SERVER      (LB_FIELDS + 1)
#define UNKNOWN     (-1)

static const char *const names[] = {
    [LB_STOT] = "stot",    [LB_REQUESTS] = "req_tot", [LB_1XX] = "hrsp_1xx",
    [LB_2XX] = "hrsp_2xx", [LB_3XX] = "hrsp_3xx",     [LB_4XX] = "hrsp_4xx",
    [LB_5XX] = "hrsp_5xx", [LB_OTHER] = "hrsp_other", [LB_ECON] = "econ",
    [LB_ERESP] = "eresp",  [LB_WRETR] = "wretr",      [LB_WREDIS] = "wredis",
    [LB_BIN] = "bin",      [LB_BOUT] = "bout",        [LB_SCUR] = "scur",
    [LB_QCUR] = "qcur",    [LB_ACT] = "act",          [LB_QTIME] = "qtime",
    [LB_CTIME] = "ctime",  [LB_RTIME] = "rtime",      [LB_TTIME] = "ttime",
    [PROXY] = "pxname",    [SERVER] = "svname",
};

struct reader {
    const char *at, *end;
    int columns[COLUMNS_MAX];
    size_t column_count;
};

/* The next line without its end; false at the end of the text. */
static bool
next_line(struct reader *reader, const char **ret_line, size_t *ret_len)
{
    const char *end;

    if (reader->at == reader->end)
        return false;
    end = memchr(reader->at, '\n', (size_t)(reader->end - reader->at));
    *ret_line = reader->at;
    *ret_len = (size_t)((end == NULL ? reader->end : end) - reader->at);
    reader->at = end == NULL ? reader->end : end + 1;
    return true;
}

/* The field at *at; a quoted one may hold commas. */
static size_t
next_field(const char **at, const char *end)
{
    const char *from = *at;
    bool quoted = false;
    size_t len;

    while (*at < end && (quoted || **at != ',')) {
        quoted = **at == '"' ? !quoted : quoted;
        ++*at;
    }
    len = (size_t)(*at - from);
    if (*at < end)
        ++*at;
    return len;
}

static int
read_columns(struct reader *reader, struct syn_err *err)
{
    const char *at, *end;
    unsigned known = 0;
    size_t len;

    if (!next_line(reader, &at, &len) || len < 2 || memcmp(at, "# ", 2) != 0)
        return SYN_FAIL(err, SYN_E_CORRUPT, "no table of counters");
    end = at + len;
    at += 2;
    while (at < end) {
        const char *name = at;

        if (reader->column_count == COLUMNS_MAX)
            return SYN_FAIL(err, SYN_E_CORRUPT, "a table of more than %d columns", COLUMNS_MAX);
        len = next_field(&at, end);
        reader->columns[reader->column_count] = UNKNOWN;
        for (size_t i = 0; i < SYN_LEN(names); i++) {
            if (strlen(names[i]) != len || memcmp(names[i], name, len) != 0)
                continue;
            reader->columns[reader->column_count] = (int)i;
            known |= SYN_BIT(i);
        }
        reader->column_count++;
    }
    if (known != SYN_BIT(SYN_LEN(names)) - 1)
        return SYN_FAIL(err, SYN_E_CORRUPT, "a table of counters lacks some");
    return SYN_OK;
}

static bool
read_number(const char *text, size_t len, uint64_t *ret)
{
    char copy[24];

    *ret = 0;
    if (len == 0)
        return true;
    if (len >= sizeof(copy))
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (copy[0] == '-') /* "not known" */
        return true;
    return syn_parse_u64(copy, 0, UINT64_MAX, "a counter", ret, NULL) == SYN_OK;
}

static bool
read_name(const char *text, size_t len, char ret[32])
{
    if (len >= 32 || memchr(text, '\0', len) != NULL)
        return false;
    memcpy(ret, text, len);
    ret[len] = '\0';
    return true;
}

static bool
read_row(const struct reader *reader, const char *at, size_t len, struct lb_stat *ret)
{
    const char *end = at + len;

    *ret = (struct lb_stat){.proxy = ""};
    for (size_t i = 0; i < reader->column_count && at < end; i++) {
        const char *field = at;
        size_t field_len = next_field(&at, end);
        int column = reader->columns[i];
        bool good = true;

        if (column == PROXY)
            good = read_name(field, field_len, ret->proxy);
        else if (column == SERVER)
            good = read_name(field, field_len, ret->server);
        else if (column != UNKNOWN)
            good = read_number(field, field_len, &ret->value[column]);
        if (!good)
            return false;
    }
    return ret->proxy[0] != '\0' && ret->server[0] != '\0';
}

int
lb_stat_parse(const char *text, size_t len, struct lb_stat **ret_stats, size_t *ret_count,
              struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct lb_stat *stats = NULL;
    struct reader reader = {.at = text, .end = text + len};
    const char *line;
    size_t count = 0, cap = 0, line_len;
    int rc = len == 0 ? SYN_FAIL(err, SYN_E_CORRUPT, "no table of counters")
                      : read_columns(&reader, err);

    while (rc == SYN_OK && next_line(&reader, &line, &line_len)) {
        if (line_len == 0)
            continue;
        if (count == ROWS_MAX)
            return SYN_FAIL(err, SYN_E_CORRUPT, "a table of more than %d lines", ROWS_MAX);
        if (!syn_grow((void *)&stats, &cap, count + 1, sizeof(*stats)))
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for counters");
        if (!read_row(&reader, line, line_len, &stats[count]))
            return SYN_FAIL(err, SYN_E_CORRUPT, "a line of counters is none");
        count++;
    }
    if (rc < 0)
        return rc;
    *ret_stats = SYN_TAKE(stats);
    *ret_count = count;
    return SYN_OK;
}

/* HAProxy counts an answer that broke off as no answer of the server's. */
static void
fill_server(const struct lb_stat *stat, bool tcp, struct syn_balancer_server_counts *ret)
{
    ret->errors = stat->value[LB_ERESP] + (tcp ? stat->value[LB_ECON] : stat->value[LB_5XX]);
    ret->answers = tcp ? stat->value[LB_STOT] : stat->value[LB_ERESP];
    for (unsigned field = LB_1XX; !tcp && field <= LB_OTHER; field++)
        ret->answers += stat->value[field];
}

int
lb_stat_servers(const struct lb_slot *slot, const struct lb_stat *stats, size_t count,
                struct syn_balancer_server_counts **ret, size_t *ret_count, struct syn_err *err)
{
    struct syn_balancer_server_counts *counts = syn_calloc(count + 1, sizeof(*counts));
    bool tcp = strstr(slot->shape, "mode tcp") != NULL;

    if (counts == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for counters");
    *ret_count = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < slot->server_count; k++) {
            const struct lb_server *server = &slot->servers[k];
            char name[16];

            (void)snprintf(name, sizeof(name), "s%u", server->number);
            if (server->leaving || strcmp(name, stats[i].server) != 0 ||
                !syn_str_copy(counts[*ret_count].server, sizeof(counts->server), server->id))
                continue;
            fill_server(&stats[i], tcp, &counts[(*ret_count)++]);
            break;
        }
    }
    *ret = counts;
    return SYN_OK;
}

void
syn_balancer_stats_fini(struct syn_balancer_stats *stats)
{
    syn_free(stats->backends);
    syn_free(stats->names);
    *stats = (struct syn_balancer_stats){.backends = NULL};
}

/* --- Prometheus ------------------------------------------------------------------------------- */

#define ROW(name, type, help, field, scale)                                                    \
    {                                                                                          \
        "synor_balancer_" name, type, help, offsetof(struct syn_balancer_counts, field), scale \
    }

static const struct {
    const char *name, *type, *help;
    size_t field;
    double scale;
} rows[] = {
    ROW("requests_total", "counter", "Requests (TCP: connections) of a service.", requests, 1),
    ROW("connect_errors_total", "counter", "Connections to its servers that failed.",
        connect_errors, 1),
    ROW("response_errors_total", "counter", "Answers of its servers that broke off.",
        response_errors, 1),
    ROW("retries_total", "counter", "Requests tried again.", retries, 1),
    ROW("redispatches_total", "counter", "Requests tried again at another server.", redispatches,
        1),
    ROW("received_bytes_total", "counter", "Bytes from clients.", bytes_in, 1),
    ROW("sent_bytes_total", "counter", "Bytes to clients.", bytes_out, 1),
    ROW("open", "gauge", "Requests (TCP: connections) being served.", open, 1),
    ROW("queued", "gauge", "Requests that wait for a server.", queued, 1),
    ROW("servers_up", "gauge", "Servers that get requests.", servers_up, 1),
    ROW("queue_seconds", "gauge", "Mean wait for a server, of the last 1024.", queue_ms, 1e-3),
    ROW("connect_seconds", "gauge", "Mean time to connect, of the last 1024.", connect_ms, 1e-3),
    ROW("response_seconds", "gauge", "Mean time to the answer's head, of the last 1024.",
        response_ms, 1e-3),
    ROW("total_seconds", "gauge", "Mean time of a request as a whole, of the last 1024.", total_ms,
        1e-3),
};

static void
write_answers(const struct syn_balancer_stats *stats, struct syn_buf *out)
{
    static const char *const classes[] = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};

    syn_buf_adds(out, "# HELP synor_balancer_answers_total Answers by the class of their status.\n"
                      "# TYPE synor_balancer_answers_total counter\n");
    for (size_t i = 0; i < stats->count; i++)
        for (size_t k = 0; k < SYN_LEN(classes); k++)
            syn_buf_addf(out, "synor_balancer_answers_total{service=\"%s\",class=\"%s\"} %llu\n",
                         stats->backends[i].backend, classes[k],
                         (unsigned long long)stats->backends[i].answers[k]);
}

void
syn_balancer_stats_write(const struct syn_balancer_stats *stats, struct syn_buf *out)
{
    const struct {
        const char *name, *type, *help;
        uint64_t value;
    } whole[] = {
        {"connections", "gauge", "Connections that clients hold.", stats->connections},
        {"reloads_total", "counter", "Changes that needed a new process.", stats->reloads},
        {"restarts_total", "counter", "Starts after HAProxy had died.", stats->restarts},
        {"changes_total", "counter", "Commands of changes without a reload.", stats->changes},
    };

    for (size_t i = 0; i < SYN_LEN(whole); i++)
        syn_buf_addf(out,
                     "# HELP synor_balancer_%s %s\n# TYPE synor_balancer_%s %s\n"
                     "synor_balancer_%s %llu\n",
                     whole[i].name, whole[i].help, whole[i].name, whole[i].type, whole[i].name,
                     (unsigned long long)whole[i].value);
    if (stats->count == 0)
        return;
    write_answers(stats, out);
    for (size_t k = 0; k < SYN_LEN(rows); k++) {
        syn_buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", rows[k].name, rows[k].help, rows[k].name,
                     rows[k].type);
        for (size_t i = 0; i < stats->count; i++) {
            const char *counts = (const char *)&stats->backends[i];
            uint64_t value;

            memcpy(&value, counts + rows[k].field, sizeof(value));
            syn_buf_addf(out, "%s{service=\"%s\"} %.10g\n", rows[k].name,
                         stats->backends[i].backend, (double)value * rows[k].scale);
        }
    }
}
