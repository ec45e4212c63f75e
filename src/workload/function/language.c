/* The names of runtimes: a table for what there is, and another for what people will ask for. */
#include <synor/workload/function_spec.h>

#include <string.h>

#include <synor/base/str.h>

#include "../work_priv.h"

#define CUSTOM "custom:"

static const struct row {
    const char *name;
    struct syn_function_language is;
} rows[] = {
    {"wasm", {SYN_FUNCTION_WASM, "", "", 0, 0}},
    {"python3", {SYN_FUNCTION_PYTHON, "python", "python3", 3, 0}},
    {"python39", {SYN_FUNCTION_PYTHON, "python", "python3", 3, 9}},
    {"python310", {SYN_FUNCTION_PYTHON, "python", "python3", 3, 10}},
    {"python311", {SYN_FUNCTION_PYTHON, "python", "python3", 3, 11}},
    {"python312", {SYN_FUNCTION_PYTHON, "python", "python3", 3, 12}},
    {"python313", {SYN_FUNCTION_PYTHON, "python", "python3", 3, 13}},
    {"node", {SYN_FUNCTION_NODE, "node", "node", 0, 0}},
    {"node18", {SYN_FUNCTION_NODE, "node", "node", 18, 0}},
    {"node20", {SYN_FUNCTION_NODE, "node", "node", 20, 0}},
    {"node22", {SYN_FUNCTION_NODE, "node", "node", 22, 0}},
    {"ruby", {SYN_FUNCTION_RUBY, "ruby", "ruby", 0, 0}},
    {"ruby31", {SYN_FUNCTION_RUBY, "ruby", "ruby", 3, 1}},
    {"ruby33", {SYN_FUNCTION_RUBY, "ruby", "ruby", 3, 3}},
    {"java", {SYN_FUNCTION_JAVA, "java", "java", 0, 0}},
    {"java17", {SYN_FUNCTION_JAVA, "java", "java", 17, 0}},
    {"java21", {SYN_FUNCTION_JAVA, "java", "java", 21, 0}},
    {"java25", {SYN_FUNCTION_JAVA, "java", "java", 25, 0}},
    {"c", {SYN_FUNCTION_COMMAND, "", "", 0, 0}},
    {"rust", {SYN_FUNCTION_COMMAND, "", "", 0, 0}},
    {"go", {SYN_FUNCTION_COMMAND, "", "", 0, 0}},
};

/* Known elsewhere, and what serves here instead. */
static const struct {
    const char *begins;
    const char *advice;
} advice[] = {
    {"java", "it is called java, or java17, java21, java25 for a version"},
    {"ruby", "it is called ruby, or ruby31, ruby33 for a version"},
    {"dotnet",
     "Debian has no package of it: use custom:IMAGE with an image that speaks HTTP on $PORT"},
    {"php", "use custom:IMAGE with an image that speaks HTTP on $PORT"},
    {"go1", "a compiled program has no version of its language: use go"},
    {"nodejs", "it is called node, or node20 for a version"},
    {"python3.", "it is called python3, or python311 for a version"},
    {"javascript", "it is called node"},
};

bool
syn_function_is_script(enum syn_function_runtime runtime)
{
    return runtime == SYN_FUNCTION_PYTHON || runtime == SYN_FUNCTION_NODE ||
           runtime == SYN_FUNCTION_RUBY;
}

static int
refuse(const char *name, struct syn_err *err)
{
    SYN_BUF(all);

    for (size_t i = 0; i < SYN_LEN(advice); i++)
        if (syn_str_starts(name, advice[i].begins))
            return SYN_FAIL(err, SYN_E_INVALID, "spec.runtime: \"%.63s\": %s", name,
                            advice[i].advice);
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        syn_buf_addf(&all, "%s, ", rows[i].name);
    return SYN_FAIL(err, SYN_E_INVALID, "spec.runtime: \"%.63s\" is not one of %scustom:IMAGE",
                    name, syn_buf_text(&all));
}

int
syn_function_language(const char *name, struct syn_function_language *ret, struct syn_err *err)
{
    if (syn_str_starts(name, CUSTOM)) {
        *ret = (struct syn_function_language){SYN_FUNCTION_CUSTOM, "", "", 0, 0};
        return work_check_image(name + strlen(CUSTOM), err);
    }
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        if (syn_str_eq(rows[i].name, name)) {
            *ret = rows[i].is;
            return SYN_OK;
        }
    }
    return refuse(name, err);
}
