/* The drivers' suite: supervisors killed, and what is left in the system. */
#ifndef SYNOR_RUNTIME_SUITE_LEFT_PRIV_H
#define SYNOR_RUNTIME_SUITE_LEFT_PRIV_H

#include <stdbool.h>
#include <stddef.h>

/** Of struct syn_runtime_suite, for drivers whose instances are folders with a supervisor. */
bool syn_suite_kill_supervisor(const char *dir);
bool syn_suite_cut_start(const char *dir);
void syn_suite_leftovers(const char *dir, char *out, size_t cap);
/** Loop devices over files below `dir`. */
void syn_suite_find_loops(const char *dir, char *out, size_t cap);

#endif
