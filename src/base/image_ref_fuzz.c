/* References from strangers: what is taken is within its bounds and means itself when written out,
 * and no credentials file gives more than base64. */
#include <synor/base/image_ref.h>
#include <synor/base/str.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[2 * SYN_IMAGE_REF_MAX];
    char first[SYN_IMAGE_REF_MAX], second[SYN_IMAGE_REF_MAX], auth[SYN_IMAGE_AUTH_MAX];
    char password[SYN_IMAGE_AUTH_MAX];
    struct syn_image_ref ref;

    if (syn_image_auth_find((const char *)data, size, "r.io", auth, NULL) == SYN_OK &&
        strpbrk(auth, "\r\n: ") != NULL)
        abort();
    if (syn_image_helper_read((const char *)data, size, auth, password, NULL) == SYN_OK &&
        (auth[0] == '\0' || strchr(auth, ':') != NULL))
        abort();
    if (size >= sizeof(text))
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (syn_image_ref_parse(text, &ref, NULL) < 0)
        return 0;
    (void)syn_image_ref_format(&ref, first);
    if (!syn_image_host_ok(ref.host) || strpbrk(first, " \r\n\t%?#\\\"") != NULL ||
        strstr(ref.path, "..") != NULL)
        abort();
    if (syn_image_ref_parse(first, &ref, NULL) < 0 ||
        !syn_str_eq(first, syn_image_ref_format(&ref, second)))
        abort();
    return 0;
}
