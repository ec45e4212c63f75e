/* What services were seen to use lately, in memory: what replicas report of themselves, and numbers
 * that somebody tells of a whole service. Nothing of it is kept: a server that starts knows nothing
 * for some seconds, and autoscaling takes nothing away meanwhile. Time zones are here too: they are
 * the other thing from outside that the rule asks for. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/market/meter.h>
#include <synor/orchestration/autoscale.h>
#include <synor/orchestration/document.h>

#include "function_priv.h"
#include "loads_priv.h"

#define RING                8     /* reports of an instance that are remembered */
#define SPAN_MS             5000  /* its CPU is that of about so long */
#define MARK_MS             900   /* between two marks of the balancer's counter */
#define TOLD_MS             30000 /* a number that somebody told counts for so long */
#define TOLD_MAX            16    /* of a service */
#define SCRAPED_TROUBLE_MAX 160
#define SERVICES_MAX        10000 /* that numbers are told of */
#define ZONES_MAX           1024
#define ZONEINFO            "/usr/share/zoneinfo"

struct instance {
    struct point {
        int64_t passed_ms, cpu_ms, sent_bytes;
    } ring[RING];
    size_t next;
    int64_t memory_bytes;
    int64_t heard_ms;        /* by our clock */
    int64_t left_ms;         /* the gateway of functions has let it go; 0: no */
    struct scraped *scraped; /* SYN_AUTOSCALE_METRICS_MAX of them; NULL: nothing was */
};

/* What the node read of it: a number, or why there is none. */
struct scraped {
    char name[SYN_AUTOSCALE_KEY_MAX];
    int64_t value, at_ms;
    char trouble[SCRAPED_TROUBLE_MAX];
};

struct service {
    struct mark {
        int64_t at_ms;
        uint64_t requests;
    } marks[RING]; /* of the balancer's counter */
    size_t next;
    size_t count;
    struct told {
        char name[SYN_AUTOSCALE_KEY_MAX];
        int64_t value, at_ms;
    } told[TOLD_MAX];
};

struct srv_loads {
    pthread_mutex_t lock;
    struct syn_map *instances;
    struct syn_map *services;
    struct syn_map *zones; /* an absent one is a NULL */
};

static void
free_value(void *value)
{
    syn_free(value);
}

static void
free_instance(void *value)
{
    struct instance *instance = value;

    syn_free(instance->scraped);
    syn_free(instance);
}

static void
free_zone(void *value)
{
    (void)syn_zone_free(value);
}

int
srv_loads_new(struct srv_loads **ret, struct syn_err *err)
{
    struct srv_loads *loads = syn_calloc(1, sizeof(*loads));
    int rc;

    if (loads == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for loads");
    (void)pthread_mutex_init(&loads->lock, NULL);
    rc = syn_map_new(free_instance, &loads->instances, err);
    if (rc == SYN_OK)
        rc = syn_map_new(free_value, &loads->services, err);
    if (rc == SYN_OK)
        rc = syn_map_new(free_zone, &loads->zones, err);
    if (rc < 0) {
        (void)srv_loads_free(loads);
        return rc;
    }
    *ret = loads;
    return SYN_OK;
}

struct srv_loads *
srv_loads_free(struct srv_loads *loads)
{
    if (loads == NULL)
        return NULL;
    (void)syn_map_free(loads->instances);
    (void)syn_map_free(loads->services);
    (void)syn_map_free(loads->zones);
    (void)pthread_mutex_destroy(&loads->lock);
    syn_free(loads);
    return NULL;
}

/* --- replicas --------------------------------------------------------------------------------- */

/* NULL when there is no memory: it is not known, and so nothing goes. */
static struct instance *
instance_at(struct srv_loads *loads, const char *id)
{
    struct instance *instance = syn_map_find(loads->instances, id);

    if (instance != NULL)
        return instance;
    instance = syn_calloc(1, sizeof(*instance));
    if (instance != NULL && syn_map_put_take(loads->instances, id, instance, NULL) < 0)
        instance = NULL;
    return instance;
}

void
srv_loads_report(struct srv_loads *loads, const struct syn_report *report, int64_t now_ms)
{
    const struct syn_sample *last = &report->samples[report->count - 1];
    struct point point = {.passed_ms = last->to_ms - report->samples[0].from_ms};
    struct instance *instance;

    for (size_t i = 0; i < report->count; i++)
        point.cpu_ms += report->samples[i].used.cpu_ms;
    for (size_t i = 0; i < report->count; i++)
        point.sent_bytes += report->samples[i].egress_bytes;
    (void)pthread_mutex_lock(&loads->lock);
    instance = instance_at(loads, report->instance);
    if (instance != NULL) {
        instance->ring[instance->next++ % RING] = point;
        instance->memory_bytes = last->used.memory_peak_bytes;
        instance->heard_ms = now_ms;
    }
    (void)pthread_mutex_unlock(&loads->lock);
}

void
srv_loads_forget(struct srv_loads *loads, const char *instance)
{
    (void)pthread_mutex_lock(&loads->lock);
    (void)syn_map_remove(loads->instances, instance);
    (void)pthread_mutex_unlock(&loads->lock);
}

void
srv_loads_left(struct srv_loads *loads, const char *id, int64_t now_ms)
{
    struct instance *instance;

    (void)pthread_mutex_lock(&loads->lock);
    instance = instance_at(loads, id);
    if (instance != NULL)
        instance->left_ms = now_ms;
    (void)pthread_mutex_unlock(&loads->lock);
}

bool
srv_loads_has_left(struct srv_loads *loads, const char *id, int64_t since_ms)
{
    const struct instance *instance;
    bool left;

    (void)pthread_mutex_lock(&loads->lock);
    instance = syn_map_find(loads->instances, id);
    left = instance != NULL && instance->left_ms != 0 && instance->left_ms >= since_ms;
    (void)pthread_mutex_unlock(&loads->lock);
    return left;
}

/* --- what is scraped of them ------------------------------------------------------------------ */

/* The row of a metric, or one that is free or of one that was not told for long. */
static struct scraped *
scraped_row(struct instance *instance, const char *name, int64_t now_ms)
{
    struct scraped *rows = instance->scraped, *old = NULL;

    for (size_t i = 0; i < SYN_AUTOSCALE_METRICS_MAX; i++) {
        if (syn_str_eq(rows[i].name, name))
            return &rows[i];
        if (rows[i].name[0] == '\0' || now_ms - rows[i].at_ms > TOLD_MS)
            old = &rows[i];
    }
    if (old != NULL)
        (void)syn_str_copy(old->name, sizeof(old->name), name);
    return old;
}

void
srv_loads_scraped(struct srv_loads *loads, const char *id, const char *name, int64_t value,
                  const char *trouble, int64_t now_ms)
{
    struct instance *instance;
    struct scraped *row = NULL;

    (void)pthread_mutex_lock(&loads->lock);
    instance = instance_at(loads, id);
    if (instance != NULL && instance->scraped == NULL)
        instance->scraped = syn_calloc(SYN_AUTOSCALE_METRICS_MAX, sizeof(*instance->scraped));
    if (instance != NULL && instance->scraped != NULL)
        row = scraped_row(instance, name, now_ms);
    if (row != NULL) {
        row->value = value;
        row->at_ms = now_ms;
        (void)syn_str_copy(row->trouble, sizeof(row->trouble), trouble);
    }
    (void)pthread_mutex_unlock(&loads->lock);
}

static int64_t
find_scraped(void *self, const char *id, const char *metric)
{
    const struct srv_loads_view *view = self;
    const struct instance *instance;
    int64_t value = SYN_AUTOSCALE_UNKNOWN;

    (void)pthread_mutex_lock(&view->loads->lock);
    instance = syn_map_find(view->loads->instances, id);
    for (size_t i = 0;
         instance != NULL && instance->scraped != NULL && i < SYN_AUTOSCALE_METRICS_MAX; i++)
        if (syn_str_eq(instance->scraped[i].name, metric) &&
            view->now_ms - instance->scraped[i].at_ms <= TOLD_MS)
            value = instance->scraped[i].value;
    (void)pthread_mutex_unlock(&view->loads->lock);
    return value;
}

/* What of the instance could not be read lately. */
static int
add_troubles(struct srv_loads *loads, const char *id, int64_t now_ms, json_t *why,
             struct syn_err *err)
{
    const struct instance *instance;
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&loads->lock);
    instance = syn_map_find(loads->instances, id);
    for (size_t i = 0; rc == SYN_OK && instance != NULL && instance->scraped != NULL &&
                       i < SYN_AUTOSCALE_METRICS_MAX;
         i++) {
        const struct scraped *row = &instance->scraped[i];
        char text[SCRAPED_TROUBLE_MAX + SYN_AUTOSCALE_KEY_MAX + SYN_ID_MAX + 32];
        json_t *said = NULL;

        if (row->trouble[0] == '\0' || now_ms - row->at_ms > TOLD_MS)
            continue;
        (void)snprintf(text, sizeof(text), "%s of %s is not known: %s", row->name, id,
                       row->trouble);
        rc = syn_json_pack(&said, err, "{s:s, s:s, s:s, s:s, s:s}", "dimension", "autoscale",
                           "node", "", "need", row->name, "have", "", "message", text);
        if (rc == SYN_OK)
            rc = syn_json_append_take(why, said, err);
    }
    (void)pthread_mutex_unlock(&loads->lock);
    return rc;
}

int
srv_loads_explain(struct srv_loads *loads, const json_t *service, int64_t now_ms, json_t *answer,
                  struct syn_err *err)
{
    const json_t *endpoint;
    size_t i;
    int rc = SYN_OK;

    if (json_object_get(syn_document_spec(service), "autoscale") == NULL)
        return SYN_OK;
    json_array_foreach (json_object_get(syn_document_status(service), "endpoints"), i, endpoint)
        if (rc == SYN_OK)
            rc = add_troubles(loads, syn_json_str(endpoint, "instance", ""), now_ms,
                              json_object_get(answer, "why"), err);
    return rc;
}

/* --- used ------------------------------------------------------------------------------------- */

/* The newest reports that make up a few seconds, as one. */
static struct point
lately(const struct instance *instance)
{
    struct point sum = {0};

    for (size_t i = 1; i <= SYN_MIN(instance->next, (size_t)RING) && sum.passed_ms < SPAN_MS; i++) {
        const struct point *point = &instance->ring[(instance->next - i) % RING];

        sum.cpu_ms += point->cpu_ms;
        sum.passed_ms += point->passed_ms;
        sum.sent_bytes += point->sent_bytes;
    }
    sum.passed_ms = SYN_MAX(sum.passed_ms, 1);
    return sum;
}

static struct syn_service_load
load_of(const struct instance *instance)
{
    const struct point point = lately(instance);

    return (struct syn_service_load){
        .at_ms = instance->heard_ms,
        .memory_bytes = instance->memory_bytes,
        .cpu_millicores = (int64_t)((syn_i128)point.cpu_ms * 1000 / point.passed_ms)};
}

bool
srv_loads_seen(struct srv_loads *loads, const char *id, int64_t now_ms, struct srv_load_seen *ret)
{
    const struct instance *instance;
    bool seen;

    (void)pthread_mutex_lock(&loads->lock);
    instance = syn_map_find(loads->instances, id);
    seen = instance != NULL && instance->next > 0 && now_ms - instance->heard_ms <= TOLD_MS;
    if (seen) {
        const struct point point = lately(instance);

        ret->load = load_of(instance);
        ret->sent_bps = (int64_t)((syn_i128)point.sent_bytes * 8000 / point.passed_ms);
    }
    (void)pthread_mutex_unlock(&loads->lock);
    return seen;
}

static bool
find_load(void *self, const char *id, struct syn_service_load *ret)
{
    const struct srv_loads_view *view = self;
    const struct instance *instance;
    bool known;

    (void)pthread_mutex_lock(&view->loads->lock);
    instance = syn_map_find(view->loads->instances, id);
    known = instance != NULL && instance->next > 0; /* it may only have been scraped */
    if (known)
        *ret = load_of(instance);
    (void)pthread_mutex_unlock(&view->loads->lock);
    return known;
}

/* --- services --------------------------------------------------------------------------------- */

static struct service *
service_at(struct srv_loads *loads, const char *id, struct syn_err *err)
{
    struct service *service = syn_map_find(loads->services, id);

    if (service != NULL)
        return service;
    if (syn_map_count(loads->services) >= SERVICES_MAX) {
        (void)SYN_FAIL(err, SYN_E_LIMIT, "numbers are told of %d services already", SERVICES_MAX);
        return NULL;
    }
    service = syn_calloc(1, sizeof(*service));
    if (service == NULL || syn_map_put_take(loads->services, id, service, NULL) < 0) {
        (void)SYN_FAIL(err, SYN_E_NOMEM, "no memory for a service's numbers");
        return NULL;
    }
    return service;
}

static int
tell(struct service *service, const char *name, int64_t value, int64_t now_ms, struct syn_err *err)
{
    struct told *told = NULL;

    for (size_t i = 0; i < service->count && told == NULL; i++)
        if (syn_str_eq(service->told[i].name, name) || now_ms - service->told[i].at_ms > TOLD_MS)
            told = &service->told[i];
    if (told == NULL && service->count == TOLD_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "at most %d numbers of a service", TOLD_MAX);
    if (told == NULL)
        told = &service->told[service->count++];
    for (size_t i = 0; i < service->count; i++) /* an older row of the name says nothing now */
        if (syn_str_eq(service->told[i].name, name))
            service->told[i].name[0] = '\0';
    (void)syn_str_copy(told->name, sizeof(told->name), name);
    told->value = value;
    told->at_ms = now_ms;
    return SYN_OK;
}

int
srv_loads_tell(struct srv_loads *loads, const char *service, const char *name, int64_t value,
               int64_t now_ms, struct syn_err *err)
{
    struct service *known;
    int rc;

    (void)pthread_mutex_lock(&loads->lock);
    known = service_at(loads, service, err);
    rc = known == NULL ? SYN_E_LIMIT : tell(known, name, value, now_ms, err);
    (void)pthread_mutex_unlock(&loads->lock);
    return rc;
}

/* Requests a second since the oldest mark of the last seconds; UNKNOWN with one mark alone. */
static int64_t
rate_of(struct service *service, uint64_t requests, int64_t now_ms)
{
    const struct mark *from = NULL;
    size_t have = SYN_MIN(service->next, (size_t)RING);

    for (size_t i = 1; i <= have; i++) {
        const struct mark *mark = &service->marks[(service->next - i) % RING];

        if (mark->requests > requests || mark->at_ms >= now_ms || now_ms - mark->at_ms > TOLD_MS)
            break; /* it was started anew, or nobody looked for long */
        from = mark;
        if (now_ms - mark->at_ms >= SPAN_MS)
            break;
    }
    if (have == 0 || now_ms - service->marks[(service->next - 1) % RING].at_ms >= MARK_MS)
        service->marks[service->next++ % RING] = (struct mark){now_ms, requests};
    if (from == NULL || now_ms - from->at_ms < MARK_MS)
        return SYN_AUTOSCALE_UNKNOWN;
    return (int64_t)((syn_u128)(requests - from->requests) * 1000000 /
                     (uint64_t)(now_ms - from->at_ms));
}

void
srv_loads_count(struct srv_loads *loads, const char *id, uint64_t requests, uint64_t open,
                int64_t now_ms)
{
    struct service *service;
    int64_t rate;

    (void)pthread_mutex_lock(&loads->lock);
    service = service_at(loads, id, NULL);
    if (service != NULL) {
        rate = rate_of(service, requests, now_ms);
        if (rate != SYN_AUTOSCALE_UNKNOWN)
            (void)!tell(service, "requests", rate, now_ms, NULL);
        (void)!tell(service, "inflight", (int64_t)SYN_MIN(open, 1000000000U) * 1000, now_ms, NULL);
    }
    (void)pthread_mutex_unlock(&loads->lock);
}

void
srv_loads_forget_service(struct srv_loads *loads, const char *service)
{
    (void)pthread_mutex_lock(&loads->lock);
    (void)syn_map_remove(loads->services, service);
    (void)pthread_mutex_unlock(&loads->lock);
}

static int64_t
find_total(void *self, const char *metric)
{
    const struct srv_loads_view *view = self;
    const struct service *service;
    int64_t value = SYN_AUTOSCALE_UNKNOWN;

    (void)pthread_mutex_lock(&view->loads->lock);
    service = syn_map_find(view->loads->services, view->service);
    for (size_t i = 0; service != NULL && i < service->count; i++)
        if (syn_str_eq(service->told[i].name, metric) &&
            view->now_ms - service->told[i].at_ms <= TOLD_MS)
            value = service->told[i].value;
    (void)pthread_mutex_unlock(&view->loads->lock);
    return value;
}

/* --- time zones ------------------------------------------------------------------------------- */

static struct syn_zone *
read_zone(const char *name)
{
    char path[sizeof(ZONEINFO) + SYN_ZONE_NAME_MAX + 1];
    struct syn_zone *zone = NULL;
    struct stat st;
    char *bytes;
    ssize_t len;
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", ZONEINFO, name);
    fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    bytes = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? syn_alloc(SYN_ZONE_BYTES_MAX + 1) : NULL;
    len = bytes != NULL ? read(fd, bytes, SYN_ZONE_BYTES_MAX + 1) : -1;
    if (len >= 0)
        (void)!syn_zone_read(bytes, (size_t)len, &zone, NULL);
    syn_free(bytes);
    (void)close(fd);
    return zone;
}

/* What is found stays as long as the server: rules that a country changes count after a restart. */
static const struct syn_zone *
find_zone(void *self, const char *name)
{
    struct srv_loads *loads = self;
    struct syn_zone *zone;

    if (syn_str_eq(name, "UTC"))
        return syn_zone_utc();
    if (!syn_zone_name_ok(name))
        return NULL;
    (void)pthread_mutex_lock(&loads->lock);
    zone = syn_map_find(loads->zones, name);
    if (zone == NULL && syn_map_count(loads->zones) < ZONES_MAX) {
        zone = read_zone(name);
        if (zone != NULL && syn_map_put_take(loads->zones, name, zone, NULL) < 0)
            zone = NULL;
    }
    (void)pthread_mutex_unlock(&loads->lock);
    return zone;
}

struct syn_zone_source
srv_loads_zones(struct srv_loads *loads)
{
    return (struct syn_zone_source){find_zone, loads};
}

void
srv_loads_look(struct srv_loads *loads, const char *service, int64_t now_ms,
               struct srv_loads_view *ret)
{
    int64_t held;

    *ret = (struct srv_loads_view){.loads = loads, .service = service, .now_ms = now_ms};
    ret->zones = srv_loads_zones(loads);
    ret->sight = (struct syn_service_loads){
        .of = find_load,
        .total = find_total,
        .scraped = find_scraped,
        .self = ret,
    };
    held = SYN_MAX(find_total(ret, "held"), 0) + SYN_MAX(find_total(ret, SRV_LOADS_MESH_HELD), 0);
    ret->sight.held = (uint32_t)SYN_MIN(held / 1000, UINT32_MAX);
}

/* --- the route -------------------------------------------------------------------------------- */

/* A number as JSON has it, in thousandths. */
static int
thousandths(const char *name, const json_t *value, int64_t *ret, struct syn_err *err)
{
    const double most = (double)SYN_AUTOSCALE_VALUE_MAX / 1000;
    double number = json_is_number(value) ? json_number_value(value) : -1;

    if (!(number >= 0 && number <= most))
        return SYN_FAIL(err, SYN_E_INVALID, "metrics.%.80s: expected a number of 0 to %.0f", name,
                        most);
    *ret = (int64_t)(number * 1000 + 0.5);
    return SYN_OK;
}

static int
check_name(const char *name, struct syn_err *err)
{
    struct syn_autoscale_metric metric;
    char text[SYN_AUTOSCALE_KEY_MAX + 3];

    (void)snprintf(text, sizeof(text), "%.*s=1", SYN_AUTOSCALE_KEY_MAX, name);
    if (syn_autoscale_parse_metric(text, &metric, NULL) < 0 || metric.kind == SYN_AUTOSCALE_CPU ||
        metric.kind == SYN_AUTOSCALE_MEMORY)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "metrics: \"%.80s\": expected requests, inflight, queue or custom:NAME",
                        name);
    return SYN_OK;
}

int
srv_loads_post(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    int64_t now_ms = syn_wall_ms(server->world), revision = 0, value = 0;
    const char *name;
    json_t *number;
    SYN_JSON(service);
    SYN_JSON(answer);
    int rc = srv_work_load(server, &srv_service, req, &service, &revision, err);

    if (rc == SYN_OK)
        rc = srv_service_mine(service, err);
    json_object_foreach (json_object_get(syn_http_req_json(req), "metrics"), name, number) {
        if (rc == SYN_OK)
            rc = check_name(name, err);
        if (rc == SYN_OK)
            rc = thousandths(name, number, &value, err);
        if (rc == SYN_OK)
            rc = srv_loads_tell(server->loads, syn_document_id(service), name, value, now_ms, err);
    }
    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:I}", "until_ms", (json_int_t)now_ms + TOLD_MS);
    if (rc < 0)
        return rc;
    srv_controller_poke(server->controller, syn_document_id(service));
    return syn_http_reply_json(req, 200, answer, err);
}

int
srv_loads_post_scraped(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    int64_t now_ms = syn_wall_ms(server->world), value = 0;
    const json_t *body = syn_http_req_json(req);
    const char *name;
    json_t *number, *text;
    SYN_JSON(instance);
    SYN_JSON(answer);
    int rc = srv_instance_mine(server, req, &instance, err);

    json_object_foreach (json_object_get(body, "metrics"), name, number) {
        if (rc == SYN_OK)
            rc = check_name(name, err);
        if (rc == SYN_OK)
            rc = thousandths(name, number, &value, err);
        if (rc == SYN_OK)
            srv_loads_scraped(server->loads, syn_document_id(instance), name, value, "", now_ms);
    }
    json_object_foreach (json_object_get(body, "trouble"), name, text) {
        if (rc == SYN_OK)
            rc = check_name(name, err);
        if (rc == SYN_OK)
            srv_loads_scraped(server->loads, syn_document_id(instance), name, SYN_AUTOSCALE_UNKNOWN,
                              json_string_value(text), now_ms);
    }
    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:I}", "until_ms", (json_int_t)now_ms + TOLD_MS);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}
