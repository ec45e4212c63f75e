/* Where threads stand, told on standard error: for a program that hangs or dies where nobody can
 * attach a debugger. One line for all threads that stand in the same place, innermost first:
 *
 *     # 2 threads: engine_random+0x2a31f engine_random+0x1c2b0 libc.so.6:start_thread
 *
 * Functions that a program keeps to itself are told by where they lie in it: scripts/test-report
 * names them, and so does `addr2line -f -e PROGRAM 0x...`. */
#ifndef SYNOR_COMPUTE_STACKS_H
#define SYNOR_COMPUTE_STACKS_H

/** Once, before anything is told. */
void syn_stacks_ready(void);
/** The calling thread's own; also from a signal's handler. */
void syn_stacks_tell_own(void);
/** All threads' but the calling one's. Interrupts them: whoever calls this ends the program. */
void syn_stacks_tell_others(void);

#endif
