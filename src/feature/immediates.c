/* The constants of an instruction: what of its immediate operands says nothing of where things lie. */
#include "feature/feature.h"

#include <string.h>

/* In every encoding an immediate ends where its instruction ends, a displacement of x86 in front of it does not. */
static bool is_relocated(const struct bk_image *img, uint64_t end)
{
    size_t lo = 0, hi = img->n_code_fields;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (img->code_fields[mid] < end)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < img->n_code_fields && img->code_fields[lo] == end;
}

/* adr, also spelled add and sub with pc, and adrp; a literal load of AArch64: it has an address where others have a base register. */
static bool takes_address(const struct bk_image *img, const struct bk_insn *insn)
{
    const struct bk_operand *second = insn->n_operands > 1 ? &insn->operands[1] : NULL;
    if ((img->arch != BK_ARCH_ARM && img->arch != BK_ARCH_ARM64) || !second)
        return false;
    if (strncmp(insn->mnemonic, "adr", 3) == 0)
        return true;
    if (img->arch == BK_ARCH_ARM)
        return second->kind == BK_OP_REG && strcmp(second->reg, "pc") == 0;
    bool load = strncmp(insn->mnemonic, "ldr", 3) == 0 || strncmp(insn->mnemonic, "prfm", 4) == 0;
    return load && second->kind == BK_OP_IMM;
}

size_t bk_insn_immediates(int64_t out[BK_MAX_OPERANDS], const struct bk_image *img, const struct bk_insn *insn)
{
    size_t n_operands = insn->n_operands, n = 0;
    if (n_operands == 0 || takes_address(img, insn))
        return 0;
    if (insn->flags & BK_INSN_TARGET)
        n_operands--; /* the target is the last one */
    for (size_t i = 0; i < n_operands; i++) {
        int64_t value = insn->operands[i].value;
        if (insn->operands[i].kind == BK_OP_IMM && !(img->fixed && bk_image_section_at(img, (uint64_t)value)))
            out[n++] = value;
    }
    bool relocated = n > 0 && !(insn->flags & BK_INSN_TARGET) && is_relocated(img, insn->addr + insn->size);
    return relocated ? 0 : n;
}
