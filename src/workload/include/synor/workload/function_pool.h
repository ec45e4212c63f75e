/* What runs the calls of one version of a process function: a service of its own, whose replicas
 * are the instances, and the programs that speak to functions of a language. Pure. */
#ifndef SYNOR_WORKLOAD_FUNCTION_POOL_H
#define SYNOR_WORKLOAD_FUNCTION_POOL_H

#include <synor/base/json.h>
#include <synor/workload/function_spec.h>

#define SYN_FUNCTION_PORT 8080
/** Where an instance has its code, its dependencies, and the program that calls it. */
#define SYN_FUNCTION_CODE   "/synor/code"
#define SYN_FUNCTION_HEALTH "/_synor/health"

/** The program that runs functions of a language, or what it needs beside it: one file. */
struct syn_function_program {
    const char *file; /* "host.py" */
    const char *data;
    size_t size;
};

/** False where there is none, because the code is a program itself. Static text. */
bool syn_function_program(enum syn_function_runtime runtime, struct syn_function_program *ret);

/** What the program of a checked spec loads to go on from snapshots. False where it needs nothing.
 */
bool syn_function_helper(const struct syn_function_spec *spec, struct syn_function_program *ret);

/** A version, and what it is made of. Text is borrowed for the call. */
struct syn_function_pool {
    const char *id;   /* of the function */
    const char *name; /* likewise */
    int64_t version;
    const char *code_cid;    /* "" for an image */
    const char *layer_cid;   /* "": it depends on nothing */
    const char *program_cid; /* of syn_function_program(), stored as a file; "" where it has none */
    const char *helper_cid;  /* of syn_function_helper(), likewise */
};

/**
 * Make the spec of the service that runs the version of a checked function spec. It has passed
 * syn_service_spec_check_derived().
 *
 * Owner: *ret is the caller's. Returns 0; SYN_E_NOMEM; SYN_E_UNSUPPORTED for a runtime that needs
 * no service.
 */
SYN_MUST int syn_function_service_spec(const json_t *function_spec,
                                       const struct syn_function_pool *pool, json_t **ret,
                                       struct syn_err *err);

#endif
