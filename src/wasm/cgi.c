#include "cgi_priv.h"

#include <string.h>
#include <strings.h>

static const char *const first_names[] = {"Content-Type", "Status", "Location"};

bool
wasm_text_is(struct syn_wasm_text text, const char *other)
{
    return strlen(other) == text.size && strncasecmp(text.at, other, text.size) == 0;
}

bool
wasm_header_name_ok(struct syn_wasm_text name)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < name.size; i++) {
        char c = name.at[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (c && strchr(others, c))))
            return false;
    }
    return name.size > 0;
}

bool
wasm_header_value_ok(struct syn_wasm_text value)
{
    for (size_t i = 0; i < value.size; i++) {
        unsigned char c = (unsigned char)value.at[i];

        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* Whether the output, as far as it is there, begins with one of the names and a colon. */
static enum wasm_cgi
begins(const char *at, size_t size)
{
    for (size_t i = 0; i < SYN_LEN(first_names); i++) {
        size_t length = strlen(first_names[i]);

        if (strncasecmp(at, first_names[i], SYN_MIN(size, length)) != 0)
            continue;
        if (size <= length)
            return WASM_CGI_MORE;
        if (at[length] == ':')
            return WASM_CGI_HEAD;
    }
    return WASM_CGI_RAW;
}

/* The line at the front of `text`, without its end; false: it has no end. */
static bool
take_line(struct syn_wasm_text *text, struct syn_wasm_text *ret_line)
{
    const char *end = text->size ? memchr(text->at, '\n', text->size) : NULL;
    size_t size = end ? (size_t)(end - text->at) : 0;

    if (!end)
        return false;
    *ret_line = (struct syn_wasm_text){text->at, size - (size > 0 && end[-1] == '\r')};
    text->at += size + 1;
    text->size -= size + 1;
    return true;
}

static struct syn_wasm_text
trimmed(struct syn_wasm_text text)
{
    while (text.size && (*text.at == ' ' || *text.at == '\t')) {
        text.at++;
        text.size--;
    }
    while (text.size && (text.at[text.size - 1] == ' ' || text.at[text.size - 1] == '\t'))
        text.size--;
    return text;
}

static bool
split(struct syn_wasm_text line, struct syn_wasm_text *ret_name, struct syn_wasm_text *ret_value)
{
    const char *colon = line.size ? memchr(line.at, ':', line.size) : NULL;
    size_t name = colon ? (size_t)(colon - line.at) : 0;

    if (!colon)
        return false;
    *ret_name = (struct syn_wasm_text){line.at, name};
    *ret_value = trimmed((struct syn_wasm_text){colon + 1, line.size - name - 1});
    return wasm_header_name_ok(*ret_name) && wasm_header_value_ok(*ret_value);
}

enum wasm_cgi
wasm_cgi_look(const char *at, size_t size, bool ended, size_t *ret_end)
{
    struct syn_wasm_text rest = {at, SYN_MIN(size, SYN_WASM_HEADER_BYTES_MAX)}, line, name, value;
    enum wasm_cgi begin = begins(at, size);
    size_t count = 0;

    if (begin != WASM_CGI_HEAD)
        return begin == WASM_CGI_MORE && ended ? WASM_CGI_RAW : begin;
    while (take_line(&rest, &line)) {
        if (!line.size) {
            *ret_end = (size_t)(rest.at - at);
            return WASM_CGI_HEAD;
        }
        if (!split(line, &name, &value) || ++count > SYN_WASM_HEADERS_MAX)
            return WASM_CGI_RAW;
    }
    return ended || size >= SYN_WASM_HEADER_BYTES_MAX ? WASM_CGI_RAW : WASM_CGI_MORE;
}

bool
wasm_cgi_next(struct syn_wasm_text *head, struct syn_wasm_text *ret_name,
              struct syn_wasm_text *ret_value)
{
    struct syn_wasm_text line;

    return take_line(head, &line) && split(line, ret_name, ret_value);
}

int
wasm_cgi_status(struct syn_wasm_text value)
{
    int status = 0;

    if (value.size < 3 || (value.size > 3 && value.at[3] != ' '))
        return 0;
    for (int i = 0; i < 3; i++) {
        if (value.at[i] < '0' || value.at[i] > '9')
            return 0;
        status = status * 10 + (value.at[i] - '0');
    }
    return status >= 200 && status <= 599 ? status : 0;
}
