#include <synor/base/loader.h>

#include <dlfcn.h>
#include <string.h>

int
syn_loader_open(const char *only, const char *const *names, const struct syn_loader_row *rows,
                size_t count, void *api, struct syn_err *err)
{
    const char *const single[] = {only, NULL};
    const char *const *name = only ? single : names;
    void *library = NULL;

    for (; *name && !library; name++)
        library = dlopen(*name, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *why = dlerror();

        return SYN_FAIL(err, SYN_E_NOTFOUND, "%s", why ? why : "no library");
    }
    name--;
    for (size_t i = 0; i < count; i++) {
        void *function = rows[i].symbol ? dlsym(library, rows[i].symbol) : NULL;

        if (rows[i].symbol && !function && !rows[i].optional)
            return SYN_FAIL(err, SYN_E_UNSUPPORTED, "%s lacks %s: it is too old", *name,
                            rows[i].symbol);
        memcpy((char *)api + rows[i].offset, &function, sizeof(function));
    }
    return SYN_OK;
}
