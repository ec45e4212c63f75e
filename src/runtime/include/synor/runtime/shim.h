/* The supervisor of one instance: `synor shim DIR`, a hidden subcommand. */
#ifndef SYNOR_RUNTIME_SHIM_H
#define SYNOR_RUNTIME_SHIM_H

/** The process's main(): argv[argc - 1] is the instance folder, descriptor 3 takes the start's
 * result. Forks into the background; does not return before the instance has ended. Returns an exit
 * status. */
int syn_shim_main(int argc, char **argv);

#endif
