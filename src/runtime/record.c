#include "native/record_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/units.h>

#include "native/file_priv.h"
#include "native/plan_priv.h"

#define TAIL_BYTES 4096

static const char *const reason_names[] = {
#define REASON_NAME(symbol, name) [SYN_EXIT_##symbol] = name,
    SYN_EXIT_REASONS(REASON_NAME)
#undef REASON_NAME
};

const char *
syn_exit_reason_name(enum syn_exit_reason reason)
{
    assert((unsigned)reason < SYN_LEN(reason_names));
    return reason_names[reason];
}

int
syn_log_record_parse(const char *line, size_t len, struct syn_log_record *ret, struct syn_err *err)
{
    struct syn_log_record record = {0};
    const char *end = line + len;
    const char *stream = memchr(line, ' ', len);
    const char *flag = stream ? memchr(stream + 1, ' ', (size_t)(end - stream - 1)) : NULL;
    char time[40];
    size_t time_len = stream ? (size_t)(stream - line) : 0;
    size_t stream_len = flag ? (size_t)(flag - stream - 1) : 0;

    if (!flag || time_len >= sizeof(time) || stream_len >= sizeof(record.stream) ||
        end - flag < 3 || flag[2] != ' ' || (flag[1] != 'F' && flag[1] != 'P'))
        return SYN_FAIL(err, SYN_E_INVALID, "not a log record");
    memcpy(time, line, time_len);
    time[time_len] = '\0';
    if (syn_parse_time(time, &record.time_ms, NULL) < 0)
        return SYN_FAIL(err, SYN_E_INVALID, "not a log record: bad time");
    memcpy(record.stream, stream + 1, stream_len);
    record.partial = flag[1] == 'P';
    record.text = flag + 3;
    record.text_len = (size_t)(end - record.text);
    *ret = record;
    return SYN_OK;
}

/* Names of a usage line, once, for writer and reader. */
static const struct {
    const char *key;
    size_t offset;
    bool optional; /* left out when 0 */
} usage_fields[] = {
#define USAGE_FIELD(name)                                     \
    {                                                         \
#name, offsetof(struct syn_usage_sample, name), false \
    }
#define NETWORK_FIELD(name)                                  \
    {                                                        \
#name, offsetof(struct syn_usage_sample, name), true \
    }
    USAGE_FIELD(seq),
    USAGE_FIELD(from_ms),
    USAGE_FIELD(to_ms),
    USAGE_FIELD(cpu_ms),
    USAGE_FIELD(memory_bytes),
    USAGE_FIELD(memory_peak_bytes),
    USAGE_FIELD(scratch_bytes),
    USAGE_FIELD(pids),
    USAGE_FIELD(throttled_ms),
    NETWORK_FIELD(egress_bytes),
    NETWORK_FIELD(node_bytes),
    NETWORK_FIELD(account_bytes),
    NETWORK_FIELD(received_bytes),
#undef USAGE_FIELD
#undef NETWORK_FIELD
};

static int64_t *
usage_slot(struct syn_usage_sample *usage, size_t i)
{
    return (int64_t *)(void *)((char *)usage + usage_fields[i].offset);
}

void
syn_usage_format(const struct syn_usage_sample *usage, struct syn_buf *out)
{
    struct syn_usage_sample copy = *usage;

    for (size_t i = 0; i < SYN_LEN(usage_fields); i++) {
        if (!usage_fields[i].optional || *usage_slot(&copy, i) != 0)
            syn_buf_addf(out, "%s\"%s\":%lld", i == 0 ? "{" : ",", usage_fields[i].key,
                         (long long)*usage_slot(&copy, i));
    }
    syn_buf_adds(out, "}\n");
}

int
syn_usage_parse(const char *line, size_t len, struct syn_usage_sample *ret, struct syn_err *err)
{
    SYN_JSON(doc);
    struct syn_usage_sample usage = {0};
    int rc = syn_json_parse_object(line, len, &doc, err);

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(usage_fields); i++) {
        if (usage_fields[i].optional && !json_object_get(doc, usage_fields[i].key))
            continue;
        rc = syn_json_get_i64(doc, "usage", usage_fields[i].key, 0, INT64_MAX,
                              usage_slot(&usage, i), err);
    }
    if (rc == SYN_OK && (usage.seq < 1 || usage.to_ms < usage.from_ms))
        rc = SYN_FAIL(err, SYN_E_INVALID, "usage: interval ends before it begins");
    if (rc == SYN_OK)
        *ret = usage;
    return rc;
}

int
syn_usage_last(int dirfd, struct syn_usage_sample *ret, struct syn_err *err)
{
    char tail[TAIL_BYTES];
    SYN_FD(fd);
    off_t size;
    ssize_t got;

    fd = openat(dirfd, SYN_FILE_USAGE, O_RDONLY | O_CLOEXEC);
    size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    if (size <= 0)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "no usage sample yet");
    got = pread(fd, tail, sizeof(tail), SYN_MAX(size - TAIL_BYTES, 0));
    if (got < 0)
        return SYN_FAIL_SYS(err, errno, "reading %s", SYN_FILE_USAGE);
    /* The last complete line; a torn one behind it is being written. */
    while (got > 0 && tail[got - 1] != '\n')
        got--;
    if (got > 0) {
        const char *start = memrchr(tail, '\n', (size_t)got - 1);

        start = start ? start + 1 : tail;
        return syn_usage_parse(start, (size_t)(tail + got - 1 - start), ret, err);
    }
    return SYN_FAIL(err, SYN_E_NOTFOUND, "no usage sample yet");
}

int
syn_exit_write(int dirfd, const struct syn_instance_status *status, struct syn_err *err)
{
    SYN_JSON(doc);
    int rc = syn_json_pack(
        &doc, err, "{s:s, s:i, s:i, s:I, s:I, s:I, s:I, s:b, s:s}", "reason",
        syn_exit_reason_name(status->reason), "exit_code", status->exit_code, "signal",
        status->signal, "started_at_ms", (json_int_t)status->started_at_ms, "ended_at_ms",
        (json_int_t)status->ended_at_ms, "oom_kills", (json_int_t)status->oom_kills,
        "pids_limit_hits", (json_int_t)status->pids_limit_hits, "scratch_full",
        (int)status->scratch_full, "message", status->message);

    return rc < 0 ? rc : syn_file_write_json(dirfd, SYN_FILE_EXIT, doc, true, err);
}

int
syn_exit_read(int dirfd, struct syn_instance_status *ret, struct syn_err *err)
{
    SYN_JSON(doc);
    struct syn_instance_status status = {.state = SYN_INSTANCE_EXITED};
    const char *reason;
    unsigned i;
    int rc = syn_file_read_json(dirfd, SYN_FILE_EXIT, &doc, err);

    if (rc < 0)
        return rc;
    reason = syn_json_str(doc, "reason", "");
    for (i = 0; i < SYN_LEN(reason_names) && !syn_str_eq(reason_names[i], reason); i++)
        ;
    if (i == SYN_LEN(reason_names))
        return SYN_FAIL(err, SYN_E_CORRUPT, "%s: unknown reason", SYN_FILE_EXIT);
    status.reason = (enum syn_exit_reason)i;
    status.exit_code = (int)syn_json_i64(doc, "exit_code", 0);
    status.signal = (int)syn_json_i64(doc, "signal", 0);
    status.started_at_ms = syn_json_i64(doc, "started_at_ms", 0);
    status.ended_at_ms = syn_json_i64(doc, "ended_at_ms", 0);
    status.oom_kills = syn_json_i64(doc, "oom_kills", 0);
    status.pids_limit_hits = syn_json_i64(doc, "pids_limit_hits", 0);
    status.scratch_full = syn_json_bool(doc, "scratch_full", false);
    (void)syn_str_copy(status.message, sizeof(status.message), syn_json_str(doc, "message", ""));
    *ret = status;
    return SYN_OK;
}
