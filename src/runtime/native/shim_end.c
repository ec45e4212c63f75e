/* Why an instance ended, in a word for programs and a sentence for people. */
#include "shim_priv.h"

#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>

#include <synor/base/str.h>

static void say(struct syn_instance_status *exit, const char *format, ...) SYN_PRINTF(2, 3);

static void
say(struct syn_instance_status *exit, const char *format, ...)
{
    size_t len = strlen(exit->message);
    va_list args;

    if (len > 0 && len + 2 < sizeof(exit->message)) {
        memcpy(exit->message + len, "; ", 3);
        len += 2;
    }
    va_start(args, format);
    (void)vsnprintf(exit->message + len, sizeof(exit->message) - len, format, args);
    va_end(args);
}

static void
decode_status(const struct shim *shim, struct syn_instance_status *exit)
{
    int status = shim->init_status;

    if (WIFSIGNALED(status)) {
        exit->signal = WTERMSIG(status);
        exit->exit_code = 128 + exit->signal;
    } else {
        exit->exit_code = WEXITSTATUS(status);
        /* gVisor's sandbox exits with what a shell would say. */
        if (shim->plan.gvisor && exit->exit_code > 128 && exit->exit_code <= 128 + 64)
            exit->signal = exit->exit_code - 128;
    }
}

static void
explain_scratch(const struct shim *shim, struct syn_instance_status *exit)
{
    enum syn_full_verdict verdict =
        syn_full_judge(&shim->full, &shim->logger, exit->exit_code != 0, syn_shim_mono_ms());
    long long size = (long long)shim->plan.scratch_bytes;

    exit->scratch_full =
        verdict == SYN_FULL_BYTES || verdict == SYN_FULL_FILES || verdict == SYN_FULL_WORDS;
    if (verdict == SYN_FULL_BYTES)
        say(exit, "its scratch space of %lld bytes is full", size);
    else if (verdict == SYN_FULL_FILES)
        say(exit, "its scratch space of %lld bytes has no room for one more file", size);
    else if (verdict == SYN_FULL_WORDS)
        say(exit,
            "its last words were of no space left: its scratch space has %lld bytes, of which at "
            "least %lld were free when they were looked at",
            size, (long long)SYN_MIN(shim->full.bytes_free_least, (int64_t)size));
    else if (verdict == SYN_FULL_SHM)
        say(exit, "its shared memory, /dev/shm, is full");
}

void
syn_shim_explain(struct shim *shim, struct syn_instance_status *exit)
{
    bool failed;

    decode_status(shim, exit);
    failed = exit->exit_code != 0;
    if (shim->lost) {
        exit->reason = SYN_EXIT_LOST;
        say(exit, "it ended, and its container runtime does not tell how");
    } else if (shim->stop == SYN_SHIM_STOP_TIME) {
        exit->reason = SYN_EXIT_TIME;
        say(exit, "the wall time limit of %lld ms is over", (long long)shim->plan.wall_ms);
    } else if (shim->stop == SYN_SHIM_STOP_ASKED) {
        exit->reason = SYN_EXIT_STOPPED;
        say(exit, shim->node_shutdown ? "the node is shutting down" : "stopped as asked");
    } else if (failed && exit->oom_kills > 0) {
        exit->reason = SYN_EXIT_OOM;
        say(exit, "out of memory: the limit of %lld bytes was reached and %s was killed",
            (long long)shim->plan.memory_bytes,
            shim->plan.gvisor ? "the gVisor sandbox" : "a process");
    } else if (failed) {
        exit->reason = SYN_EXIT_FAILED;
        if (exit->signal)
            say(exit, "killed by signal %d", exit->signal);
        else
            say(exit, "exited with status %d", exit->exit_code);
    } else {
        exit->reason = SYN_EXIT_COMPLETED;
        say(exit, "exited with status 0");
    }
    if (shim->stop != SYN_SHIM_STOP_NONE && shim->killed)
        say(exit, "it did not end within its grace period and was killed");
    if (exit->oom_kills > 0 && exit->reason != SYN_EXIT_OOM)
        say(exit, "%lld of its processes were killed for memory", (long long)exit->oom_kills);
    if (exit->pids_limit_hits > 0)
        say(exit, "the limit of %lld processes was reached %lld times",
            (long long)shim->plan.pids_max, (long long)exit->pids_limit_hits);
    explain_scratch(shim, exit);
}

/* The words, told as a shell would by number: 127 not found, 126 not executable, 125 other. */
void
syn_shim_explain_start(struct shim *shim, const struct syn_err *cause,
                       struct syn_instance_status *exit)
{
    char words[SYN_EXIT_MESSAGE_MAX] = "";

    exit->reason = SYN_EXIT_START;
    exit->exit_code = 125;
    if (cause)
        (void)syn_str_copy(words, sizeof(words), cause->msg);
    else
        shim->engine->words(shim, words, sizeof(words));
    say(exit, "%s", words[0] ? words : "the sandbox did not start and said nothing");
    if (cause && !shim->plan.runtime[0])
        return;
    if (strstr(words, "no such file") || strstr(words, "not found"))
        exit->exit_code = 127;
    else if (strstr(words, "permission denied"))
        exit->exit_code = 126;
}
