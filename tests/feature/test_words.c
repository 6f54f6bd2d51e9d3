/* The token rules: golden words and forms of real instructions, one file an architecture, and the corners no disassembler shows.
 *
 * A golden line is "address <tab> bytes in hex <tab> words <tab> forms <tab> neutral forms": the bytes of one instruction, or of a few that belong together, decoded at that
 * address. BINKIN_BLESS=1 writes the words anew: read the difference, and run tests/feature/check-words, which derives
 * them from objdump's text. A changed word means a new BK_TOKENS_VERSION. */
#include <ctype.h>
#include <elf.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "feature/feature.h"

#define MAX_BYTES 64

/* ---- one instruction as a program of its own --------------------------- */

struct target {
    const char *name; /* of its golden file */
    enum bk_arch arch;
    uint16_t machine;
    bool wide, thumb;
};
static const struct target targets[] = {
    {"amd64", BK_ARCH_AMD64, EM_X86_64, true, false},  {"i386", BK_ARCH_I386, EM_386, false, false},
    {"a32", BK_ARCH_ARM, EM_ARM, false, false},        {"t32", BK_ARCH_ARM, EM_ARM, false, true},
    {"arm64", BK_ARCH_ARM64, EM_AARCH64, true, false}, {"mips", BK_ARCH_MIPS, EM_MIPS, false, false},
};

struct buffer {
    uint8_t v[1024];
    size_t n;
    bool wide;
};
static void put(struct buffer *b, uint64_t value, size_t bytes)
{
    for (; bytes > 0; bytes--, value >>= 8)
        b->v[b->n++] = (uint8_t)value;
}
static void put_word(struct buffer *b, uint64_t value)
{
    put(b, value, b->wide ? 8 : 4);
}
static void put_section(struct buffer *b, uint32_t name, uint32_t type, uint64_t flags, uint64_t addr, uint64_t offset,
                        uint64_t size, uint32_t link, uint32_t info, uint64_t entsize)
{
    put(b, name, 4);
    put(b, type, 4);
    put_word(b, flags);
    put_word(b, addr);
    put_word(b, offset);
    put_word(b, size);
    put(b, link, 4);
    put(b, info, 4);
    put_word(b, 1);
    put_word(b, entsize);
}
static void put_symbol(struct buffer *b, uint32_t name, uint64_t value, uint64_t size, uint8_t info, uint16_t section)
{
    put(b, name, 4);
    if (!b->wide) {
        put(b, value, 4);
        put(b, size, 4);
    }
    put(b, info, 1);
    put(b, 0, 1);
    put(b, section, 2);
    if (b->wide) {
        put(b, value, 8);
        put(b, size, 8);
    }
}

/* A shared object whose .text at `addr` is the `n` bytes, one function "f". */
static void make_elf(struct buffer *b, const struct target *t, uint64_t addr, const uint8_t *code, size_t n)
{
    static const char strings[] = "\0f\0$a\0$t\0.text\0.symtab\0.strtab"; /* 1, 3, 6, 9, 15, 23 */
    const size_t header = t->wide ? 64 : 52, entry = t->wide ? 64 : 40, symbol = t->wide ? 24 : 16;
    const size_t n_symbols = t->arch == BK_ARCH_ARM ? 3 : 2;
    const size_t at_symbols = header + n, at_strings = at_symbols + n_symbols * symbol;
    const size_t at_sections = at_strings + sizeof strings;
    *b = (struct buffer){.wide = t->wide};
    put(b, 0x464c457f, 4);
    put(b, t->wide ? ELFCLASS64 : ELFCLASS32, 1);
    put(b, ELFDATA2LSB, 1);
    put(b, EV_CURRENT, 1);
    put(b, 0, 9);
    put(b, ET_DYN, 2);
    put(b, t->machine, 2);
    put(b, EV_CURRENT, 4);
    put_word(b, 0);
    put_word(b, 0);
    put_word(b, at_sections);
    put(b, t->arch == BK_ARCH_ARM ? EF_ARM_EABI_VER5 : t->arch == BK_ARCH_MIPS ? EF_MIPS_ARCH_32R2 : 0, 4);
    put(b, header, 2);
    put(b, 0, 4);
    put(b, entry, 2);
    put(b, 4, 2); /* sections */
    put(b, 3, 2); /* the one of their names */
    for (size_t i = 0; i < n; i++)
        put(b, code[i], 1);
    put_symbol(b, 0, 0, 0, 0, 0);
    if (t->arch == BK_ARCH_ARM)
        put_symbol(b, t->thumb ? 6 : 3, addr, 0, ELF32_ST_INFO(STB_LOCAL, STT_NOTYPE), 1);
    put_symbol(b, 1, addr | t->thumb, n, ELF32_ST_INFO(STB_GLOBAL, STT_FUNC), 1);
    for (size_t i = 0; i < sizeof strings; i++)
        put(b, (uint8_t)strings[i], 1);
    put_section(b, 0, SHT_NULL, 0, 0, 0, 0, 0, 0, 0);
    put_section(b, 9, SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, addr, header, n, 0, 0, 0);
    put_section(b, 15, SHT_SYMTAB, 0, 0, at_symbols, n_symbols * symbol, 3, (uint32_t)n_symbols - 1, symbol);
    put_section(b, 23, SHT_STRTAB, 0, 0, at_strings, sizeof strings, 0, 0, 0);
}

/* Writes the word and reads its mnemonic back. */
static size_t write_word(char out[BK_WORD_MAX], enum bk_arch arch, const struct bk_insn *insn)
{
    const char *opcode;
    size_t len = bk_word_write(out, arch, insn), n = bk_word_opcode(&opcode, out);
    bool same = n == strlen(insn->mnemonic);
    for (size_t i = 0; same && i < n; i++)
        same = opcode[i] == (insn->mnemonic[i] == ' ' ? '_' : insn->mnemonic[i]);
    if (!same)
        fail_msg("%s: the mnemonic is %s, not %.*s", out, insn->mnemonic, (int)n, opcode);
    assert_int_equal(len, strlen(out));
    return len;
}

/* What a golden line says of its instructions: words, forms and neutral forms, each separated by blanks, with tabs between. */
static void describe(char *out, size_t size, const struct bk_body *body)
{
    size_t used = 0;
    for (unsigned what = 0; what < 3; what++) {
        for (size_t i = 0; i < body->n_insns; i++) {
            char text[BK_WORD_MAX], form[BK_FORM_MAX];
            size_t n = what == 0 ? write_word(text, body->arch, &body->insns[i])
                                 : bk_form_write(form, body->arch, &body->insns[i]);
            assert_int_equal(n, strlen(what == 0 ? text : form));
            if (what == 2)
                bk_form_neutral(text, form);
            const char *between = i > 0 ? " " : what > 0 ? "\t" : "";
            used += (size_t)snprintf(out + used, size - used, "%s%s", between, what == 1 ? form : text);
            assert_true(used < size);
        }
    }
}

/* That of `code` into `out`. */
static void words_of(char *out, size_t size, const struct target *t, uint64_t addr, const uint8_t *code, size_t n)
{
    struct buffer elf;
    struct bk_image_file *file;
    struct bk_functions *functions;
    struct bk_decoder *decoder;
    const struct bk_body *body;
    struct bk_error err = {0};
    make_elf(&elf, t, addr, code, n);
    if (bk_image_file_parse(&file, t->name, elf.v, elf.n, &err) != BK_OK)
        fail_msg("%s", err.message);
    assert_int_equal(bk_functions_find(&functions, &file->images[0], &err), BK_OK);
    assert_int_equal(functions->n, 1);
    assert_int_equal(bk_decoder_new(&decoder, functions, &err), BK_OK);
    assert_int_equal(bk_decoder_body(&body, decoder, 0, &err), BK_OK);
    if (body->bytes_bad > 0)
        fail_msg("%s: the bytes at %#llx (%02x %02x ..) are no instruction", t->name, (unsigned long long)addr, code[0],
                 code[1]);
    describe(out, size, body);
    bk_decoder_free(decoder);
    bk_functions_free(functions);
    bk_image_file_close(file);
}

/* ---- golden files ------------------------------------------------------ */

static size_t parse_hex(uint8_t out[MAX_BYTES], const char *s)
{
    size_t n = 0;
    for (; isxdigit((unsigned char)s[0]) && isxdigit((unsigned char)s[1]); s += 2) {
        const char pair[3] = {s[0], s[1], '\0'};
        assert_true(n < MAX_BYTES);
        out[n++] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return n;
}

static void golden(void **state)
{
    const struct target *t = *state;
    const bool bless = getenv("BINKIN_BLESS") != NULL;
    char path[512], line[2048], *blessed = NULL;
    size_t blessed_size = 0, checked = 0, wrong = 0;
    snprintf(path, sizeof path, "%s/words-%s.txt", FIXTURES, t->name);
    FILE *in = fopen(path, "r"), *out = open_memstream(&blessed, &blessed_size);
    assert_non_null(in);
    assert_non_null(out);
    while (fgets(line, sizeof line, in)) {
        line[strcspn(line, "\n")] = '\0';
        const char *hex = strchr(line, '\t');
        if (line[0] == '#' || hex == NULL) {
            fprintf(out, "%s\n", line);
            continue;
        }
        uint8_t code[MAX_BYTES];
        char words[2048];
        const char *tab = strchr(hex + 1, '\t'), *expected = tab ? tab + 1 : "";
        int prefix = (int)(tab ? (size_t)(tab - line) : strlen(line));
        words_of(words, sizeof words, t, strtoull(line, NULL, 16), code, parse_hex(code, hex + 1));
        fprintf(out, "%.*s\t%s\n", prefix, line, words);
        checked++;
        if (strcmp(words, expected) != 0) {
            wrong++;
            if (!bless)
                print_error("%s: %.*s: expected %s, got %s\n", t->name, prefix, line, expected, words);
        }
    }
    fclose(in);
    fclose(out);
    if (bless) {
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        assert_int_equal(fwrite(blessed, 1, blessed_size, f), blessed_size);
        assert_int_equal(fclose(f), 0);
    }
    free(blessed);
    assert_true(checked >= 30);
    assert_true(bless || wrong == 0);
}

/* ---- rules without a disassembler -------------------------------------- */

static const char *word(enum bk_arch arch, const char *mnemonic, size_t n, const struct bk_operand *operands)
{
    static char out[BK_WORD_MAX];
    const struct bk_insn insn = {.mnemonic = mnemonic, .operands = operands, .n_operands = (uint8_t)n};
    write_word(out, arch, &insn);
    return out;
}
static const char *one(struct bk_operand op)
{
    return word(BK_ARCH_AMD64, "m", 1, &op) + strlen("X_m_");
}
static const char *imm(int64_t value)
{
    return one((struct bk_operand){.kind = BK_OP_IMM, .value = value});
}
static const char *fp(double value)
{
    return one((struct bk_operand){.kind = BK_OP_FP, .fp = value});
}

static void immediates(void **state)
{
    (void)state;
    assert_string_equal(imm(0), "0x0");
    assert_string_equal(imm(16), "0x10");
    assert_string_equal(imm(-16), "-0x10");
    assert_string_equal(imm(0xabc), "0xabc");
    assert_string_equal(imm(5000), "0x1388");
    assert_string_equal(imm(5001), "HIMM");
    assert_string_equal(imm(-5000), "-0x1388");
    assert_string_equal(imm(-5001), "HIMM");
    assert_string_equal(imm(INT64_MAX), "HIMM");
    assert_string_equal(imm(INT64_MIN), "HIMM");
    assert_string_equal(fp(1), "0x1");
    assert_string_equal(fp(-31), "-0x1f");
    assert_string_equal(fp(-0.0), "0x0");
    assert_string_equal(fp(0.5), "FIMM");
    assert_string_equal(fp(5001), "FIMM");
    assert_string_equal(fp(1e300), "FIMM");
    assert_string_equal(fp(INFINITY), "FIMM");
    assert_string_equal(fp(NAN), "FIMM");
}

static void memory(void **state)
{
    (void)state;
    struct bk_operand m = {.kind = BK_OP_MEM, .reg = "rbp", .scale = 1, .value = -8};
    assert_string_equal(one(m), "[rbp*1+-8]");
    m.index = "rcx"; /* not seen */
    m.scale = 4;
    m.value = 123456;
    assert_string_equal(one(m), "[rbp*4+123456]");
    m.scale = -1; /* ARM, index subtracted */
    m.value = INT64_MIN;
    assert_string_equal(one(m), "[rbp*-1+-9223372036854775808]");
    m.reg = NULL;
    assert_string_equal(one(m), "[MEM]");
}

static void others(void **state)
{
    (void)state;
    assert_string_equal(one((struct bk_operand){.kind = BK_OP_OTHER, .reg = "ish", .value = 11}), "ish");
    assert_string_equal(one((struct bk_operand){.kind = BK_OP_OTHER, .value = 3}), "OTHER");
}

static void shapes(void **state)
{
    (void)state;
    const struct bk_operand ops[2] = {{.kind = BK_OP_REG, .reg = "eax"},
                                      {.kind = BK_OP_MEM, .reg = "rbp", .scale = 1, .value = -8}};
    assert_string_equal(word(BK_ARCH_AMD64, "mov", 2, ops), "X_mov_eax,[rbp*1+-8]"); /* the paper's own example */
    assert_string_equal(word(BK_ARCH_I386, "ret", 0, NULL), "X_ret");
    assert_string_equal(word(BK_ARCH_I386, "rep movsb", 0, NULL), "X_rep_movsb");
    assert_string_equal(word(BK_ARCH_ARM, "nop", 0, NULL), "A_nop");
    assert_string_equal(word(BK_ARCH_ARM64, "b.eq", 0, NULL), "V_b.eq");
    assert_string_equal(word(BK_ARCH_MIPS, "nop", 0, NULL), "M_nop");
    assert_string_equal(word(BK_ARCH_MIPS64, "nop", 0, NULL), "M_nop");
    for (enum bk_arch a = BK_ARCH_NONE + 1; a < BK_ARCH_COUNT; a++) {
        assert_int_equal(bk_word_unknown(a)[0], bk_word_prefix(a));
        assert_string_equal(bk_word_unknown(a) + 1, "_UNK");
        assert_int_equal(bk_word_end(a)[0], bk_word_prefix(a));
        assert_string_equal(bk_word_end(a) + 1, "_EOF");
    }
}

static void long_words_are_cut(void **state)
{
    (void)state;
    struct bk_operand ops[BK_MAX_OPERANDS];
    for (size_t i = 0; i < BK_MAX_OPERANDS; i++)
        ops[i] = (struct bk_operand){.kind = BK_OP_REG, .reg = "register"};
    const char *w = word(BK_ARCH_ARM, "vld", BK_MAX_OPERANDS, ops);
    assert_int_equal(strlen(w), BK_WORD_MAX - 1);
    assert_int_equal(w[BK_WORD_MAX - 2], '~');
    assert_int_equal(strncmp(w, "A_vld_register,register,", 24), 0);
    /* 6 + 20 * 9 - 1 + 1 + 5 = BK_WORD_MAX - 1: one that just fits is left whole. */
    ops[20].reg = "fives";
    w = word(BK_ARCH_ARM, "vld", 21, ops);
    assert_int_equal(strlen(w), BK_WORD_MAX - 1);
    assert_string_equal(w + BK_WORD_MAX - 1 - 6, ",fives");
}

static void the_locale_is_not_asked(void **state)
{
    (void)state;
    char *before = strdup(setlocale(LC_ALL, NULL));
    setlocale(LC_ALL, "");
    assert_string_equal(one((struct bk_operand){.kind = BK_OP_MEM, .reg = "eax", .scale = 1, .value = 1234567}),
                        "[eax*1+1234567]");
    setlocale(LC_ALL, before);
    free(before);
}

/* ---- mnemonics out of words ---------------------------------------------- */

static void opcodes_of_all_functions(const struct bk_image *img)
{
    struct bk_functions *functions;
    struct bk_decoder *decoder;
    const struct bk_body *body;
    size_t n = 0;
    assert_int_equal(bk_functions_find(&functions, img, NULL), BK_OK);
    assert_int_equal(bk_decoder_new(&decoder, functions, NULL), BK_OK);
    for (size_t i = 0; i < functions->n; i++) {
        assert_int_equal(bk_decoder_body(&body, decoder, i, NULL), BK_OK);
        for (size_t k = 0; k < body->n_insns; k++, n++) {
            char word[BK_WORD_MAX];
            write_word(word, body->arch, &body->insns[k]);
        }
    }
    assert_true(n > 20);
    bk_decoder_free(decoder);
    bk_functions_free(functions);
}

static const char *self;

/* This program, and for each processor bytes at random: whatever the disassembler knows comes up. */
static void opcodes_are_read_back(void **state)
{
    struct bk_image_file *file;
    struct buffer elf;
    struct bk_rng rng;
    (void)state;
    assert_int_equal(bk_image_file_open(&file, self, NULL), BK_OK);
    opcodes_of_all_functions(&file->images[0]);
    bk_image_file_close(file);
    bk_rng_seed(&rng, 1, 0);
    for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
        for (size_t round = 0; round < 1000; round++) {
            uint8_t code[512];
            for (size_t i = 0; i < sizeof code; i++)
                code[i] = (uint8_t)bk_rng_u64(&rng);
            make_elf(&elf, &targets[t], 0x1000, code, sizeof code);
            assert_int_equal(bk_image_file_parse(&file, "random", elf.v, elf.n, NULL), BK_OK);
            opcodes_of_all_functions(&file->images[0]);
            bk_image_file_close(file);
        }
    }
}

static void no_opcode_in_other_texts(void **state)
{
    static const char *const others[] = {"", "X", "X_", "X_UNK", "A_EOF", "mov", "X-mov", "X_[MEM]"};
    const char *opcode;
    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(bk_word_opcode(&opcode, others[i]), 0);
    assert_int_equal(bk_word_opcode(&opcode, "A_vmrs_apsr_nzcv,fpscr"), 4);
    assert_int_equal(bk_word_opcode(&opcode, "X_repne_ret"), 9);
    assert_int_equal(bk_word_opcode(&opcode, "X_vcmpeq_uqps_xmm0,xmm1,xmm2"), 11);
    assert_int_equal(bk_word_opcode(&opcode, "M_adds_a.b_w0,w1,w2"), 8);
    assert_string_equal(opcode, "adds_a.b_w0,w1,w2");
}

/* ---- sequences --------------------------------------------------------- */

static const struct bk_insn three[] = {{.mnemonic = "nop"}, {.mnemonic = "ret"}, {.mnemonic = "nop"}};

static void sequences_intern_and_find(void **state)
{
    (void)state;
    const struct bk_body body = {.arch = BK_ARCH_ARM, .n_insns = 3, .insns = three};
    struct bk_strtab *t = bk_strtab_new();
    struct bk_word_seq s = {0};
    struct bk_error err;
    assert_int_equal(bk_strtab_intern(t, "", 0), 0);
    assert_int_equal(bk_word_seq_find(&s, t, &body, 0, &err), BK_EMISMATCH);
    assert_string_equal(err.message, "the vocabulary has no words of armhf");
    const uint32_t unknown = bk_strtab_intern(t, "A_UNK", 5), nop = bk_strtab_intern(t, "A_nop", 5);
    assert_int_equal(bk_word_seq_find(&s, t, &body, 0, &err), BK_OK);
    assert_int_equal(s.n, 3);
    assert_int_equal(s.n_unknown, 1);
    const uint32_t found[] = {nop, unknown, nop};
    assert_memory_equal(s.v, found, sizeof found);
    assert_int_equal(bk_word_seq_find(&s, t, &body, 1, &err), BK_OK);
    assert_int_equal(s.n, 1);
    assert_int_equal(s.n_unknown, 0);
    assert_int_equal(bk_strtab_count(t), 3); /* finding adds nothing */
    assert_int_equal(bk_word_seq_intern(&s, t, &body, 2, &err), BK_OK);
    assert_int_equal(s.n, 2);
    assert_int_equal(s.v[0], nop);
    assert_string_equal(bk_strtab_str(t, s.v[1]), "A_ret");
    assert_int_equal(bk_strtab_count(t), 4);
    const struct bk_body empty = {.arch = BK_ARCH_ARM};
    assert_int_equal(bk_word_seq_intern(&s, t, &empty, 0, &err), BK_OK);
    assert_int_equal(s.n, 0);
    bk_word_seq_done(&s);
    bk_word_seq_done(NULL);
    bk_strtab_free(t);
}

int main(int argc, char **argv)
{
    (void)argc;
    self = argv[0];
    const struct CMUnitTest tests[] = {
        {"golden amd64", golden, NULL, NULL, (void *)(uintptr_t)&targets[0]},
        {"golden i386", golden, NULL, NULL, (void *)(uintptr_t)&targets[1]},
        {"golden a32", golden, NULL, NULL, (void *)(uintptr_t)&targets[2]},
        {"golden t32", golden, NULL, NULL, (void *)(uintptr_t)&targets[3]},
        {"golden arm64", golden, NULL, NULL, (void *)(uintptr_t)&targets[4]},
        {"golden mips", golden, NULL, NULL, (void *)(uintptr_t)&targets[5]},
        cmocka_unit_test(immediates),
        cmocka_unit_test(memory),
        cmocka_unit_test(others),
        cmocka_unit_test(shapes),
        cmocka_unit_test(long_words_are_cut),
        cmocka_unit_test(the_locale_is_not_asked),
        cmocka_unit_test(opcodes_are_read_back),
        cmocka_unit_test(no_opcode_in_other_texts),
        cmocka_unit_test(sequences_intern_and_find),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
