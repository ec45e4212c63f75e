#include "wasm_module_priv.h"

#include <string.h>

#include <synor/base/mem.h>
#include <synor/wasm/wasmtime.h>

enum section {
    SECTION_TYPE = 1,
    SECTION_IMPORT = 2,
    SECTION_FUNCTION = 3,
    SECTION_EXPORT = 7,
    SECTION_DATA = 11,
    SECTIONS,
};
enum { KIND_FUNCTION, KIND_TABLE, KIND_MEMORY };

struct bytes {
    const uint8_t *at, *end;
    bool bad; /* it ended too soon, or a number was too long */
};

struct type {
    bool is_function;
    unsigned params, results;
    uint8_t kinds[SYN_DRV_ARGS_MAX]; /* WT_I32 .. WT_F64, or OTHER */
};

enum { OTHER = WT_F64 + 1 };

struct module {
    const char *name;
    struct bytes sections[SECTIONS];
    struct type *types;
    uint32_t types_count;
    struct wasm_kernels *kernels;
};

static uint8_t
read_byte(struct bytes *bytes)
{
    if (bytes->at < bytes->end)
        return *bytes->at++;
    bytes->bad = true;
    return 0;
}

/* A number of variable length, unsigned, of 32 bits. */
static uint32_t
read_number(struct bytes *bytes)
{
    uint64_t number = 0;

    for (unsigned shift = 0; shift < 35; shift += 7) {
        uint8_t byte = read_byte(bytes);

        number |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            bytes->bad = bytes->bad || number > UINT32_MAX;
            return (uint32_t)number;
        }
    }
    bytes->bad = true;
    return 0;
}

/* The next `count` bytes by themselves. */
static struct bytes
read_part(struct bytes *bytes, uint32_t count)
{
    struct bytes part = {bytes->at, bytes->at, false};

    if (count > (size_t)(bytes->end - bytes->at)) {
        bytes->bad = true;
        return part;
    }
    part.end = bytes->at += count;
    return part;
}

static uint8_t
read_value_type(struct bytes *bytes)
{
    uint8_t code = read_byte(bytes);

    if (code == 0x63 || code == 0x64) /* a reference, to what the next number says */
        (void)read_number(bytes);
    switch (code) {
    case 0x7f:
        return WT_I32;
    case 0x7e:
        return WT_I64;
    case 0x7d:
        return WT_F32;
    case 0x7c:
        return WT_F64;
    default:
        return OTHER;
    }
}

static int
refuse_bad(const struct module *module, const char *what, struct syn_err *err)
{
    return SYN_FAIL(err, SYN_E_INVALID, "wasm: %s: %s", module->name, what);
}

static int
find_sections(struct module *module, struct bytes bytes, struct syn_err *err)
{
    static const uint8_t magic[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    struct bytes head = read_part(&bytes, sizeof(magic));

    if (bytes.bad || memcmp(head.at, magic, sizeof(magic)) != 0)
        return refuse_bad(module, "not a module", err);
    while (bytes.at < bytes.end) {
        uint8_t id = read_byte(&bytes);
        struct bytes part = read_part(&bytes, read_number(&bytes));

        if (bytes.bad)
            return refuse_bad(module, "a section is cut off", err);
        if (id < SECTIONS && id != 0)
            module->sections[id] = part;
    }
    if (module->sections[SECTION_DATA].at)
        return refuse_bad(module, "data segments, which programs of one memory cannot all have",
                          err);
    return SYN_OK;
}

static int
read_import(struct module *module, struct syn_err *err)
{
    struct bytes *bytes = &module->sections[SECTION_IMPORT], name;
    uint32_t count = bytes->at ? read_number(bytes) : 0;
    uint8_t kind;

    if (count == 0)
        return SYN_OK;
    (void)read_part(bytes, read_number(bytes)); /* the module's name, whatever it is */
    name = read_part(bytes, read_number(bytes));
    kind = read_byte(bytes);
    if (bytes->bad)
        return refuse_bad(module, "its imports are cut off", err);
    if (kind != KIND_MEMORY || count > 1)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "wasm: %s: %u imports, of which the first is %.*s; a kernel gets a memory, "
                        "and nothing else",
                        module->name, count, (int)SYN_MIN(name.end - name.at, (ptrdiff_t)100),
                        (const char *)name.at);
    module->kernels->memory = true;
    return SYN_OK;
}

static int
read_types(struct module *module, struct syn_err *err)
{
    struct bytes *bytes = &module->sections[SECTION_TYPE];
    uint32_t count = bytes->at ? read_number(bytes) : 0;

    if (count > WASM_TYPES_MAX)
        return refuse_bad(module, "more than 1024 types", err);
    module->types = syn_calloc(SYN_MAX(count, 1U), sizeof(*module->types));
    if (!module->types)
        return SYN_FAIL(err, SYN_E_NOMEM, "wasm: types");
    for (uint32_t i = 0; i < count; i++) {
        struct type *type = &module->types[i];

        if (read_byte(bytes) != 0x60)
            return refuse_bad(module, "a type that is not a function's", err);
        type->params = read_number(bytes);
        for (uint32_t k = 0; k < type->params && !bytes->bad; k++) {
            uint8_t kind = read_value_type(bytes);

            if (k < SYN_DRV_ARGS_MAX)
                type->kinds[k] = kind;
        }
        type->results = read_number(bytes);
        for (uint32_t k = 0; k < type->results && !bytes->bad; k++)
            (void)read_value_type(bytes);
        if (bytes->bad)
            return refuse_bad(module, "its types are cut off", err);
    }
    module->types_count = count;
    return SYN_OK;
}

/* The type of function `index`; none is imported. NULL: there is no such function. */
static const struct type *
type_of(const struct module *module, uint32_t index)
{
    struct bytes bytes = module->sections[SECTION_FUNCTION];
    uint32_t count = bytes.at ? read_number(&bytes) : 0, type = UINT32_MAX;

    if (index >= count)
        return NULL;
    for (uint32_t i = 0; i <= index && !bytes.bad; i++)
        type = read_number(&bytes);
    return bytes.bad || type >= module->types_count ? NULL : &module->types[type];
}

static int
add_kernel(struct module *module, struct bytes name, const struct type *type, struct syn_err *err)
{
    struct wasm_kernels *kernels = module->kernels;
    size_t len = (size_t)(name.end - name.at);
    struct wasm_kernel *kernel = &kernels->list[kernels->count];

    if (kernels->count == WASM_KERNELS_MAX)
        return refuse_bad(module, "more than 64 kernels", err);
    if (len >= sizeof(kernel->name) || memchr(name.at, '\0', len))
        return refuse_bad(module, "a kernel's name has more than 127 bytes, or one that is 0", err);
    memcpy(kernel->name, name.at, len);
    kernel->name[len] = '\0';
    if (!type)
        return refuse_bad(module, "an export that is not there", err);
    if (type->results > 0)
        return SYN_FAIL(err, SYN_E_INVALID, "wasm: %s: kernel %s returns something", module->name,
                        kernel->name);
    if (type->params > SYN_DRV_ARGS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "wasm: %s: kernel %s has more than %d parameters",
                        module->name, kernel->name, SYN_DRV_ARGS_MAX);
    for (unsigned i = 0; i < type->params; i++) {
        if (type->kinds[i] == OTHER)
            return SYN_FAIL(err, SYN_E_INVALID, "wasm: %s: kernel %s: parameter %u is no number",
                            module->name, kernel->name, i);
    }
    kernel->params = type->params;
    memcpy(kernel->kinds, type->kinds, sizeof(kernel->kinds));
    kernels->count++;
    return SYN_OK;
}

static int
read_exports(struct module *module, struct syn_err *err)
{
    struct bytes *bytes = &module->sections[SECTION_EXPORT];
    uint32_t count = bytes->at ? read_number(bytes) : 0;
    int rc = SYN_OK;

    for (uint32_t i = 0; rc == SYN_OK && i < count; i++) {
        struct bytes name = read_part(bytes, read_number(bytes));
        uint8_t kind = read_byte(bytes);
        uint32_t index = read_number(bytes);

        if (bytes->bad)
            return refuse_bad(module, "its exports are cut off", err);
        if (kind == KIND_FUNCTION)
            rc = add_kernel(module, name, type_of(module, index), err);
    }
    if (rc == SYN_OK && module->kernels->count == 0)
        rc = refuse_bad(module, "no kernels: it exports no function", err);
    return rc;
}

int
wasm_module_read(const uint8_t *data, size_t size, const char *name,
                 struct wasm_kernels *ret_kernels, struct syn_err *err)
{
    struct module module = {.name = name, .kernels = ret_kernels};
    int rc;

    *ret_kernels = (struct wasm_kernels){0};
    rc = find_sections(&module, (struct bytes){data, data + size, false}, err);
    rc = rc < 0 ? rc : read_import(&module, err);
    rc = rc < 0 ? rc : read_types(&module, err);
    rc = rc < 0 ? rc : read_exports(&module, err);
    syn_free(module.types);
    return rc;
}
