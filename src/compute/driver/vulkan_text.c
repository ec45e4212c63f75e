/* GLSL has neither kernels with parameters nor more than one entry in a text. So a text for this
 * driver is GLSL with functions that are marked,
 *
 *     KERNEL scale(numbers x, float by, uint n) { ... }
 *
 * and for each of them a shader is made: a head before the text, which asks for what the driver
 * needs and makes the group's size a constant that the pipeline knows, and a `main` behind it,
 * which takes the arguments from where the driver puts them and calls the function. The driver
 * knows how long an argument is but not of which type, which layouts align by; so each lies at a
 * multiple of 8, and the shader says so too. The head's lines do not count: what compilers say is
 * of the text's own lines. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "vulkan_priv.h"

#define MARK "KERNEL"

static const char head[] =
    "#version 460\n"
    "#extension GL_EXT_buffer_reference : require\n"
    "#extension GL_EXT_buffer_reference2 : require\n"
    "#extension GL_EXT_scalar_block_layout : require\n"
    "#extension GL_EXT_shader_explicit_arithmetic_types : require\n"
    "#extension GL_EXT_shader_8bit_storage : enable\n"
    "#extension GL_EXT_shader_16bit_storage : enable\n"
    "layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z_id = 2) in;\n"
    "#define " MARK " void\n"
    "#line 1\n";

static bool
is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

static const char *
skip_to(const char *at, const char *end, const char *mark)
{
    size_t len = strlen(mark);

    while (at < end && ((size_t)(end - at) < len || memcmp(at, mark, len) != 0))
        at++;
    return (size_t)(end - at) < len ? end : at + len;
}

/* Behind the comment that begins at `at`; `at`: there is none. */
static const char *
skip_comment(const char *at, const char *end)
{
    if (end - at < 2 || at[0] != '/' || (at[1] != '*' && at[1] != '/'))
        return at;
    return at[1] == '*' ? skip_to(at + 2, end, "*/") : skip_to(at, end, "\n");
}

/* Behind blanks and comments. */
static const char *
skip_blanks(const char *at, const char *end)
{
    const char *from = NULL;

    while (at != from) {
        from = at;
        while (at < end && isspace((unsigned char)*at))
            at++;
        at = skip_comment(at, end);
    }
    return at;
}

static const char *
skip_word(const char *at, const char *end)
{
    while (at < end && is_word(*at))
        at++;
    return at;
}

/* The next mark, which is a word of the text and not of a comment or a directive. NULL: none. */
static const char *
find_mark(const char *at, const char *end)
{
    bool line_begins = true;

    while (at < end) {
        const char *word_end = skip_word(at, end), *comment_end = skip_comment(at, end);

        if (word_end > at) {
            if ((size_t)(word_end - at) == strlen(MARK) && memcmp(at, MARK, strlen(MARK)) == 0)
                return at;
            at = word_end;
            line_begins = false;
        } else if (comment_end > at) {
            line_begins = line_begins || comment_end[-1] == '\n';
            at = comment_end;
        } else if (line_begins && *at == '#') {
            const char *start = at;

            at = skip_to(at, end, "\n");
            while (at < end && at - start > 1 && at[-2] == '\\')
                at = skip_to(at, end, "\n");
            line_begins = true;
        } else {
            line_begins = *at == '\n' || (line_begins && isspace((unsigned char)*at));
            at++;
        }
    }
    return NULL;
}

/* The type of a parameter "type name", which is two words: what else GLSL lets stand before a
 * parameter it does not let stand before a member. NULL: it is no such thing. */
static const char *
type_of(const char *param, const char *end, size_t *ret_len)
{
    const char *type = skip_blanks(param, end), *type_end = skip_word(type, end);
    const char *name = skip_blanks(type_end, end), *name_end = skip_word(name, end);

    *ret_len = (size_t)(type_end - type);
    return type_end > type && name > type_end && name_end > name &&
                   skip_blanks(name_end, end) == end
               ? type
               : NULL;
}

/* Where the parameter that begins at `at` ends. */
static const char *
param_end(const char *at, const char *end)
{
    while (at < end && *at != ',')
        at++;
    return at;
}

static int
count_params(struct syn_vk_signature *kernel, struct syn_err *err)
{
    const char *end = kernel->params + kernel->params_len, *at = kernel->params;

    kernel->params_count = 0;
    if (skip_blanks(at, end) == end)
        return SYN_OK;
    for (; at <= end; at = param_end(at, end) + 1) {
        size_t len = 0;

        if (!type_of(at, param_end(at, end), &len))
            return SYN_FAIL(err, SYN_E_INVALID,
                            "%.*s: parameter %u is not a word for its type and a name",
                            (int)kernel->name_len, kernel->name, kernel->params_count);
        if (++kernel->params_count > SYN_DRV_ARGS_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "%.*s: more than %d parameters",
                            (int)kernel->name_len, kernel->name, SYN_DRV_ARGS_MAX);
    }
    return SYN_OK;
}

int
syn_vk_text_next(const char **cursor, const char *end, struct syn_vk_signature *ret,
                 struct syn_err *err)
{
    const char *at = find_mark(*cursor, end);

    if (!at)
        return 1;
    ret->name = skip_blanks(at + strlen(MARK), end);
    at = skip_word(ret->name, end);
    ret->name_len = (size_t)(at - ret->name);
    at = skip_blanks(at, end);
    if (ret->name_len == 0 || ret->name_len >= SYN_DRV_NAME_MAX || at == end || *at != '(')
        return SYN_FAIL(err, SYN_E_INVALID, MARK " without a name and its parameters behind it");
    ret->params = at + 1;
    at = skip_to(ret->params, end, ")");
    if (at[-1] != ')')
        return SYN_FAIL(err, SYN_E_INVALID, "%.*s: its parameters do not end", (int)ret->name_len,
                        ret->name);
    ret->params_len = (size_t)(at - 1 - ret->params);
    *cursor = at;
    return count_params(ret, err);
}

void
syn_vk_text_write(struct syn_buf *out, const char *text, size_t len,
                  const struct syn_vk_signature *kernel)
{
    const char *at = kernel->params, *end = at + kernel->params_len;

    syn_buf_add(out, head, sizeof(head) - 1);
    syn_buf_add(out, text, len);
    if (kernel->params_count > 0) {
        syn_buf_adds(out, "\nlayout(buffer_reference, scalar, buffer_reference_align = 8) buffer "
                          "syn_arguments {");
        for (unsigned i = 0; i < kernel->params_count; i++) {
            const char *stop = param_end(at, end);
            size_t type_len = 0;
            const char *type = type_of(at, stop, &type_len);

            syn_buf_addf(out, "layout(align = %d) %.*s a%u;", SYN_VK_ARG_ALIGN, (int)type_len, type,
                         i);
            at = stop + 1;
        }
        syn_buf_adds(out,
                     "};\nlayout(push_constant) uniform syn_pushed { syn_arguments syn_at; };");
    }
    syn_buf_addf(out, "\nvoid main() { %.*s(", (int)kernel->name_len, kernel->name);
    for (unsigned i = 0; i < kernel->params_count; i++)
        syn_buf_addf(out, "%ssyn_at.a%u", i > 0 ? ", " : "", i);
    syn_buf_adds(out, "); }\n");
}
