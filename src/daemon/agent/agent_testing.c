#include "agent_testing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <synor/base/str.h>

#define HEAD_MAX 8192

/* One request as it came. */
struct request {
    char method[16], path[4096];
    char *body;
    size_t len;
};

/* One answer as it goes; the text is the caller's. */
struct reply {
    int status;
    char *body;
    size_t len;
};

/* ---- answers ---- */

static void say(struct reply *reply, int status, const char *format, ...) SYN_PRINTF(3, 4);

static void
say(struct reply *reply, int status, const char *format, ...)
{
    va_list args;

    reply->status = status;
    va_start(args, format);
    assert_true(vasprintf(&reply->body, format, args) >= 0);
    va_end(args);
    reply->len = strlen(reply->body);
}

static void
refuse(struct reply *reply, int status, const char *code, int64_t received)
{
    say(reply, status,
        "{\"code\":\"%s\",\"message\":\"as told\",\"details\":{\"received_bytes\":%" PRId64 "}}",
        code, received);
}

static int64_t
query_number(const char *path, const char *name)
{
    const char *at = strstr(path, name);

    return at ? strtoll(at + strlen(name), NULL, 10) : -1;
}

static void
take_bytes(const struct request *request, char *store, int64_t *len, struct reply *reply)
{
    int64_t offset = query_number(request->path, "offset=");

    if (offset != *len) {
        refuse(reply, 409, "conflict", *len);
        return;
    }
    assert_true(*len + (int64_t)request->len <= FAKE_BYTES_MAX);
    memcpy(store + *len, request->body, request->len);
    *len += (int64_t)request->len;
    say(reply, 200, "{\"received_bytes\":%" PRId64 "}", *len);
}

static void
take_usage(struct fake *fake, const struct request *request, struct reply *reply)
{
    json_t *body;
    json_t *samples;
    int64_t first;

    if (fake->settled) {
        refuse(reply, 412, "precondition-failed", 0);
        return;
    }
    if (syn_str_eq(request->method, "GET")) {
        say(reply, 200, "{\"seq\":%" PRId64 "}", fake->usage_seq);
        return;
    }
    body = json_loadb(request->body, request->len, 0, NULL);
    if (!body) { /* a test that makes memory short makes ours short too */
        refuse(reply, 503, "unavailable", 0);
        return;
    }
    samples = json_object_get(body, "samples");
    assert_true(json_array_size(samples) > 0);
    first = syn_json_i64(json_array_get(samples, 0), "seq", 0);
    if (first != fake->usage_seq + 1) {
        refuse(reply, 409, "conflict", 0);
    } else {
        for (size_t i = 0; i < json_array_size(samples); i++) {
            fake->egress_bytes += syn_json_i64(json_array_get(samples, i), "egress_bytes", 0);
            if (fake->usage_samples + (int64_t)i < (int64_t)SYN_LEN(fake->usage_peaks))
                fake->usage_peaks[fake->usage_samples + (int64_t)i] = syn_json_i64(
                    json_object_get(json_array_get(samples, i), "used"), "memory_peak_bytes", -1);
        }
        fake->usage_samples += (int64_t)json_array_size(samples);
        fake->usage_seq += (int64_t)json_array_size(samples);
        say(reply, 200, "{\"seq\":%" PRId64 "}", fake->usage_seq);
    }
    json_decref(body);
}

static void
take_file(struct fake *fake, const struct request *request, struct reply *reply)
{
    const char *name = strstr(request->path, "&path=") + strlen("&path=");
    int at = 0;

    while (at < fake->files_count && !syn_str_eq(fake->files[at], name))
        at++;
    assert_true(at < FAKE_FILES_MAX);
    (void)snprintf(fake->files[at], sizeof(fake->files[at]), "%s", name);
    fake->sizes[at] = (int64_t)request->len;
    fake->files_count += at == fake->files_count;
    say(reply, 200, "{\"received_bytes\":%zu}", request->len);
}

static void
commit(struct fake *fake, struct reply *reply)
{
    char *text = fake->commits[fake->commits_count];
    size_t cap = sizeof(fake->commits[0]), len = 0;

    assert_true(fake->commits_count < FAKE_COMMITS_MAX);
    for (int i = 0; i < fake->files_count; i++)
        len += (size_t)snprintf(text + len, cap - len, "%s=%" PRId64 " ", fake->files[i],
                                fake->sizes[i]);
    fake->commits_count++;
    fake->uploads_open--;
    say(reply, 200, "{\"cid\":\"cid-%d\",\"size_bytes\":1,\"files\":1}", fake->commits_count);
}

static void
handle_upload(struct fake *fake, const struct request *request, struct reply *reply)
{
    if (syn_str_eq(request->path, "/v1/uploads")) {
        fake->files_count = 0;
        fake->uploads_open++;
        say(reply, 201, "{\"id\":\"up-1\"}");
    } else if (syn_str_eq(request->method, "DELETE")) {
        fake->uploads_open--;
        say(reply, 200, "{}");
    } else if (strstr(request->path, "/commit")) {
        commit(fake, reply);
    } else {
        take_file(fake, request, reply);
    }
}

static int
collect_car(void *arg, const void *data, size_t len, struct syn_err *err)
{
    struct reply *reply = arg;
    char *grown = realloc(reply->body, reply->len + len);

    (void)err;
    assert_non_null(grown);
    memcpy(grown + reply->len, data, len);
    reply->body = grown;
    reply->len += len;
    return 0;
}

static void
handle_content(struct fake *fake, const struct request *request, struct reply *reply)
{
    const char *text = request->path + strlen("/v1/content/");
    size_t len = strcspn(text, "/");
    struct syn_content_stat stat;
    struct syn_cid cid;

    if (!fake->content || syn_cid_parse(text, len, &cid, NULL) < 0 ||
        syn_content_stat(fake->content, &cid, &stat, NULL) < 0) {
        refuse(reply, 404, "not-found", 0);
    } else if (text[len] == '\0') {
        say(reply, 200, "{\"size_bytes\":%" PRIu64 "}", stat.size);
    } else {
        reply->status = 200;
        assert_int_equal(syn_content_car_export(fake->content, &cid, 1, collect_car, reply, NULL),
                         0);
        if (fake->car_cut > 0 && (size_t)fake->car_cut < reply->len)
            reply->len = (size_t)fake->car_cut;
    }
}

static void
take_status(struct fake *fake, const struct request *request, struct reply *reply)
{
    json_t *status = json_loadb(request->body, request->len, 0, NULL);
    size_t len = strlen(fake->told);

    if (!status) {
        refuse(reply, 503, "unavailable", 0);
        return;
    }
    json_decref(fake->status);
    fake->status = status;
    fake->status_count++;
    (void)snprintf(fake->told + len, sizeof(fake->told) - len, "%s/%s ",
                   syn_json_str(status, "state", "?"), syn_json_str(status, "reason", "?"));
    say(reply, 200, "{}");
}

/* Is this one of those that a test wants to go wrong? */
static bool
meant(const char *last, const char *begin, int *count)
{
    if (*count <= 0 || !syn_str_starts(last, begin))
        return false;
    (*count)--;
    return true;
}

static void
handle(struct fake *fake, const struct request *request, struct reply *reply)
{
    const char *last = strrchr(request->path, '/') + 1;

    if (meant(last, fake->refuse, &fake->refusals))
        say(reply, fake->refuse_status, "%s", fake->refuse_body);
    else if (syn_str_starts(request->path, "/v1/uploads"))
        handle_upload(fake, request, reply);
    else if (syn_str_starts(request->path, "/v1/content/"))
        handle_content(fake, request, reply);
    else if (syn_str_starts(last, "logs"))
        take_bytes(request, fake->logs, &fake->logs_len, reply);
    else if (syn_str_starts(last, "progress"))
        take_bytes(request, fake->progress, &fake->progress_len, reply);
    else if (syn_str_eq(last, "usage"))
        take_usage(fake, request, reply);
    else if (syn_str_eq(last, "secrets"))
        say(reply, 200,
            "{\"env\":{\"TOKEN\":\"s3cr3t\",\"A\":\"late\"},\"files\":{\"/run/key\":\"k3y\"}}");
    else if (syn_str_eq(last, "checkpoints") || syn_str_eq(last, "result")) {
        (void)snprintf(fake->announced[fake->announced_count++], 32, "%s", last);
        say(reply, 200, "{}");
    } else if (syn_str_eq(last, "status")) {
        take_status(fake, request, reply);
    } else {
        refuse(reply, 404, "not-found", 0);
    }
}

/* ---- HTTP, as little as will do ---- */

static bool
read_request(int fd, struct request *request)
{
    char head[HEAD_MAX + 1];
    size_t len = 0, have;
    const char *end = NULL, *length;
    ssize_t got;

    while (!end && len < HEAD_MAX && (got = read(fd, head + len, HEAD_MAX - len)) > 0) {
        len += (size_t)got;
        head[len] = '\0';
        end = strstr(head, "\r\n\r\n");
    }
    if (!end || sscanf(head, "%15s %4095s", request->method, request->path) != 2)
        return false;
    length = strcasestr(head, "\r\nContent-Length:");
    request->len = length && length < end ? strtoull(length + 17, NULL, 10) : 0;
    request->body = malloc(request->len + 1);
    assert_non_null(request->body);
    if (strcasestr(head, "\r\nExpect: 100-continue")) /* else the client waits a second */
        (void)!send(fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL);
    have = SYN_MIN(len - (size_t)(end + 4 - head), request->len);
    memcpy(request->body, end + 4, have);
    while (have < request->len && (got = read(fd, request->body + have, request->len - have)) > 0)
        have += (size_t)got;
    return have == request->len;
}

static void
write_reply(int fd, const struct reply *reply)
{
    char head[256];
    int len = snprintf(head, sizeof(head),
                       "HTTP/1.1 %d X\r\nContent-Type: application/json\r\n"
                       "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                       reply->status, reply->len);

    (void)!send(fd, head, (size_t)len, MSG_NOSIGNAL); /* who asked may be gone */
    for (size_t at = 0; at < reply->len;) {
        ssize_t put = send(fd, reply->body + at, reply->len - at, MSG_NOSIGNAL);

        if (put <= 0)
            break;
        at += (size_t)put;
    }
}

static void
serve(struct fake *fake, int fd)
{
    struct request request = {.body = NULL};
    struct reply reply = {.body = NULL};
    int late_ms = 0;
    bool cut;

    if (read_request(fd, &request)) {
        (void)pthread_mutex_lock(&fake->lock);
        fake->requests++;
        cut = fake->fault == FAKE_AWAY ||
              (fake->fault != FAKE_NONE && fake->requests == fake->fail_at);
        if (!cut && meant(strrchr(request.path, '/') + 1, fake->late, &fake->lates))
            late_ms = fake->late_ms;
        if (!cut || fake->fault == FAKE_AFTER)
            handle(fake, &request, &reply);
        (void)pthread_mutex_unlock(&fake->lock);
        (void)poll(NULL, 0, late_ms);
        if (!cut)
            write_reply(fd, &reply);
    }
    free(request.body);
    free(reply.body);
}

static void *
fake_main(void *arg)
{
    struct fake *fake = arg;

    for (;;) {
        struct pollfd ready[] = {{fake->listener, POLLIN, 0}, {fake->stop[0], POLLIN, 0}};
        int fd;

        (void)poll(ready, 2, -1);
        if (ready[1].revents)
            return NULL;
        fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            serve(fake, fd);
            (void)close(fd);
        }
    }
}

int
fake_requests(struct fake *fake)
{
    int requests;

    (void)pthread_mutex_lock(&fake->lock);
    requests = fake->requests;
    (void)pthread_mutex_unlock(&fake->lock);
    return requests;
}

void
fake_fail(struct fake *fake, int at, enum fake_fault fault)
{
    (void)pthread_mutex_lock(&fake->lock);
    fake->requests = 0;
    fake->fail_at = at;
    fake->fault = fault;
    (void)pthread_mutex_unlock(&fake->lock);
}

void
fake_refuse(struct fake *fake, const char *last, int count, int status, const char *body)
{
    (void)pthread_mutex_lock(&fake->lock);
    fake->refuse = last;
    fake->refusals = count;
    fake->refuse_status = status;
    fake->refuse_body = body;
    (void)pthread_mutex_unlock(&fake->lock);
}

void
fake_dawdle(struct fake *fake, const char *last, int count, int ms)
{
    (void)pthread_mutex_lock(&fake->lock);
    fake->late = last;
    fake->lates = count;
    fake->late_ms = ms;
    (void)pthread_mutex_unlock(&fake->lock);
}

static void
fake_open(struct fake *fake, const char *dir)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    (void)snprintf(fake->path, sizeof(fake->path), "%.90s/socket", dir);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", fake->path);
    assert_int_equal(pthread_mutex_init(&fake->lock, NULL), 0);
    assert_int_equal(pipe2(fake->stop, O_CLOEXEC), 0);
    fake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fake->listener, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fake->listener, 16), 0);
    assert_int_equal(pthread_create(&fake->thread, NULL, fake_main, fake), 0);
}

static void
fake_close(struct fake *fake)
{
    assert_int_equal(write(fake->stop[1], "", 1), 1);
    assert_int_equal(pthread_join(fake->thread, NULL), 0);
    (void)close(fake->listener);
    (void)close(fake->stop[0]);
    (void)close(fake->stop[1]);
    (void)pthread_mutex_destroy(&fake->lock);
    json_decref(fake->status);
}

/* ---- the bench ---- */

static int64_t passed_ms;

void
bench_pass_ms(int64_t ms)
{
    passed_ms += ms;
}

static int64_t
bench_wall_ms(void *self)
{
    (void)self;
    return syn_wall_ms(syn_world_system()) + passed_ms;
}

static int64_t
bench_mono_ns(void *self)
{
    (void)self;
    return (syn_mono_ms(syn_world_system()) + passed_ms) * 1000000;
}

static void
bench_random(void *self, void *out, size_t len)
{
    (void)self;
    syn_world_system()->ops->random(syn_world_system()->self, out, len);
}

static const struct syn_world_ops bench_ops = {SYN_WORLD_VERSION, bench_wall_ms, bench_mono_ns,
                                               bench_random};
static const struct syn_world bench_world = {&bench_ops, NULL};

const char *
bench_path(const struct bench *bench, const char *name)
{
    static char paths[4][AGT_PATH_MAX + 512];
    static unsigned next;

    next = (next + 1) % SYN_LEN(paths);
    (void)snprintf(paths[next], sizeof(paths[next]), "%s/%s", bench->agent.data_dir, name);
    return paths[next];
}

void
bench_put(const struct bench *bench, const char *name, const char *data, size_t len)
{
    int fd = open(bench_path(bench, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    (void)close(fd);
}

static void
make_folders(struct bench *bench)
{
    static const char *const folders[] = {"",    "instances",   "jobs",       "jobs/inst-1",
                                          "run", "run/scratch", "run/output", "run/checkpoints"};
    static const char *const names[] = {"run/log", "run/usage.log", "run/checkpoints", "run/output",
                                        "run/scratch"};

    for (size_t i = 0; i < SYN_LEN(folders); i++)
        assert_int_equal(mkdir(bench_path(bench, folders[i]), 0755), 0);
    for (size_t i = 0; i < SYN_LEN(names); i++)
        (void)snprintf(bench->texts[i], sizeof(bench->texts[i]), "%s", bench_path(bench, names[i]));
    bench->paths = (struct syn_instance_paths){.log = bench->texts[0],
                                               .usage = bench->texts[1],
                                               .checkpoints = bench->texts[2],
                                               .output = bench->texts[3],
                                               .scratch = bench->texts[4]};
}

static void
make_agent(struct bench *bench)
{
    struct syn_agent *agent = &bench->agent;
    struct syn_content_opts options = {.dir = NULL};
    pthread_condattr_t attributes;
    struct syn_err err = {0};

    agent->world = &bench_world;
    agent->pace = (struct agt_pace){
        .beat_ms = 50, .ship_ms = 20, .retry_ms = 5, .answer_ms = 10000, .devices_ms = 10000};
    (void)pthread_mutex_init(&agent->lock, NULL);
    (void)pthread_mutex_init(&agent->fetch_lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&agent->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    (void)syn_str_copy(agent->server, sizeof(agent->server), bench->fake.path);
    (void)syn_str_copy(agent->node_id, sizeof(agent->node_id), "node-1");
    assert_done(syn_key_new(&agent->key, &err), &err);
    assert_done(syn_map_new(NULL, &agent->instances, &err), &err);
    options.dir = bench_path(bench, "content");
    assert_done(syn_content_open(&options, &agent->content, &err), &err);
    assert_done(agt_cache_init(&agent->cache, agent->data_dir, 0, &err), &err);
    agent->cache.content = agent->content;
    atomic_store(&agent->stop, true);
}

struct bench *
bench_open(void)
{
    static unsigned number;
    struct bench *bench = calloc(1, sizeof(*bench));
    struct agt_instance *instance;
    struct syn_err err = {0};
    json_t *doc;

    assert_non_null(bench);
    syn_json_init();
    (void)snprintf(bench->agent.data_dir, sizeof(bench->agent.data_dir), "%.60s/%u", syn_test_dir(),
                   number++);
    make_folders(bench);
    fake_open(&bench->fake, bench->agent.data_dir);
    make_agent(bench);
    instance = &bench->instance;
    instance->agent = &bench->agent;
    instance->paths = &bench->paths;
    (void)syn_str_copy(instance->id, sizeof(instance->id), "inst-1");
    doc = json_pack("{s:s, s:{s:{s:i, s:i, s:i}}, s:{}}", "id", "inst-1", "spec", "resources",
                    "cpu_millicores", 1000, "memory_bytes", 1 << 20, "scratch_bytes", 1 << 20,
                    "status");
    instance->doc = agt_doc_new(doc);
    json_decref(doc);
    assert_non_null(instance->doc);
    assert_done(agt_client_new(&bench->agent, "token", &instance->client, &err), &err);
    return bench;
}

void
bench_close(struct bench *bench)
{
    struct syn_agent *agent = &bench->agent;

    bench->instance.client = syn_client_free(bench->instance.client);
    (void)agt_doc_unref(bench->instance.doc);
    fake_close(&bench->fake);
    agt_cache_fini(&agent->cache);
    agent->content = syn_content_close(agent->content);
    agent->instances = syn_map_free(agent->instances);
    agent->key = syn_key_free(agent->key);
    (void)pthread_cond_destroy(&agent->wake);
    (void)pthread_mutex_destroy(&agent->fetch_lock);
    (void)pthread_mutex_destroy(&agent->lock);
    free(bench);
}
