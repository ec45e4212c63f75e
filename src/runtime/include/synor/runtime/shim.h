/* The supervisor of one instance: a program of its own that the one binary carries, and `synor shim
 * DIR`, a hidden subcommand, where that cannot be executed. */
#ifndef SYNOR_RUNTIME_SHIM_H
#define SYNOR_RUNTIME_SHIM_H

#include <stddef.h>

/** The process's main(): argv[argc - 1] is the instance folder, descriptor 3 takes the start's
 * result. Forks into the background; does not return before the instance has ended. Returns an exit
 * status. */
int syn_shim_main(int argc, char **argv);

/* That program's bytes, for struct syn_native_options; whoever uses them links shim_image_dep. */
extern const char syn_shim_image[];
extern const size_t syn_shim_image_len;

#endif
