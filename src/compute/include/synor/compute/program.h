/* Kernels on devices: programs compiled once and launched often. */
#ifndef SYNOR_COMPUTE_PROGRAM_H
#define SYNOR_COMPUTE_PROGRAM_H

#include <synor/compute/driver.h>
#include <synor/compute/memory.h>
#include <synor/kernel.h>

/** The programs of one open device. Thread: every function but free from any thread; launches on
 * one queue by one thread at a time, as the queue wants it. */
struct syn_programs;

/** The device is borrowed until the programs are freed. NOMEM. */
SYN_MUST int syn_programs_new(struct syn_dev *dev, struct syn_programs **ret_programs,
                              struct syn_err *err);
/** Commands that run them are done. NULL is fine. */
struct syn_programs *syn_programs_free(struct syn_programs *programs);
void syn_programs_free_scope(struct syn_programs **slot);

/** Compile now what a launch would compile first. Blocks: for the compiler; others that want the
 * same program wait for it, others that want another one do not. INVALID, naming the kernel: it
 * does not compile, and will not be tried again; what the driver says. */
SYN_MUST int syn_program_prepare(struct syn_programs *programs, const struct syn_kernel *kernel,
                                 const struct syn_kernel_impl *impl, struct syn_err *err);

/** Bytes of device memory that a launch of this call wants as scratch; 0: none. */
uint64_t syn_program_scratch(const struct syn_programs *programs,
                             const struct syn_kernel_impl *impl,
                             const struct syn_kernel_call *call);

/** Put a call on a queue: one command or several, the first of which waits as `cmd` says and the
 * last of which signals. The call is one that syn_kernel_check_call() lets through and `impl` fits;
 * it is not looked at after the return. `places` are where its operands are, one each: buffers of
 * this device, or for a native implementation also host memory. `scratch` has the bytes that
 * syn_program_scratch() says; NULL: none are wanted.
 *
 * Blocks: for the compiler, the first time. Returns 0; INVALID: an operand is not whole in its
 * place, or the program does not compile; what the driver says. On failure nothing of the call is
 * under way, unless not even the queue can be waited for (the device is lost, or out of memory):
 * then only destroying the queue makes sure. Messages name the kernel. */
SYN_MUST int syn_program_launch(struct syn_programs *programs, const struct syn_kernel_impl *impl,
                                const struct syn_kernel_call *call,
                                const struct syn_tensor_place places[], struct syn_dev_buf *scratch,
                                const struct syn_dev_cmd *cmd, struct syn_err *err);

#endif
