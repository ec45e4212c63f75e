/* Choosing an image is a walk over indexes: the first one, and the indexes it names, are flattened
 * into candidates, of which exactly one must be left, or the first is taken.
 *
 *      index --ref name--> descriptor --+--> manifest ----platform----> candidate
 *                                       +--> index --> descriptor --> ...
 *
 * A descriptor need not name its platform, so the chosen image's configuration has the last word.
 */
#include <synor/base/str.h>

#include "oci_image_priv.h"

struct search {
    const struct syn_oci_chooser *chooser;
    struct syn_oci_blob found;
    unsigned found_count;
    size_t seen;
    bool ref_seen;
    char others[128]; /* what there is instead: platforms, or refs when several fit */
};

static void
remember(struct search *search, const char *first, const char *slash, const char *second)
{
    size_t len = strlen(search->others);

    (void)snprintf(search->others + len, sizeof(search->others) - len, "%s%s%s%s",
                   len > 0 ? ", " : "", first, slash, second);
}

static void
consider(struct search *search, const struct syn_oci_entry *entry)
{
    bool fits = (entry->os[0] == '\0' || syn_str_eq(entry->os, "linux")) &&
                (entry->architecture[0] == '\0' ||
                 syn_str_eq(entry->architecture, search->chooser->architecture));

    if (!fits) {
        if (search->found_count == 0)
            remember(search, entry->os, "/", entry->architecture);
        return;
    }
    if (search->found_count > 0 && syn_str_eq(search->found.hex, entry->blob.hex))
        return; /* the same image under another name */
    if (search->found_count++ == 0)
        search->others[0] = '\0';
    remember(search, entry->ref[0] != '\0' ? entry->ref : entry->blob.hex, "", "");
    if (search->found_count == 1)
        search->found = entry->blob;
}

/* Whatever is not for a system (an attestation, which says "unknown") is left out. */
static int
note_platform(const struct search *search, const struct syn_oci_entry *entry, struct syn_err *err)
{
    json_t *platforms = search->chooser->platforms;
    char text[2 * SYN_OCI_WORD_MAX + 1];
    const json_t *item;
    size_t i;

    if (platforms == NULL || entry->os[0] == '\0' || entry->architecture[0] == '\0' ||
        syn_str_eq(entry->os, "unknown"))
        return SYN_OK;
    (void)snprintf(text, sizeof(text), "%s/%s", entry->os, entry->architecture);
    json_array_foreach (platforms, i, item)
        if (syn_str_eq(json_string_value(item), text))
            return SYN_OK;
    return syn_json_append_take(platforms, json_string(text), err);
}

static int
search_index(struct search *search, const struct syn_buf *text, unsigned nesting,
             struct syn_err *err)
{
    SYN_SCOPED(syn_oci_index_fini) struct syn_oci_index index = {0};
    int rc = syn_oci_index_parse(syn_buf_text(text), text->len, &index, err);

    if (rc < 0)
        return rc;
    search->seen += index.count;
    if (nesting > SYN_OCI_NESTING_MAX || search->seen > SYN_OCI_MANIFESTS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "image layout: more than %d manifests or %d levels",
                        SYN_OCI_MANIFESTS_MAX, SYN_OCI_NESTING_MAX);
    for (size_t i = 0; rc == SYN_OK && i < index.count; i++) {
        const struct syn_oci_entry *entry = &index.entries[i];
        SYN_BUF(inner);

        if (nesting == 0 && search->chooser->ref != NULL) {
            if (!syn_str_eq(entry->ref, search->chooser->ref))
                continue;
            search->ref_seen = true;
        }
        if (entry->blob.kind == SYN_OCI_MANIFEST) {
            consider(search, entry);
            rc = note_platform(search, entry, err);
        }
        if (entry->blob.kind != SYN_OCI_INDEX)
            continue;
        rc = search->chooser->read(search->chooser->arg, &entry->blob, &inner, err);
        if (rc == SYN_OK)
            rc = search_index(search, &inner, nesting + 1, err);
    }
    return rc;
}

int
syn_oci_choose(const struct syn_oci_chooser *chooser, const struct syn_buf *index,
               struct syn_oci_blob *ret, struct syn_err *err)
{
    struct search search = {.chooser = chooser};
    int rc = search_index(&search, index, 0, err);

    if (rc < 0)
        return rc;
    if (chooser->ref != NULL && !search.ref_seen)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "the image layout has no image named %.80s",
                        chooser->ref);
    if (search.found_count == 0)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "no image for linux/%s in the layout; it has %s",
                        chooser->architecture, search.others[0] != '\0' ? search.others : "none");
    if (search.found_count > 1 && !chooser->first)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "the layout has several images (%s); copy one into a layout of its own",
                        search.others);
    *ret = search.found;
    return SYN_OK;
}

int
syn_oci_image_fits(const struct syn_oci_image *image, const struct syn_oci_manifest *manifest,
                   const char *architecture, struct syn_err *err)
{
    const struct syn_oci_config *config = &image->config;

    if (!syn_str_eq(config->os, "linux") || !syn_str_eq(config->architecture, architecture))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "the image is for %.40s/%.40s, not linux/%s",
                        config->os, config->architecture, architecture);
    if (image->count != manifest->count)
        return SYN_FAIL(err, SYN_E_INVALID, "the image has %zu layers, its configuration names %zu",
                        manifest->count, image->count);
    return SYN_OK;
}
