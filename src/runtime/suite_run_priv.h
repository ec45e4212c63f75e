/* The drivers' suite: one instance of one test, from start to "nothing is left". */
#ifndef SYNOR_RUNTIME_SUITE_RUN_PRIV_H
#define SYNOR_RUNTIME_SUITE_RUN_PRIV_H

#include <synor/base/buf.h>

#include "runtime_suite.h"

#define SYN_SUITE_END_MS 40000
#define MIB              ((int64_t)1 << 20)

/** The driver under test. */
extern const struct syn_runtime_suite *syn_suite;

#define CALL(op, ...) syn_suite->runtime.ops->op(syn_suite->runtime.self, __VA_ARGS__)

/* One instance of one test, with what it printed. */
struct syn_run {
    struct syn_instance *instance;
    struct syn_instance_status status;
    char dir[SYN_INSTANCE_PATH_MAX];
    char id[64];
    struct syn_buf out, err, remarks; /* text by stream, newlines restored */
};

/** A fresh id and folder. */
void syn_run_name(struct syn_run *run);
/** Fill in id, folder and a small scratch space; prepare. */
void syn_run_prepare(struct syn_run *run, struct syn_instance_spec *spec);
/** Prepare and start. */
void syn_run_start(struct syn_run *run, struct syn_instance_spec *spec);
/** Wait for the end; fills status. */
void syn_run_await(struct syn_run *run);
/** The whole file, zero-terminated; nothing when it cannot be opened. */
void syn_suite_read_text(const char *path, struct syn_buf *out);
/** The log by stream. */
void syn_run_read_log(struct syn_run *run);
/** Destroy, and check that nothing is left. */
void syn_run_end(struct syn_run *run);
/** Start, wait, read: the whole life of a short program but its end. */
void syn_run_all(struct syn_run *run, struct syn_instance_spec *spec);
/** The same for /bin/sh -c `script`. */
void syn_run_shell(struct syn_run *run, const char *script);
/** CPU and waiting for it, of all that was written of one that has ended. */
struct syn_usage_sample syn_run_usage(const struct syn_run *run);
void syn_suite_assert_reason(const struct syn_run *run, enum syn_exit_reason reason);
void syn_suite_assert_has(const char *text, const char *part);
void syn_suite_assert_has_not(const char *text, const char *part);

/* A test of suite_cpu.c. */
void syn_suite_eager_until_it_settles(void **state);
/* A test of suite_net.c. */
void syn_suite_account_is_a_network(void **state);
/* Tests of suite_exec.c. */
void syn_suite_exec_is_within(void **state);
void syn_suite_exec_keeps_streams_apart(void **state);
void syn_suite_exec_has_a_terminal(void **state);
void syn_suite_exec_is_ended(void **state);
/* Tests of suite_image.c. */
void syn_suite_image_replaces_the_host(void **state);
void syn_suite_devices_are_passed_on(void **state);
/* Tests of suite_mounts.c. */
void syn_suite_binds_are_shown(void **state);
void syn_suite_volumes_outlive_instances(void **state);
void syn_suite_memory_is_mounted(void **state);
void syn_suite_secrets_are_files(void **state);
void syn_suite_names_and_signals_are_chosen(void **state);
/* Tests of suite_snapshot.c. */
void syn_suite_saved_goes_on_as_others(void **state);
void syn_suite_damaged_does_not_start(void **state);
void syn_suite_what_waits_is_given(void **state);

#endif
