/* Forms: their rules without a disassembler, neutral forms of any text, and two readers of one decoder. The golden forms of real
 * instructions stand beside their words (test_words.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "feature/feature.h"

static const char *form_of(enum bk_arch arch, const char *mnemonic, unsigned flags, size_t n,
                           const struct bk_operand *operands)
{
    static char out[BK_FORM_MAX];
    const struct bk_insn insn = {
        .mnemonic = mnemonic, .operands = operands, .n_operands = (uint8_t)n, .flags = (uint16_t)flags};
    size_t n_written = bk_form_write(out, arch, &insn);
    assert_int_equal(n_written, strlen(out));
    return out;
}

static const char *reg(enum bk_arch arch, const char *name, uint8_t size)
{
    const struct bk_operand op = {.kind = BK_OP_REG, .reg = name, .size = size};
    return form_of(arch, "m", 0, 1, &op) + 4;
}

static void kinds(void **state)
{
    (void)state;
    const struct bk_operand ops[] = {{.kind = BK_OP_REG, .reg = "eax", .size = 4},
                                     {.kind = BK_OP_IMM, .value = 77},
                                     {.kind = BK_OP_MEM, .reg = "rbp", .value = -8, .size = 2},
                                     {.kind = BK_OP_MEM},
                                     {.kind = BK_OP_FP, .fp = 0.5},
                                     {.kind = BK_OP_OTHER, .reg = "eq", .value = 1},
                                     {.kind = BK_OP_OTHER, .value = 3}};
    assert_string_equal(form_of(BK_ARCH_AMD64, "mov", 0, 3, ops), "X_mov_r4,i,m2");
    assert_string_equal(form_of(BK_ARCH_ARM64, "x", 0, 4, ops + 3), "V_x_m,f,oeq,o");
    assert_string_equal(form_of(BK_ARCH_I386, "rep movsb", 0, 0, NULL), "X_rep_movsb");
    assert_string_equal(form_of(BK_ARCH_MIPS64, "nop", 0, 0, NULL), "M_nop");
}

/* The names of general registers of one processor are those of vectors of another. */
static void vectors(void **state)
{
    (void)state;
    static const char *const general[BK_ARCH_COUNT] = {
        [BK_ARCH_AMD64] = "si spl sil r8 ss",     [BK_ARCH_I386] = "ebx",
        [BK_ARCH_ARM] = "sp sb sl spsr r0 fpscr", [BK_ARCH_ARM64] = "sp x0 w0",
        [BK_ARCH_MIPS] = "v0 s1 fp zero hi",
    };
    static const char *const vector[BK_ARCH_COUNT] = {
        [BK_ARCH_AMD64] = "xmm0 ymm15 zmm31 mm7 st(0)",
        [BK_ARCH_ARM] = "s0 d31 q15",
        [BK_ARCH_ARM64] = "v0 b1 h2 s3 d4 q5",
        [BK_ARCH_MIPS] = "f0 f31 w3",
    };
    for (int a = 0; a < BK_ARCH_COUNT; a++) {
        for (int v = 0; v < 2; v++) {
            char *names = strdup((v ? vector : general)[a] ? (v ? vector : general)[a] : ""), *save = NULL;
            for (char *s = strtok_r(names, " ", &save); s; s = strtok_r(NULL, " ", &save))
                assert_string_equal(reg((enum bk_arch)a, s, 8), v ? "v8" : "r8");
            free(names);
        }
    }
}

static void flow_that_no_name_tells(void **state)
{
    (void)state;
    const struct bk_operand op = {.kind = BK_OP_REG, .reg = "lr", .size = 4};
    assert_string_equal(form_of(BK_ARCH_ARM, "bx", BK_INSN_RET, 1, &op), "A_bx:ret_r4");
    assert_string_equal(form_of(BK_ARCH_ARM, "bx", BK_INSN_JUMP, 1, &op), "A_bx_r4");
    assert_string_equal(form_of(BK_ARCH_ARM, "mov", BK_INSN_JUMP, 1, &op), "A_mov:jump_r4");
    assert_string_equal(form_of(BK_ARCH_AMD64, "ret", BK_INSN_RET, 0, NULL), "X_ret");
    assert_string_equal(form_of(BK_ARCH_AMD64, "jne", BK_INSN_JUMP | BK_INSN_COND, 1, &op), "X_jne_r4");
}

/* What the linker decides. */
static void calls_of_either_mode_are_one(void **state)
{
    (void)state;
    const struct bk_operand to = {.kind = BK_OP_IMM, .value = 0x1000}, by = {.kind = BK_OP_REG, .reg = "r3", .size = 4};
    assert_string_equal(form_of(BK_ARCH_ARM, "blx", BK_INSN_CALL | BK_INSN_TARGET, 1, &to), "A_bl_i");
    assert_string_equal(form_of(BK_ARCH_ARM, "blx", BK_INSN_CALL, 1, &by), "A_blx_r4");
}

/* The longest there can be, and names beyond what any disassembler has. */
static void long_forms_are_cut(void **state)
{
    (void)state;
    struct bk_operand ops[BK_MAX_OPERANDS];
    char name[BK_FORM_MAX + 8];
    for (size_t i = 0; i < BK_MAX_OPERANDS; i++)
        ops[i] = (struct bk_operand){.kind = BK_OP_MEM, .size = 255};
    assert_int_equal(strlen(form_of(BK_ARCH_ARM, "thirty-one-letters-of-a-mnemonic", 0, BK_MAX_OPERANDS, ops)),
                     2 + 32 + BK_MAX_OPERANDS * 5);
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = '\0';
    const char *form = form_of(BK_ARCH_ARM, name, 0, 1, ops);
    assert_int_equal(strlen(form), BK_FORM_MAX - 1);
    assert_int_equal(form[BK_FORM_MAX - 2], '~');
}

static const char *neutral(const char *form)
{
    static char out[BK_FORM_MAX];
    size_t n = bk_form_neutral(out, form);
    assert_int_equal(n, strlen(out));
    return out;
}

/* The same deed on four processors. */
static void processors_agree(void **state)
{
    (void)state;
    static const char *const rows[][5] = {
        {"N_load_4", "X_mov_r4,m4", "A_ldr.w_r4,m4", "V_ldur_r4,m4", "M_lw_r4,m4"},
        {"N_load_1", "X_movzx_r4,m1", "A_ldrb_r4,m1", "V_ldrb_r4,m1", "M_lbu_r4,m1"},
        {"N_loads_2", "X_movsx_r8,m2", "A_ldrsheq_r4,m2", "V_ldrsh_r8,m2", "M_lh_r4,m2"},
        {"N_load_v8", "X_movsd_v16,m8", "A_vldr_v8,m8", "V_ldr_v8,m8", "M_ldc1_v8,m8"},
        {"N_store_4", "X_mov_m4,i", "A_str_r4,m4", "V_str_r4,m4", "M_sw_r4,m4"},
        {"N_move_r,r", "X_mov_r8,r8", "A_mov_r4,r4", "V_mov_r8,r8", "M_move_r4,r4"},
        {"N_add_r,i", "X_add_r4,i", "A_adds_r4,r4,i", "V_add_r8,r8,i", "M_addiu_r4,r4,i"},
        {"N_sub_r,r", "X_sub_r4,r4", "A_subs.w_r4,r4,r4", "V_subs_r4,r4,r4", "M_subu_r4,r4,r4"},
        {"N_jcc_ne", "X_jne_i", "A_bne.w_i", "V_b.ne_i", "M_bnel_r4,r4,i"},
        {"N_jcc_lt", "X_jl_i", "A_blt_i", "V_b.lt_i", "M_bltz_r4,i"},
        {"N_jump", "X_jmp_i", "A_b_i", "V_b_i", "M_j_i"},
        {"N_call", "X_call_i", "A_bl_i", "V_bl_i", "M_jal_i"},
        {"N_call_r", "X_call_r8", "A_blx_r4", "V_blr_r8", "M_jalr_r4"},
        {"N_ret", "X_ret", "A_pop.w:ret_r4,r4", "V_ret", "M_jr:ret_r4"},
        {"N_set_lo", "X_setb_r1", "N_", "V_cset_r4,olo", "M_sltiu_r4,r4,i"},
        {"N_select_eq", "X_cmove_r4,r4", "A_moveq_r4,i", "V_csel_r4,r4,r4,oeq", "M_movz_r4,r4,r4"},
        {"N_fmul_v,v", "X_vmulsd_v16,v16,v16", "A_vmul.f64_v8,v8,v8", "V_fmul_v8,v8,v8", "M_mul.d_v8,v8,v8"},
        {"N_mul_v,v", "X_pmulld_v16,v16", "A_vmul.i32_v16,v16,v16", "V_mul_v16,v16,v16", "N_"},
        {"N_fcvt_v,v", "X_cvtss2sd_v16,v16", "A_vcvt.f64.f32_v8,v4", "V_fcvt_v8,v4", "M_cvt.d.s_v8,v4"},
        {"N_nop", "X_endbr64", "A_nop", "V_hint_i", "M_nop"},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (size_t a = 1; a < 5; a++)
            if (strcmp(rows[r][a], "N_") != 0) /* it has no such instruction */
                assert_string_equal(neutral(rows[r][a]), rows[r][0]);
}

/* Names that begin like others, end like conditions or stand for two things. */
static void names_are_not_confused(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"A_bls_i", "N_jcc_ls"},
        {"A_blls_i", "N_call"},
        {"A_bleq_i", "N_call"},
        {"A_bl_i", "N_call"},
        {"A_movs_r4,i", "N_move_r,i"},
        {"A_teq_r4,r4", "N_test_r,r"},
        {"A_mls_r4,r4,r4,r4", "N_mul_r,r"},
        {"A_addseq_r4,r4", "N_add_r,r"},
        {"A_bics_r4,r4", "N_and_r,r"},
        {"A_lsls_r4,r4,i", "N_shl_r,i"},
        {"A_addls:jump_r4,r4,r4", "N_jump_r"},
        {"A_svc_i", "N_system"},
        {"A_bxne_r4", "N_jcc_ne"},
        {"A_vadd.i32_v16,v16,v16", "N_add_v,v"},
        {"A_cbnz_r4,i", "N_jcc_ne"},
        {"X_movsd_m4,m4", "N_string"},
        {"X_movsd_v16,v16", "N_move_v,v"},
        {"X_rep_movsd_m4,m4", "N_string"},
        {"X_cmpsd_v16,v16,i", "N_fcmp_v,i"},
        {"X_repne_ret", "N_ret"},
        {"X_bnd_jmp_i", "N_jump"},
        {"X_lock_xadd_m4,r4", "N_atomic"},
        {"X_vpand_v16,v16,m16", "N_and_v,m"},
        {"X_jp_i", "N_jcc_un"},
        {"X_verr_r2", "N_system"},
        {"X_sete_m1", "N_set_eq"},
        {"X_add_m8,i", "N_add_m,i"},
        {"V_ldxr_r4,m4", "N_atomic"},
        {"V_ldrsw_r8,m4", "N_loads_4"},
        {"V_ldp_r8,r8,m16,i", "N_load_16"},
        {"V_stlrb_r4,m1", "N_atomic"},
        {"V_tbz_r4,i,i", "N_jcc_eq"},
        {"V_ccmp_r8,i,i,one", "N_cmp_r,i"},
        {"M_bal_i", "N_call"},
        {"M_break_i", "N_trap"},
        {"M_b_i", "N_jump"},
        {"M_slt_r4,r4,r4", "N_set_lt"},
        {"M_movn.d_v8,v8,r4", "N_select_ne"},
        {"M_bc1t_r,i", "N_jcc"},
        {"X_frobnicate_r4", "N_other"},
        {"A_frobeq_r4", "N_other"},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        assert_string_equal(neutral(rows[r][0]), rows[r][1]);
}

/* Whatever stands in a file is taken. */
static void any_text_has_one(void **state)
{
    (void)state;
    static const char *const others[] = {"",        "_",         "X",         "X_",        "X_r4", "Q_mov_r4",
                                         "X__",     "A_.f32",    "A_s",       "A_eq",      "M_.",  "M_slt",
                                         "V_b.",    "X_mov_",    "X_v",       "X_mov_r4,", "A_:",  "X_:ret",
                                         "X_lock_", "A_bx:jump", "X_mov_o,o", "M_b",       "A_b",  "N_load_4"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(strncmp(neutral(others[i]), "N_", 2), 0);
    assert_string_equal(neutral("X_mov_r4,"), "N_other"); /* no list of operands */
    assert_string_equal(neutral("X_mov_r4x"), "N_other");
    struct bk_rng rng;
    bk_rng_seed(&rng, 5, 0);
    for (unsigned round = 0; round < 20000; round++) {
        static const char letters[] = "XAVM_rvimfo0123456789,.:abcdefghijklmnopqrstuvwxyz";
        char form[64];
        size_t n = (size_t)bk_rng_below(&rng, sizeof form);
        for (size_t i = 0; i < n; i++)
            form[i] = letters[bk_rng_below(&rng, sizeof letters - 1)];
        if (n > 1 && round % 4 > 0) {
            form[0] = letters[bk_rng_below(&rng, 4)];
            form[1] = '_';
        }
        form[n] = '\0';
        char *exact = strdup(form); /* so that a read past the end is seen */
        assert_int_equal(strncmp(neutral(exact), "N_", 2), 0);
        free(exact);
    }
    char width[BK_FORM_MAX + 64] = "X_mov_r4,m"; /* digits without end */
    memset(width + strlen(width), '7', sizeof width - 1 - strlen(width));
    width[sizeof width - 1] = '\0';
    assert_int_equal(strlen(neutral(width)), BK_FORM_MAX - 1);
}

/* ---- sequences --------------------------------------------------------- */

static const struct bk_insn five[] = {
    {.mnemonic = "nop", .key = 1}, {.mnemonic = "ret", .flags = BK_INSN_RET, .key = 2}, {.mnemonic = "nop", .key = 1},
    {.mnemonic = "leave"},         {.mnemonic = "ret", .flags = BK_INSN_RET, .key = 2},
};

static uint32_t add(struct bk_strtab *t, const char *s)
{
    return bk_strtab_intern(t, s, strlen(s));
}

static void sequences_find(void **state)
{
    (void)state;
    uint32_t keys[BK_MEMO_USES][3] = {{0}};
    struct bk_memo memo[BK_MEMO_USES];
    for (int i = 0; i < BK_MEMO_USES; i++)
        memo[i] = (struct bk_memo){NULL, keys[i], 3};
    const struct bk_body body = {.arch = BK_ARCH_AMD64, .n_insns = 5, .insns = five, .memo = memo};
    struct bk_strtab *t = bk_strtab_new(), *words = bk_strtab_new();
    add(t, "");
    uint32_t nop = add(t, "X_nop"), neutral_nop = add(t, "N_nop"), neutral_ret = add(t, "N_ret");
    add(words, "X_UNK");
    add(words, "X_ret");
    struct bk_form_seq s = {0};
    struct bk_word_seq w = {0};
    for (unsigned again = 0; again < 3; again++) { /* words and forms in turn, each with what it remembers */
        assert_int_equal(bk_form_seq_find(&s, t, &body, 0, NULL), BK_OK);
        assert_int_equal(bk_word_seq_find(&w, words, &body, 0, NULL), BK_OK);
        const uint32_t v[] = {nop, BK_STR_NONE, nop, BK_STR_NONE, BK_STR_NONE};
        const uint32_t n[] = {neutral_nop, neutral_ret, neutral_nop, BK_STR_NONE, neutral_ret};
        const uint32_t as_words[] = {0, 1, 0, 0, 1};
        assert_int_equal(s.n, 5);
        assert_int_equal(s.n_unknown, 3);
        assert_memory_equal(s.v, v, sizeof v);
        assert_memory_equal(s.neutral, n, sizeof n);
        assert_memory_equal(w.v, as_words, sizeof as_words);
    }
    uint32_t ret = add(t, "X_ret"), pop = add(t, "N_pop"); /* what was unknown may come */
    assert_int_equal(bk_form_seq_find(&s, t, &body, 4, NULL), BK_OK);
    assert_int_equal(s.n, 4);
    assert_int_equal(s.n_unknown, 1);
    assert_int_equal(s.v[1], ret);
    assert_int_equal(s.neutral[3], pop);
    bk_form_seq_done(&s);
    bk_form_seq_done(NULL);
    bk_word_seq_done(&w);
    bk_strtab_free(t);
    bk_strtab_free(words);
}

static void sequences_intern(void **state)
{
    (void)state;
    uint32_t keys[BK_MEMO_USES][3] = {{0}};
    struct bk_memo memo[BK_MEMO_USES];
    for (int i = 0; i < BK_MEMO_USES; i++)
        memo[i] = (struct bk_memo){NULL, keys[i], 3};
    const struct bk_body body = {.arch = BK_ARCH_AMD64, .n_insns = 5, .insns = five, .memo = memo};
    struct bk_strtab *t = bk_strtab_new();
    struct bk_form_seq s = {0};
    for (unsigned again = 0; again < 2; again++) {
        assert_int_equal(bk_form_seq_intern(&s, t, &body, 0, NULL), BK_OK);
        const uint32_t v[] = {0, 1, 0, 2, 1};
        assert_int_equal(s.n, 5);
        assert_memory_equal(s.v, v, sizeof v);
        assert_int_equal(bk_strtab_count(t), 3);
        assert_string_equal(bk_strtab_str(t, 2), "X_leave");
    }
    struct bk_strtab *other = bk_strtab_new(); /* with numbers of its own */
    add(other, "");
    assert_int_equal(bk_form_seq_intern(&s, other, &body, 0, NULL), BK_OK);
    assert_int_equal(s.v[1], 2);
    assert_int_equal(bk_form_seq_intern(&s, t, &body, 0, NULL), BK_OK);
    assert_int_equal(s.v[1], 1);
    bk_strtab_free(other);
    const struct bk_body empty = {.arch = BK_ARCH_ARM};
    assert_int_equal(bk_form_seq_intern(&s, t, &empty, 0, NULL), BK_OK);
    assert_int_equal(s.n, 0);
    bk_form_seq_done(&s);
    bk_strtab_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds),
        cmocka_unit_test(vectors),
        cmocka_unit_test(flow_that_no_name_tells),
        cmocka_unit_test(calls_of_either_mode_are_one),
        cmocka_unit_test(long_forms_are_cut),
        cmocka_unit_test(processors_agree),
        cmocka_unit_test(names_are_not_confused),
        cmocka_unit_test(any_text_has_one),
        cmocka_unit_test(sequences_find),
        cmocka_unit_test(sequences_intern),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
