/* labelled: a file that goes into a data set, opened if it is what its labels say. */
#include "dataset_int.h"

#include <sha2.h>
#include <string.h>
#include <strings.h>

/* Debian's names, of which some processors have one more for either order of bytes or an older calling convention. */
static bool is_of_arch(const struct bk_image *img, const char *name)
{
    enum bk_arch arch = bk_arch_parse(name);
    if (!img->big_endian && (!strcmp(name, "mipsel") || !strcmp(name, "mips64el")))
        arch = !strcmp(name, "mipsel") ? BK_ARCH_MIPS : BK_ARCH_MIPS64;
    else if (!strcmp(name, "armel"))
        arch = BK_ARCH_ARM;
    return arch == img->arch;
}

/* Whether the file is what its labels say: a wrong one would make another experiment of it. *member: where it is not. */
static int check_labels(const char **member, const struct bk_labelled_file *in, const struct bk_map *map,
                        const struct bk_image_file *file, struct bk_error *err)
{
    char sha256[SHA256_DIGEST_STRING_LENGTH];
    if (in->sha256 && strcasecmp(SHA256Data(map->data, map->size, sha256), in->sha256) != 0)
        return bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET, "its SHA-256 is %s, not %.64s", sha256, in->sha256);
    for (size_t i = 0; i < file->n_images && in->arch; i++) {
        const struct bk_image *img = &file->images[i];
        *member = img->member;
        if (!is_of_arch(img, in->arch))
            return bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET, "%s-endian code for %s, but its label says %.32s",
                           img->big_endian ? "big" : "little", bk_arch_name(img->arch), in->arch);
    }
    *member = NULL;
    return BK_OK;
}

int bk_labelled_open(struct bk_map *map, struct bk_image_file **file, const struct bk_labelled_file *in,
                     struct bk_error *err)
{
    const char *member = NULL;
    *file = NULL;
    int rc = bk_map_open(map, in->path, err);
    if (!rc) {
        rc = bk_image_file_parse(file, in->path, map->data, map->size, err);
        if (!rc)
            rc = check_labels(&member, in, map, *file, err);
        if (rc) {
            bk_error_file(err, in->path, member);
            bk_image_file_close(*file);
            bk_map_close(map);
        }
    } else {
        bk_error_file(err, in->path, NULL);
    }
    return rc;
}
