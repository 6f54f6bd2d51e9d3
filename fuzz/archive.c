/* The archive reader over any bytes behind its magic. */
#include "walk_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 8);
    if (copy == NULL)
        return 0;
    if (size > 0)
        memcpy(copy, data, size);
    memcpy(copy, "!<arch>\n", 8);
    walk_file(copy, size < 8 ? 8 : size);
    free(copy);
    return 0;
}
