/* Work from outside: threads of the program submit to one runtime; then what is urgent, what fails
 * and what is no longer wanted. Each part checks itself; the exit status says whether all held. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include <synor/task.h>

#define SUBMITTERS 4
#define CALLS      10000

static void
count_one(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

struct submitter {
    struct syn_runtime *runtime;
    atomic_int *count;
    int rc;
};

static void *
submit_many(void *arg)
{
    struct submitter *submitter = arg;

    for (int i = 0; i < CALLS && submitter->rc == 0; i++)
        submitter->rc = syn_submit(submitter->runtime, count_one, submitter->count, NULL);
    return NULL;
}

/* Several threads, one runtime: each has a queue of its own, so none waits for another. */
static int
from_threads(struct syn_runtime *runtime)
{
    struct submitter submitters[SUBMITTERS];
    pthread_t threads[SUBMITTERS];
    atomic_int count = 0;
    int started = 0, failed = 0;

    while (started < SUBMITTERS) {
        submitters[started] = (struct submitter){runtime, &count, 0};
        if (pthread_create(&threads[started], NULL, submit_many, &submitters[started]) != 0)
            break;
        started++;
    }
    for (int i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL);
        failed |= submitters[i].rc != 0;
    }
    syn_runtime_wait(runtime); /* nothing submitted so far is left to do */
    (void)printf("threads: %d calls of %d submitters\n", atomic_load(&count), started);
    return failed || started != SUBMITTERS || atomic_load(&count) != SUBMITTERS * CALLS;
}

static char order[16]; /* who ran when; one thread runs them all, see main() */
static size_t ran;

static void
note(void *arg)
{
    order[ran++] = *(const char *)arg;
}

/* More urgent work goes first, whenever it was submitted. */
static int
urgent_first(struct syn_runtime *runtime, struct syn_err *err)
{
    static char background = 'b', ordinary = 'o', urgent = 'u';

    if (syn_submit_urgent(runtime, note, &background, SYN_PRIORITY_MIN, err) < 0 ||
        syn_submit(runtime, note, &ordinary, err) < 0 ||
        syn_submit_urgent(runtime, note, &urgent, SYN_PRIORITY_MAX, err) < 0)
        return 1;
    syn_runtime_wait(runtime);
    (void)printf("priorities: %s\n", order);
    return !(order[0] == 'u' && order[1] == 'o' && order[2] == 'b');
}

static int
refuse(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    (void)worker;
    (void)at;
    (void)arg;
    return SYN_E_IO; /* as if what it wanted to read were not there */
}

static int
produce(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    (void)worker;
    (void)at;
    *(int *)arg += 1;
    return 0;
}

/* A task that fails takes those with it that need its results, and nobody else. */
static int
failure(struct syn_runtime *runtime, struct syn_err *err)
{
    int a = 0, b = 0, code, fine;
    struct syn_data *bad = NULL, *good = NULL;
    struct syn_task *needs = NULL, *other = NULL;
    struct syn_use write_bad = {NULL, SYN_WRITE}, read_bad = {NULL, SYN_UPDATE};
    struct syn_use write_good = {NULL, SYN_UPDATE};

    if (syn_data_new(runtime, &a, sizeof(a), &bad, err) < 0 ||
        syn_data_new(runtime, &b, sizeof(b), &good, err) < 0)
        return 1;
    write_bad.data = read_bad.data = bad;
    write_good.data = good;
    if (syn_task_submit(runtime,
                        &(struct syn_task_spec){.run = refuse, .uses = &write_bad, .uses_count = 1},
                        NULL, err) < 0 ||
        syn_task_submit(
            runtime,
            &(struct syn_task_spec){.run = produce, .arg = &a, .uses = &read_bad, .uses_count = 1},
            &needs, err) < 0 ||
        syn_task_submit(runtime,
                        &(struct syn_task_spec){
                            .run = produce, .arg = &b, .uses = &write_good, .uses_count = 1},
                        &other, err) < 0)
        return 1;
    code = syn_task_wait(runtime, needs, NULL);
    fine = syn_task_wait(runtime, other, err);
    (void)printf("failure: %s for who needs it, %d for the other\n", syn_err_info(code)->wire,
                 fine);
    syn_task_release(needs);
    syn_task_release(other);
    syn_data_free(bad);
    syn_data_free(good);
    return !(code == SYN_E_IO && a == 0 && fine == 0 && b == 1);
}

/* What has not begun can be called off. */
static int
cancellation(struct syn_runtime *runtime, struct syn_err *err)
{
    struct syn_task *task = NULL;
    bool in_time;
    int value = 0, code;

    if (syn_task_submit(runtime, &(struct syn_task_spec){.run = produce, .arg = &value}, &task,
                        err) < 0)
        return 1;
    in_time = syn_task_cancel(task);
    code = syn_task_wait(runtime, task, NULL);
    syn_task_release(task);
    (void)printf("cancellation: %s\n", syn_err_info(code)->wire);
    return !(in_time && code == SYN_E_CANCELED && value == 0);
}

int
main(void)
{
    struct syn_runtime *runtime;
    struct syn_err err = {0};
    int failed;

    if (syn_runtime_new(NULL, &runtime, &err) < 0) {
        (void)fprintf(stderr, "submit: %s\n", err.msg);
        return 1;
    }
    failed = from_threads(runtime);
    syn_runtime_free(runtime);

    /* A runtime without threads: who waits does the work, so that what follows is in a known order
     * and nothing begins before we look. */
    if (syn_runtime_new(&(struct syn_runtime_options){.no_workers = true}, &runtime, &err) < 0) {
        (void)fprintf(stderr, "submit: %s\n", err.msg);
        return 1;
    }
    failed |= urgent_first(runtime, &err);
    failed |= failure(runtime, &err);
    failed |= cancellation(runtime, &err);
    syn_runtime_free(runtime);
    if (failed && err.code != 0)
        (void)fprintf(stderr, "submit: %s\n", err.msg);
    return failed;
}
