/* The token rules `safe`, version 1: Massarelli et al. 2019, section 5.1, as doc/tokens.md spells them out. Numbers are
 * formatted by hand: this runs once for every instruction of a program, and printf asks the locale. */
#include "feature/feature_int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define IMM_LIMIT 5000 /* the largest immediate that keeps its value */

char bk_word_prefix(enum bk_arch arch)
{
    switch (arch) {
    case BK_ARCH_AMD64:
    case BK_ARCH_I386:
        return 'X';
    case BK_ARCH_ARM:
        return 'A';
    case BK_ARCH_ARM64:
        return 'V';
    case BK_ARCH_MIPS:
    case BK_ARCH_MIPS64:
        return 'M';
    case BK_ARCH_NONE:
    case BK_ARCH_COUNT:
        break;
    }
    assert(!"an architecture without words");
    return '?';
}

const char *bk_word_unknown(enum bk_arch arch)
{
    switch (bk_word_prefix(arch)) {
    case 'X':
        return "X_UNK";
    case 'A':
        return "A_UNK";
    case 'V':
        return "V_UNK";
    default:
        return "M_UNK";
    }
}

const char *bk_word_end(enum bk_arch arch)
{
    switch (bk_word_prefix(arch)) {
    case 'X':
        return "X_EOF";
    case 'A':
        return "A_EOF";
    case 'V':
        return "V_EOF";
    default:
        return "M_EOF";
    }
}

static uint64_t magnitude(int64_t v)
{
    return v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
}

static void put_decimal(struct bk_text *w, int64_t v)
{
    if (v < 0)
        bk_text_char(w, '-');
    bk_text_unsigned(w, magnitude(v), 10);
}

static void put_immediate(struct bk_text *w, int64_t v)
{
    if (magnitude(v) > IMM_LIMIT) {
        bk_text_str(w, "HIMM");
        return;
    }
    bk_text_str(w, v < 0 ? "-0x" : "0x");
    bk_text_unsigned(w, magnitude(v), 16);
}

static void put_fp(struct bk_text *w, double v)
{
    /* The comparison also keeps NaN and values that no int64_t holds away from the cast. */
    if (v >= -IMM_LIMIT && v <= IMM_LIMIT && v == (double)(int64_t)v)
        put_immediate(w, (int64_t)v);
    else
        bk_text_str(w, "FIMM");
}

static void put_operand(struct bk_text *w, const struct bk_operand *op)
{
    switch (op->kind) {
    case BK_OP_REG:
        bk_text_str(w, op->reg);
        break;
    case BK_OP_IMM:
        put_immediate(w, op->value);
        break;
    case BK_OP_MEM:
        if (op->reg == NULL) {
            bk_text_str(w, "[MEM]");
            break;
        }
        bk_text_char(w, '[');
        bk_text_str(w, op->reg);
        bk_text_char(w, '*');
        put_decimal(w, op->scale);
        bk_text_char(w, '+');
        put_decimal(w, op->value);
        bk_text_char(w, ']');
        break;
    case BK_OP_FP:
        put_fp(w, op->fp);
        break;
    case BK_OP_OTHER: /* its number is the disassembler's own count of such things, or as good as never varies */
        bk_text_str(w, op->reg != NULL ? op->reg : "OTHER");
        break;
    }
}

size_t bk_word_write(char out[BK_WORD_MAX], enum bk_arch arch, const struct bk_insn *insn)
{
    struct bk_text w = {.p = out, .end = out + BK_WORD_MAX - 1};
    bk_text_char(&w, bk_word_prefix(arch));
    bk_text_char(&w, '_');
    for (const char *s = insn->mnemonic; *s != '\0'; s++)
        bk_text_char(&w, *s == ' ' ? '_' : *s);
    for (size_t i = 0; i < insn->n_operands; i++) {
        bk_text_char(&w, i == 0 ? '_' : ',');
        put_operand(&w, &insn->operands[i]);
    }
    return bk_text_end(&w, out);
}

/* The operand part begins at a '_' that no rule sets apart from those of a mnemonic ("vcmpeq_uqps", "adds_a.b", a prefix) or a
 * register ("apsr_nzcv"). Only A has such registers, and no such mnemonics nor has V; elsewhere the last '_' it is,
 * unless an instruction without operands follows a prefix. */
static bool ends_in_prefix(const char *s, size_t n)
{
    static const char *const prefixes[] = {"lock", "rep", "repe", "repne", "bnd", "fdisi8087", "feni8087"};
    const char *last = memrchr(s, '_', n);
    last = last ? last + 1 : s;
    n -= (size_t)(last - s);
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strlen(prefixes[i]) == n && memcmp(prefixes[i], last, n) == 0)
            return true;
    return false;
}

size_t bk_word_opcode(const char **opcode, const char *word)
{
    *opcode = word;
    if (word[0] == '\0' || word[1] != '_' || word[2] < 'a' || word[2] > 'z')
        return 0;
    const char *s = word + 2, *end = word[0] == 'A' || word[0] == 'V' ? strchr(s, '_') : strrchr(s, '_');
    *opcode = s;
    if (end == NULL || (word[0] == 'X' && ends_in_prefix(s, (size_t)(end - s))))
        return strlen(s);
    return (size_t)(end - s);
}

/* ---- functions -------------------------------------------------------- */

void bk_word_seq_done(struct bk_word_seq *s)
{
    if (s == NULL)
        return;
    free(s->v);
    *s = (struct bk_word_seq){0};
}

/* Empties `s` and makes room for the words of `body` that will be kept; their number goes to *n. */
static int begin(struct bk_word_seq *s, size_t *n, const struct bk_body *body, size_t max, struct bk_error *err)
{
    *n = max != 0 && max < body->n_insns ? max : body->n_insns;
    s->n = s->n_unknown = 0;
    if (*n > s->cap && !bk_grow((void **)&s->v, &s->cap, *n, sizeof *s->v))
        return bk_fail_nomem(err, *n * sizeof *s->v);
    return BK_OK;
}

/* Whether the instruction's key tells its word: an address is part of it only where it is small. */
static bool key_tells(const struct bk_insn *insn)
{
    return insn->key != 0 &&
           (!(insn->flags & BK_INSN_MOVES) || magnitude(insn->operands[insn->n_operands - 1].value) > IMM_LIMIT);
}

int bk_word_seq_find(struct bk_word_seq *out, const struct bk_strtab *words, const struct bk_body *body, size_t max,
                     struct bk_error *err)
{
    const char *name = bk_word_unknown(body->arch);
    uint32_t unknown = bk_strtab_find(words, name, strlen(name));
    if (unknown == BK_STR_NONE)
        return bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET, "the vocabulary has no words of %s", bk_arch_name(body->arch));
    size_t n;
    int rc = begin(out, &n, body, max, err);
    if (rc != BK_OK)
        return rc;
    uint32_t *known = bk_memo_ids(body, BK_MEMO_WORDS, words), none;
    for (; out->n < n; out->n++) {
        const struct bk_insn *insn = &body->insns[out->n];
        uint32_t *slot = known != NULL && key_tells(insn) ? &known[insn->key] : &none;
        if (slot != &none && *slot != 0) {
            out->v[out->n] = *slot - 1;
            continue;
        }
        char word[BK_WORD_MAX];
        size_t len = bk_word_write(word, body->arch, insn);
        uint32_t id = bk_strtab_find(words, word, len);
        out->n_unknown += id == BK_STR_NONE;
        out->v[out->n] = id == BK_STR_NONE ? unknown : id;
        *slot = id + 1; /* 0 for a word that is not there: it may yet come */
    }
    return BK_OK;
}

int bk_word_seq_intern(struct bk_word_seq *out, struct bk_strtab *words, const struct bk_body *body, size_t max,
                       struct bk_error *err)
{
    size_t n;
    int rc = begin(out, &n, body, max, err);
    if (rc != BK_OK)
        return rc;
    uint32_t *known = bk_memo_ids(body, BK_MEMO_WORDS, words), none;
    for (; out->n < n; out->n++) {
        const struct bk_insn *insn = &body->insns[out->n];
        uint32_t *slot = known != NULL && key_tells(insn) ? &known[insn->key] : &none;
        if (slot != &none && *slot != 0) {
            out->v[out->n] = *slot - 1;
            continue;
        }
        char word[BK_WORD_MAX];
        size_t len = bk_word_write(word, body->arch, insn);
        out->v[out->n] = bk_strtab_intern(words, word, len);
        if (out->v[out->n] == BK_STR_NONE)
            return bk_fail(err, BK_ENOMEM, BK_NO_OFFSET, "no room for another word after %u",
                           (unsigned)bk_strtab_count(words));
        *slot = out->v[out->n] + 1;
    }
    return BK_OK;
}
