/* What a function's code depends on, as a layer in storage. */
#ifndef SYN_CLI_FUNCTION_PRIV_H
#define SYN_CLI_FUNCTION_PRIV_H

#include "cli_priv.h"

/**
 * Install what the file lists (requirements.txt of pip, package.json of npm, Gemfile of bundler)
 * for the runtime, here, and upload it as a layer, whose reference goes into ret_ref. The same file
 * for the same runtime is the same layer, which is kept under a name of the account: what is there
 * is not installed again. Nothing is left here.
 *
 * Blocks: as long as pip or npm takes; they say on standard error what they do.
 * Returns 0; SYN_E_INVALID: the runtime has no such file, or it cannot be installed;
 * SYN_E_NOTFOUND: pip or npm is not here, with how to get it; what uploads return.
 */
SYN_MUST int syn_cli_function_layer(struct syn_cli *cli, const char *runtime,
                                    const char *dependencies, char *ret_ref, size_t cap,
                                    struct syn_err *err);

#define SYN_CLI_LAYER_WORDS_MAX 16
#define SYN_CLI_LAYER_PATH_MAX  4096

/** A program to run, and its words: argv[0] is looked up in PATH. */
struct syn_cli_layer_command {
    const char *argv[SYN_CLI_LAYER_WORDS_MAX];
    char version[16]; /* "3.11": what the words point to */
    char python[24];
    char gemfile[SYN_CLI_LAYER_PATH_MAX];
};

/** What installs the file into the folder for "python311", by a Python of that version (`same`) or
 * by another one. */
void syn_cli_layer_pip(const char *runtime, const char *file, const char *folder, bool same,
                       bool quiet, struct syn_cli_layer_command *ret);
/** What installs package.json in the folder; `locked`: as package-lock.json beside it says. */
void syn_cli_layer_npm(const char *folder, bool locked, bool quiet,
                       struct syn_cli_layer_command *ret);
/** What installs the gems of the folder's Gemfile within it; `locked`: as Gemfile.lock says. */
void syn_cli_layer_bundle(const char *folder, bool locked, bool quiet,
                          struct syn_cli_layer_command *ret);
/** The name that the layer is kept under, into out[64]. */
void syn_cli_layer_name(const char *runtime, const struct syn_buf *file, const struct syn_buf *lock,
                        char out[64]);

#endif
