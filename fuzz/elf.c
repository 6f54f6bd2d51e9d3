/* The ELF reader over any bytes. The magic is put right, so that no run is spent on what is refused at once. */
#include "walk_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 4);
    if (copy == NULL)
        return 0;
    if (size > 0)
        memcpy(copy, data, size);
    memcpy(copy, "\177ELF", 4);
    walk_file(copy, size < 4 ? 4 : size);
    free(copy);
    return 0;
}
