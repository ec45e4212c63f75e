#include "wasmtime_priv.h"

#include <stdio.h>
#include <string.h>

#include <synor/base/loader.h>
#include <synor/wasm/wasm.h>

int
wt_load(const char *library, struct wt_api *api, struct syn_err *err)
{
    static const char *const names[] = {SYN_WASM_LIBRARY_PATH, SYN_WASM_LIBRARY, "libwasmtime.so",
                                        NULL};
#define WT_ROW(field, symbol, result, params) {#symbol, offsetof(struct wt_api, field), false},
    static const struct syn_loader_row rows[] = {WT_FUNCTIONS(WT_ROW)};

    return syn_loader_open(library, names, rows, SYN_LEN(rows), api, err);
}

/* Nothing in the interface tells the version. A compiled module does: its section .wasmtime.engine
 * begins with a 0, the length of the version, and the version. */
int
wt_check_version(const struct wt_api *api, struct wt_engine *engine, struct syn_err *err)
{
    static const uint8_t empty[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    static const char mark[] = "\0\2" SYN_WASM_MAJOR;
    struct wt_module *module = NULL;
    struct wt_bytes bytes = {0};
    struct wt_error *error = api->module_new(engine, empty, sizeof(empty), &module);
    bool same;

    if (!error)
        error = api->module_serialize(module, &bytes);
    if (module)
        api->module_delete(module);
    if (error)
        return wt_fail_take(api, error, SYN_E_UNSUPPORTED, "Wasmtime does not work", err);
    same = memmem(bytes.data, bytes.size, mark, sizeof(mark) - 1) != NULL;
    api->bytes_delete(&bytes);
    return same ? SYN_OK
                : SYN_FAIL(err, SYN_E_UNSUPPORTED,
                           "the library is not version " SYN_WASM_MAJOR " of Wasmtime");
}

int
wt_fail_take(const struct wt_api *api, struct wt_error *error, int code, const char *what,
             struct syn_err *err)
{
    struct wt_bytes text = {0};
    int rc;

    api->error_message(error, &text);
    rc = SYN_FAIL(err, code, "%s: %.*s", what, (int)SYN_MIN(text.size, 1000), text.data);
    api->bytes_delete(&text);
    api->error_delete(error);
    return rc;
}
