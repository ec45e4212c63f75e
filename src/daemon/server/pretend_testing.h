/* A runtime whose programs run in nobody's process: what an instance does follows from the clock
 * and its arguments. For tests of what lies around runtimes, where no sandbox can run.
 *
 * The program ends well after the milliseconds that its last argument names; if that is no number
 * it runs until it is stopped. While it runs it writes a line of log and a sample of usage whenever
 * it is looked at. */
#ifndef SYN_PRETEND_TESTING_H
#define SYN_PRETEND_TESTING_H

#include <synor/runtime/runtime_ops.h>

struct pretend;

/** Owner: the caller's. Any thread may use its runtime. Fails the test when there is no memory. */
struct pretend *pretend_new(void);
struct pretend *pretend_free(struct pretend *pretend);
struct syn_runtime pretend_runtime(struct pretend *pretend);
/** Instances that were started, and folders that are there still. */
unsigned pretend_started(struct pretend *pretend);
unsigned pretend_left(struct pretend *pretend);

#endif
