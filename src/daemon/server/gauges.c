/* Figures that are read when somebody asks: how much there is, and what the process takes. */
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "function_priv.h"

enum gauge {
    GAUGE_DOCUMENTS,
    GAUGE_REVISION,
    GAUGE_CONTENT,
    GAUGE_RESIDENT,
    GAUGE_CPU,
    GAUGE_COUNT
};

static const struct syn_metric gauges[GAUGE_COUNT] = {
    [GAUGE_DOCUMENTS] = {.name = "synor_documents",
                         .help = "Documents in the state store by kind",
                         .type = SYN_METRIC_GAUGE,
                         .labels = {"kind"}},
    [GAUGE_REVISION] = {.name = "synor_store_revision",
                        .help = "Revision of the state store",
                        .type = SYN_METRIC_GAUGE},
    [GAUGE_CONTENT] = {.name = "synor_content_bytes",
                       .help = "Bytes of content stored, before compression",
                       .type = SYN_METRIC_GAUGE},
    [GAUGE_RESIDENT] = {.name = "synor_process_resident_memory_bytes",
                        .help = "Resident memory of the process",
                        .type = SYN_METRIC_GAUGE},
    [GAUGE_CPU] = {.name = "synor_process_cpu_seconds_total",
                   .help = "CPU time the process has used",
                   .type = SYN_METRIC_COUNTER,
                   .scale = 1e-6},
};

static void
set(struct syn_server *server, enum gauge gauge, const char *label, int64_t value)
{
    struct syn_series *series;
    const char *labels[] = {label};

    if (syn_metrics_series(server->metrics, &gauges[gauge], labels, &series, NULL) == SYN_OK)
        syn_series_set(series, value);
}

static int64_t
resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    char line[128] = "";
    const char *resident; /* the second of the line's numbers, in pages */
    int64_t pages = 0;

    if (file == NULL)
        return 0;
    if (fgets(line, sizeof(line), file) != NULL && (resident = strchr(line, ' ')) != NULL) {
        line[(resident + 1 - line) + (ptrdiff_t)strcspn(resident + 1, " ")] = '\0';
        if (syn_parse_i64(resident + 1, 0, INT64_MAX / 65536, "statm", &pages, NULL) < 0)
            pages = 0;
    }
    (void)fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

static void
collect(void *arg)
{
    static const char *const kinds[] = {"account",  "node", "training", "service",
                                        "instance", "bill", "name",     "tx"};
    struct syn_server *server = arg;
    struct syn_content_usage usage;
    struct rusage self;
    int64_t value;

    for (size_t i = 0; i < SYN_LEN(kinds); i++) {
        char prefix[64];

        (void)snprintf(prefix, sizeof(prefix), "%s/", kinds[i]);
        if (syn_store_count(server->store, prefix, &value, NULL) == SYN_OK)
            set(server, GAUGE_DOCUMENTS, kinds[i], value);
    }
    if (syn_store_revision(server->store, &value, NULL) == SYN_OK)
        set(server, GAUGE_REVISION, NULL, value);
    if (syn_content_usage(server->content, &usage, NULL) == SYN_OK)
        set(server, GAUGE_CONTENT, NULL, (int64_t)usage.bytes);
    set(server, GAUGE_RESIDENT, NULL, resident_bytes());
    if (getrusage(RUSAGE_SELF, &self) == 0)
        set(server, GAUGE_CPU, NULL,
            ((int64_t)self.ru_utime.tv_sec + self.ru_stime.tv_sec) * 1000000 +
                self.ru_utime.tv_usec + self.ru_stime.tv_usec);
}

/* --- of nodes: they come and go, so no series is kept for one ----------------------------------
 */

/* The samples of a metric stand together. */
struct pool_samples {
    struct syn_buf waiting, bytes;
};

/* Nodes say what they like. */
static bool
is_label(const char *text)
{
    return *text != '\0' && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._-") == strlen(text);
}

static int
write_pool(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct pool_samples *samples = arg;
    json_t *pool = syn_json_at(doc, "status.pool"), *count;
    const char *program, *node = syn_json_str(doc, "id", "");

    (void)key;
    (void)revision;
    (void)err;
    if (pool == NULL)
        return SYN_OK;
    json_object_foreach (json_object_get(pool, "waiting"), program, count)
        if (is_label(program))
            syn_buf_addf(&samples->waiting,
                         "synor_node_pool_waiting{node=\"%s\",program=\"%s\"} %lld\n", node,
                         program, (long long)json_integer_value(count));
    syn_buf_addf(&samples->bytes, "synor_node_pool_bytes{node=\"%s\"} %lld\n", node,
                 (long long)syn_json_i64(pool, "bytes", 0));
    return SYN_OK;
}

void
srv_node_metrics(struct syn_server *server, struct syn_buf *out)
{
    struct pool_samples samples = {SYN_BUF_INIT, SYN_BUF_INIT};

    (void)!srv_each(server, "node/", write_pool, &samples, NULL);
    syn_buf_addf(out,
                 "# HELP synor_node_pool_waiting Interpreters that wait on a node for functions.\n"
                 "# TYPE synor_node_pool_waiting gauge\n%s"
                 "# HELP synor_node_pool_bytes Memory that they hold.\n"
                 "# TYPE synor_node_pool_bytes gauge\n%s",
                 syn_buf_text(&samples.waiting), syn_buf_text(&samples.bytes));
    syn_buf_fini(&samples.waiting);
    syn_buf_fini(&samples.bytes);
}

int
srv_gauges_open(struct syn_server *server, struct syn_err *err)
{
    int rc = syn_metrics_add(server->metrics, gauges, SYN_LEN(gauges), err);

    if (rc == SYN_OK)
        rc = srv_function_metrics_open(server, err);
    return rc < 0 ? rc : syn_metrics_collect(server->metrics, collect, server, err);
}
