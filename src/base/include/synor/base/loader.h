/* Vendors' libraries, loaded at run time. A library that was loaded stays loaded: most of them
 * leave threads or exit handlers behind that dlclose() would pull the ground from under. */
#ifndef SYNOR_BASE_LOADER_H
#define SYNOR_BASE_LOADER_H

#include <synor/base/core.h>
#include <synor/base/err.h>

/** One function of a library: where in the caller's table its address goes. */
struct syn_loader_row {
    const char *symbol; /* NULL: this library has no such function */
    size_t offset;
    bool optional; /* stays NULL in older versions */
};

/** Fill the function table `api` from the first of the NULL-ended `names` that can be loaded, or
 * from `only` if that is not NULL. NOTFOUND: none is installed; UNSUPPORTED: it lacks a function.
 */
SYN_MUST int syn_loader_open(const char *only, const char *const *names,
                             const struct syn_loader_row *rows, size_t count, void *api,
                             struct syn_err *err);

#endif
