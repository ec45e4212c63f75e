#include "suite_run_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

#define TEXT_MAX       ((size_t)64 << 20)
#define LEFTOVER_TRIES 200

const struct syn_runtime_suite *syn_suite;
static unsigned instance_number;

void
syn_run_name(struct syn_run *run)
{
    *run = (struct syn_run){0};
    (void)snprintf(run->id, sizeof(run->id), "test-%u", ++instance_number);
    (void)snprintf(run->dir, sizeof(run->dir), "%s/%s", syn_suite->dir, run->id);
}

void
syn_run_prepare(struct syn_run *run, struct syn_instance_spec *spec)
{
    struct syn_err err = {0};

    syn_run_name(run);
    spec->id = run->id;
    spec->dir = run->dir;
    if (spec->scratch_bytes == 0)
        spec->scratch_bytes = 16 * MIB;
    assert_done(CALL(prepare, spec, &run->instance, &err), &err);
}

void
syn_run_start(struct syn_run *run, struct syn_instance_spec *spec)
{
    struct syn_err err = {0};

    syn_run_prepare(run, spec);
    assert_done(CALL(start, run->instance, &err), &err);
}

void
syn_run_await(struct syn_run *run)
{
    struct syn_err err = {0};
    struct pollfd ended;
    int fd = -1;

    assert_done(CALL(exit_fd, run->instance, &fd, &err), &err);
    ended = (struct pollfd){.fd = fd, .events = POLLIN};
    if (poll(&ended, 1, SYN_SUITE_END_MS) != 1)
        fail_msg("%s did not end within %d s", run->id, SYN_SUITE_END_MS / 1000);
    (void)close(fd);
    assert_done(CALL(poll, run->instance, &run->status, &err), &err);
    assert_int_equal(run->status.state, SYN_INSTANCE_EXITED);
}

void
syn_suite_read_text(const char *path, struct syn_buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got;

    if (fd < 0)
        return;
    for (;;) {
        char *room = syn_buf_reserve(out, 65536);

        assert_non_null(room);
        got = read(fd, room, 65536);
        if (got <= 0)
            break;
        out->len += (size_t)got;
        assert_true(out->len < TEXT_MAX);
    }
    (void)close(fd);
    syn_buf_adds(out, "");
}

void
syn_run_read_log(struct syn_run *run)
{
    SYN_BUF(text);
    const char *line;

    syn_suite_read_text(syn_suite->runtime.ops->paths(run->instance)->log, &text);
    line = syn_buf_text(&text);
    while (*line != '\0') {
        struct syn_log_record record;
        struct syn_err err = {0};
        size_t len = strcspn(line, "\n");
        struct syn_buf *to;

        assert_done(syn_log_record_parse(line, len, &record, &err), &err);
        to = syn_str_eq(record.stream, "stdout")   ? &run->out
             : syn_str_eq(record.stream, "stderr") ? &run->err
                                                   : &run->remarks;
        syn_buf_add(to, record.text, record.text_len);
        if (!record.partial)
            syn_buf_addc(to, '\n');
        line += len + 1;
    }
}

void
syn_run_end(struct syn_run *run)
{
    struct syn_err err = {0};
    char left[1024] = "";

    run->instance = syn_suite->runtime.ops->close(run->instance);
    assert_done(CALL(destroy, run->dir, &err), &err);
    assert_int_equal(access(run->dir, F_OK), -1);
    /* The kernel lets go of a dead namespace's mounts, and of their devices, a moment later. */
    for (int i = 0; i < LEFTOVER_TRIES; i++) {
        left[0] = '\0';
        syn_suite->leftovers(run->dir, left, sizeof(left));
        if (left[0] == '\0')
            break;
        (void)poll(NULL, 0, 10);
    }
    assert_string_equal(left, "");
    syn_buf_fini(&run->out);
    syn_buf_fini(&run->err);
    syn_buf_fini(&run->remarks);
}

void
syn_run_all(struct syn_run *run, struct syn_instance_spec *spec)
{
    syn_run_start(run, spec);
    syn_run_await(run);
    syn_run_read_log(run);
}

void
syn_run_shell(struct syn_run *run, const char *script)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    struct syn_instance_spec spec = {.argv = argv};

    syn_run_all(run, &spec);
}

struct syn_usage_sample
syn_run_usage(const struct syn_run *run)
{
    struct syn_usage_sample sum = {0}, usage;
    SYN_BUF(text);

    syn_suite_read_text(syn_suite->runtime.ops->paths(run->instance)->usage, &text);
    for (const char *line = syn_buf_text(&text); *line != '\0'; line += strcspn(line, "\n") + 1) {
        struct syn_err err = {0};

        assert_done(syn_usage_parse(line, strcspn(line, "\n"), &usage, &err), &err);
        assert_true(usage.to_ms > usage.from_ms);
        sum.cpu_ms += usage.cpu_ms;
        sum.throttled_ms += usage.throttled_ms;
    }
    return sum;
}

void
syn_suite_assert_reason(const struct syn_run *run, enum syn_exit_reason reason)
{
    if (run->status.reason != reason)
        fail_msg("%s: %s, want %s: %s\nstdout: %s\nstderr: %s", run->id,
                 syn_exit_reason_name(run->status.reason), syn_exit_reason_name(reason),
                 run->status.message, syn_buf_text(&run->out), syn_buf_text(&run->err));
    assert_true(run->status.message[0] != '\0');
}

void
syn_suite_assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in \"%s\"", part, text);
}

void
syn_suite_assert_has_not(const char *text, const char *part)
{
    if (strstr(text, part))
        fail_msg("\"%s\" is in \"%s\"", part, text);
}
