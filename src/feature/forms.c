/* Forms: what an instruction does, without its registers and numbers (doc/features.md). neutral.c takes the processor away too. */
#include "feature/feature_int.h"

#include <stdlib.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Whether a register of this name is one of the vector and floating-point registers. */
static bool is_vector(enum bk_arch arch, const char *name)
{
    switch (bk_word_prefix(arch)) {
    case 'X':
        return strchr("xyzms", name[0]) != NULL && (strncmp(name + (name[0] != 'm'), "mm", 2) == 0 || name[2] == '(');
    case 'A':
        return strchr("sdq", name[0]) != NULL && is_digit(name[1]);
    case 'V':
        return strchr("bhsdqv", name[0]) != NULL && is_digit(name[1]);
    default:
        return strchr("fw", name[0]) != NULL && is_digit(name[1]);
    }
}

static void put_kind(struct bk_text *t, enum bk_arch arch, const struct bk_operand *op)
{
    switch (op->kind) {
    case BK_OP_REG:
        bk_text_char(t, op->reg != NULL && is_vector(arch, op->reg) ? 'v' : 'r');
        break;
    case BK_OP_IMM:
        bk_text_char(t, 'i');
        break;
    case BK_OP_MEM:
        bk_text_char(t, 'm');
        break;
    case BK_OP_FP:
        bk_text_char(t, 'f');
        break;
    case BK_OP_OTHER:
        bk_text_char(t, 'o');
        bk_text_str(t, op->reg != NULL ? op->reg : "");
        break;
    }
    if (op->size != 0)
        bk_text_unsigned(t, op->size, 10);
}

/* Where an instruction of ARM or MIPS returns or jumps by writing or naming a register, no name tells. */
static const char *hidden_flow(enum bk_arch arch, const struct bk_insn *insn)
{
    if ((insn->flags & BK_INSN_RET) != 0)
        return strstr(insn->mnemonic, "ret") != NULL ? "" : ":ret";
    bool jumps = (insn->flags & BK_INSN_JUMP) != 0 && arch == BK_ARCH_ARM;
    return jumps && strchr("bct", insn->mnemonic[0]) == NULL ? ":jump" : "";
}

/* The name, but that a direct call of ARM is bl, whether or not the linker made it blx for a callee of the other mode. */
static const char *name_of(enum bk_arch arch, const struct bk_insn *insn)
{
    bool direct = insn->n_operands == 1 && insn->operands[0].kind == BK_OP_IMM;
    return arch == BK_ARCH_ARM && direct && strcmp(insn->mnemonic, "blx") == 0 ? "bl" : insn->mnemonic;
}

size_t bk_form_write(char out[BK_FORM_MAX], enum bk_arch arch, const struct bk_insn *insn)
{
    struct bk_text t = {.p = out, .end = out + BK_FORM_MAX - 1};
    bk_text_char(&t, bk_word_prefix(arch));
    bk_text_char(&t, '_');
    for (const char *s = name_of(arch, insn); *s != '\0'; s++)
        bk_text_char(&t, *s == ' ' ? '_' : *s);
    bk_text_str(&t, hidden_flow(arch, insn));
    for (size_t i = 0; i < insn->n_operands; i++) {
        bk_text_char(&t, i == 0 ? '_' : ',');
        put_kind(&t, arch, &insn->operands[i]);
    }
    return bk_text_end(&t, out);
}

/* ---- functions -------------------------------------------------------- */

void bk_form_seq_done(struct bk_form_seq *s)
{
    if (s == NULL)
        return;
    free(s->v);
    free(s->neutral);
    *s = (struct bk_form_seq){0};
}

/* Empties `s` and makes room for the forms of `body` that will be kept; their number goes to *n. */
static int begin(struct bk_form_seq *s, size_t *n, const struct bk_body *body, size_t max, struct bk_error *err)
{
    *n = max != 0 && max < body->n_insns ? max : body->n_insns;
    s->n = s->n_unknown = 0;
    if (!bk_grow((void **)&s->v, &s->cap, *n, sizeof *s->v) ||
        !bk_grow((void **)&s->neutral, &s->neutral_cap, *n, sizeof *s->neutral))
        return bk_fail_nomem(err, *n * sizeof *s->v);
    return BK_OK;
}

int bk_form_seq_find(struct bk_form_seq *out, const struct bk_strtab *forms, const struct bk_body *body, size_t max,
                     struct bk_error *err)
{
    size_t n;
    int rc = begin(out, &n, body, max, err);
    if (rc != BK_OK)
        return rc;
    uint32_t *known = bk_memo_ids(body, BK_MEMO_FORMS, forms);
    uint32_t *known_neutral = bk_memo_ids(body, BK_MEMO_NEUTRAL_FORMS, forms);
    for (; out->n < n; out->n++) {
        const struct bk_insn *insn = &body->insns[out->n];
        uint32_t key = known != NULL && known_neutral != NULL ? insn->key : 0, *id = &out->v[out->n];
        if (key != 0 && known[key] != 0 && known_neutral[key] != 0) {
            *id = known[key] - 1;
            out->neutral[out->n] = known_neutral[key] - 1;
            continue;
        }
        char form[BK_FORM_MAX], neutral[BK_FORM_MAX];
        *id = bk_strtab_find(forms, form, bk_form_write(form, body->arch, insn));
        out->neutral[out->n] = bk_strtab_find(forms, neutral, bk_form_neutral(neutral, form));
        out->n_unknown += *id == BK_STR_NONE;
        if (key != 0) { /* 0 for what is not there: it may yet come */
            known[key] = *id + 1;
            known_neutral[key] = out->neutral[out->n] + 1;
        }
    }
    return BK_OK;
}

int bk_form_seq_intern(struct bk_form_seq *out, struct bk_strtab *forms, const struct bk_body *body, size_t max,
                       struct bk_error *err)
{
    size_t n;
    int rc = begin(out, &n, body, max, err);
    if (rc != BK_OK)
        return rc;
    uint32_t *known = bk_memo_ids(body, BK_MEMO_FORMS, forms), none;
    for (; out->n < n; out->n++) {
        const struct bk_insn *insn = &body->insns[out->n];
        uint32_t *slot = known != NULL && insn->key != 0 ? &known[insn->key] : &none;
        if (slot != &none && *slot != 0) {
            out->v[out->n] = *slot - 1;
            continue;
        }
        char form[BK_FORM_MAX];
        out->v[out->n] = bk_strtab_intern(forms, form, bk_form_write(form, body->arch, insn));
        if (out->v[out->n] == BK_STR_NONE)
            return bk_fail(err, BK_ENOMEM, BK_NO_OFFSET, "no room for another form after %u",
                           (unsigned)bk_strtab_count(forms));
        *slot = out->v[out->n] + 1;
    }
    return BK_OK;
}
