#include <synor/wasm/wasm.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/buf.h>
#include <synor/base/mem.h>

#include "wasm_priv.h"

static const char command_name[] = "_start";
static const char handler_name[] = "synor_handle";

static void
module_scope(struct syn_wasm_module **slot)
{
    *slot = syn_wasm_module_close(*slot);
}

struct syn_wasm_module *
syn_wasm_module_close(struct syn_wasm_module *module)
{
    if (!module)
        return NULL;
    if (module->pre)
        module->wasm->api.pre_delete(module->pre);
    if (module->module)
        module->wasm->api.module_delete(module->module);
    syn_free(module);
    return NULL;
}

/* What the module has to be called by. */
enum entry { NO_ENTRY, HANDLER, COMMAND, BAD_ENTRY };

static enum entry
entry_of(const struct wt_api *api, const struct wt_export *export)
{
    const struct wt_bytes *name = api->export_name(export);
    const struct wt_functype *type = api->as_functype(api->export_type(export));
    const struct wt_valtypes *results;
    bool command;

    command =
        name->size == strlen(command_name) && memcmp(name->data, command_name, name->size) == 0;
    if (!command &&
        (name->size != strlen(handler_name) || memcmp(name->data, handler_name, name->size) != 0))
        return NO_ENTRY;
    if (!type || api->functype_params(type)->size)
        return BAD_ENTRY;
    results = api->functype_results(type);
    if (command)
        return results->size ? BAD_ENTRY : COMMAND;
    return results->size == 1 && api->valtype_kind(results->data[0]) == WT_I32 ? HANDLER
                                                                               : BAD_ENTRY;
}

static int
find_entry(struct syn_wasm_module *module, struct syn_err *err)
{
    const struct wt_api *api = &module->wasm->api;
    bool found[BAD_ENTRY + 1] = {false}, memory = false;
    struct wt_exports exports = {0};

    api->module_exports(module->module, &exports);
    for (size_t i = 0; i < exports.size; i++) {
        const struct wt_bytes *name = api->export_name(exports.data[i]);

        found[entry_of(api, exports.data[i])] = true;
        memory |= name->size == strlen("memory") && memcmp(name->data, "memory", name->size) == 0 &&
                  api->extern_kind(api->export_type(exports.data[i])) == WT_EXTERN_MEMORY;
    }
    api->exports_delete(&exports);
    if (found[BAD_ENTRY] || (!found[HANDLER] && !found[COMMAND]))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "the module has neither synor_handle() -> i32 nor a command's _start()");
    if (!memory)
        return SYN_FAIL(err, SYN_E_INVALID, "the module does not export its memory as \"memory\"");
    module->command = !found[HANDLER];
    return SYN_OK;
}

/* Takes the compiled module. */
static int
finish_take(struct syn_wasm *wasm, struct wt_module *compiled, struct syn_wasm_module **ret_module,
            struct syn_err *err)
{
    SYN_SCOPED(module_scope) struct syn_wasm_module *module = syn_calloc(1, sizeof(*module));
    struct wt_error *error;
    int rc;

    if (!module) {
        wasm->api.module_delete(compiled);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory");
    }
    module->wasm = wasm;
    module->module = compiled;
    rc = find_entry(module, err);
    if (rc < 0)
        return rc;
    error = wasm->api.linker_pre(wasm->linker, compiled, &module->pre);
    if (error)
        return wt_fail_take(&wasm->api, error, SYN_E_INVALID, "what the module imports", err);
    *ret_module = SYN_TAKE(module);
    return SYN_OK;
}

int
syn_wasm_compile(struct syn_wasm *wasm, const void *bytes, size_t size,
                 struct syn_wasm_module **ret_module, struct syn_err *err)
{
    const struct wt_api *api = &wasm->api;
    struct wt_bytes binary = {0};
    struct wt_module *module = NULL;
    struct wt_error *error;

    if (size > SYN_WASM_MODULE_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "a module of %zu bytes; at most %lld", size,
                        (long long)SYN_WASM_MODULE_MAX);
    if (size >= 4 && memcmp(bytes, "\0asm", 4) == 0) {
        error = api->module_new(wasm->engine, bytes, size, &module);
    } else {
        error = api->from_text(bytes, size, &binary);
        if (!error)
            error =
                api->module_new(wasm->engine, (const uint8_t *)binary.data, binary.size, &module);
        if (binary.data)
            api->bytes_delete(&binary);
    }
    if (error)
        return wt_fail_take(api, error, SYN_E_INVALID, "no valid WebAssembly module", err);
    return finish_take(wasm, module, ret_module, err);
}

static int
write_whole(int fd, const char *at, size_t size, struct syn_err *err)
{
    while (size) {
        ssize_t part = write(fd, at, size);

        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0)
            return SYN_FAIL_SYS(err, errno, "writing a compiled module");
        at += part;
        size -= (size_t)part;
    }
    return fsync(fd) == 0 ? SYN_OK : SYN_FAIL_SYS(err, errno, "writing a compiled module");
}

int
syn_wasm_save(const struct syn_wasm_module *module, const char *path, struct syn_err *err)
{
    const struct wt_api *api = &module->wasm->api;
    struct wt_bytes bytes = {0};
    struct wt_error *error;
    SYN_BUF(part);
    int fd, rc;

    syn_buf_addf(&part, "%s.part", path);
    rc = syn_buf_ok(&part, err);
    if (rc < 0)
        return rc;
    error = api->module_serialize(module->module, &bytes);
    if (error)
        return wt_fail_take(api, error, SYN_E_INTERNAL, "packing a compiled module", err);
    fd = open(part.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    rc = fd < 0 ? SYN_FAIL_SYS(err, errno, "making %s", part.data)
                : write_whole(fd, bytes.data, bytes.size, err);
    api->bytes_delete(&bytes);
    if (fd >= 0)
        (void)close(fd);
    if (rc == SYN_OK && rename(part.data, path) < 0)
        rc = SYN_FAIL_SYS(err, errno, "naming %s", path);
    if (rc < 0)
        (void)unlink(part.data);
    return rc;
}

int
syn_wasm_load(struct syn_wasm *wasm, const char *path, struct syn_wasm_module **ret_module,
              struct syn_err *err)
{
    struct wt_module *module = NULL;
    struct wt_error *error;

    if (access(path, R_OK) < 0)
        return SYN_FAIL_SYS(err, errno, "%s", path);
    error = wasm->api.module_load(wasm->engine, path, &module);
    if (error)
        return wt_fail_take(&wasm->api, error, SYN_E_INVALID, path, err);
    return finish_take(wasm, module, ret_module, err);
}
