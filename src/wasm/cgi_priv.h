/* The output of a CGI-like command: a head, if it begins like one, and a body. Pure. */
#ifndef SYN_WASM_CGI_PRIV_H
#define SYN_WASM_CGI_PRIV_H

#include <synor/wasm/wasm.h>

enum wasm_cgi {
    WASM_CGI_MORE, /* cannot be told yet */
    WASM_CGI_HEAD, /* the head ends at *ret_end, where the body begins */
    WASM_CGI_RAW,  /* all of it is body */
};

/**
 * Look at the first bytes of an output. A head begins with Content-Type:, Status: or Location:, has
 * lines "Name: value" that end in LF or CR LF, and ends with an empty line within
 * SYN_WASM_HEADER_BYTES_MAX bytes. `ended`: no more will come, and the answer is never MORE.
 */
enum wasm_cgi wasm_cgi_look(const char *at, size_t size, bool ended, size_t *ret_end);
/** Take the next line off a head. False: there is none left. */
bool wasm_cgi_next(struct syn_wasm_text *head, struct syn_wasm_text *ret_name,
                   struct syn_wasm_text *ret_value);
/** The status in the value of Status:, "404" or "404 Not Found"; 0: it is none. */
int wasm_cgi_status(struct syn_wasm_text value);
/** A header's name (a token of RFC 9110), or value (no control character but tab). */
bool wasm_header_name_ok(struct syn_wasm_text name);
bool wasm_header_value_ok(struct syn_wasm_text value);
/** Whether the texts are the same but for case. */
bool wasm_text_is(struct syn_wasm_text text, const char *other);

#endif
