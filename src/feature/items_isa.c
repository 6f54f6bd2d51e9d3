/* The processors as items.c sees them: mnemonics and registers that addresses and constants go through. */
#include "feature/items_int.h"

#include <string.h>

/* ---- mnemonics -------------------------------------------------------- */

struct verb {
    char name[9];
    uint8_t act;
};

/* In order of strcmp. What is not there writes its first operand. */
static const struct verb x86_verbs[] = {
    {"add", ACT_ADD},       {"bt", ACT_READ},     {"cdq", ACT_CLOBBER},   {"cdqe", ACT_CLOBBER}, {"cmp", ACT_READ},
    {"comisd", ACT_READ},   {"comiss", ACT_READ}, {"cpuid", ACT_CLOBBER}, {"cqo", ACT_CLOBBER},  {"cwd", ACT_CLOBBER},
    {"cwde", ACT_CLOBBER},  {"div", ACT_CLOBBER}, {"idiv", ACT_CLOBBER},  {"lea", ACT_LEA},      {"mov", ACT_MOVE},
    {"movabs", ACT_MOVE},   {"mul", ACT_CLOBBER}, {"nop", ACT_NONE},      {"pop", ACT_POP},      {"push", ACT_READ},
    {"rdtsc", ACT_CLOBBER}, {"sub", ACT_SUB},     {"test", ACT_READ},     {"ucomisd", ACT_READ}, {"ucomiss", ACT_READ},
    {"xadd", ACT_MULTI},    {"xchg", ACT_MULTI},
};

static const struct verb arm_verbs[] = {
    {"add", ACT_ADD},     {"addw", ACT_ADD},    {"adr", ACT_LEA},     {"bic", ACT_BIC},     {"cmn", ACT_CMN},
    {"cmp", ACT_READ},    {"ldm", ACT_MULTI},   {"ldmda", ACT_MULTI}, {"ldmdb", ACT_MULTI}, {"ldmib", ACT_MULTI},
    {"ldr", ACT_MOVE},    {"ldrd", ACT_MULTI},  {"mov", ACT_MOVE},    {"movt", ACT_KEEP},   {"movw", ACT_MOVE},
    {"mvn", ACT_NOT},     {"nop", ACT_NONE},    {"pop", ACT_MULTI},   {"push", ACT_READ},   {"smlal", ACT_MULTI},
    {"smull", ACT_MULTI}, {"sub", ACT_SUB},     {"subw", ACT_SUB},    {"teq", ACT_READ},    {"tst", ACT_READ},
    {"umlal", ACT_MULTI}, {"umull", ACT_MULTI},
};

static const struct verb arm64_verbs[] = {
    {"add", ACT_ADD},   {"adds", ACT_ADD},    {"adr", ACT_LEA},   {"adrp", ACT_PAGE},  {"ccmn", ACT_CMN},
    {"ccmp", ACT_READ}, {"cmn", ACT_CMN},     {"cmp", ACT_READ},  {"hint", ACT_NONE},  {"ldaxp", ACT_MULTI},
    {"ldp", ACT_MULTI}, {"ldpsw", ACT_MULTI}, {"ldr", ACT_MOVE},  {"ldxp", ACT_MULTI}, {"mov", ACT_MOVE},
    {"movk", ACT_KEEP}, {"movn", ACT_NOT},    {"movz", ACT_MOVE}, {"sub", ACT_SUB},    {"subs", ACT_SUB},
    {"tbnz", ACT_BIT},  {"tbz", ACT_BIT},     {"tst", ACT_READ},
};

static const struct verb mips_verbs[] = {
    {"addi", ACT_ADD},   {"addiu", ACT_ADD},  {"addu", ACT_ADD},   {"ctc1", ACT_READ},   {"daddi", ACT_ADD},
    {"daddiu", ACT_ADD}, {"daddu", ACT_ADD},  {"ddiv", ACT_READ},  {"ddivu", ACT_READ},  {"div", ACT_READ},
    {"divu", ACT_READ},  {"dmtc1", ACT_READ}, {"dmult", ACT_READ}, {"dmultu", ACT_READ}, {"ld", ACT_MOVE},
    {"lui", ACT_HIGH},   {"lw", ACT_MOVE},    {"move", ACT_MOVE},  {"mtc1", ACT_READ},   {"mthi", ACT_READ},
    {"mtlo", ACT_READ},  {"mult", ACT_READ},  {"multu", ACT_READ}, {"ori", ACT_OR},      {"sb", ACT_READ},
    {"sd", ACT_READ},    {"sdl", ACT_READ},   {"sdr", ACT_READ},   {"sh", ACT_READ},     {"sw", ACT_READ},
    {"swl", ACT_READ},   {"swr", ACT_READ},   {"teq", ACT_READ},
};

static bool find(enum act *out, const struct verb *v, size_t n, const char *name)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = strcmp(v[mid].name, name);
        if (order == 0) {
            *out = (enum act)v[mid].act;
            return true;
        }
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

#define FIND(out, verbs, name) find(out, verbs, sizeof(verbs) / sizeof *(verbs), name)

static enum act x86_act(const char *mnemonic)
{
    enum act act = ACT_WRITE;
    if (strncmp(mnemonic, "rep", 3) == 0)
        return ACT_CLOBBER;
    FIND(&act, x86_verbs, mnemonic);
    return act;
}

static bool is_condition(const char *s)
{
    static const char conditions[] = "eqnecshscclomiplvsvchilsgeltgtle";
    for (const char *c = conditions; *c != '\0'; c += 2)
        if (c[0] == s[0] && c[1] == s[1])
            return true;
    return false;
}

/* Tries the mnemonic without ".w", then without condition and the "s" of flags. */
static enum act arm_act(const char *mnemonic)
{
    char name[16];
    enum act act = ACT_WRITE;
    size_t n = 0;
    for (; mnemonic[n] != '\0' && mnemonic[n] != '.'; n++) {
        if (n + 1 == sizeof name)
            return ACT_WRITE;
        name[n] = mnemonic[n];
    }
    name[n] = '\0';
    if (FIND(&act, arm_verbs, name))
        return act;
    if (strncmp(name, "st", 2) == 0 || strncmp(name, "it", 2) == 0)
        return ACT_READ;
    if (n > 4 && is_condition(name + n - 2)) {
        name[n -= 2] = '\0';
        if (FIND(&act, arm_verbs, name))
            return act;
    }
    if (n > 3 && name[n - 1] == 's') {
        name[n - 1] = '\0';
        FIND(&act, arm_verbs, name);
    }
    return act;
}

static enum act arm64_act(const char *mnemonic)
{
    enum act act = ACT_WRITE;
    if (!FIND(&act, arm64_verbs, mnemonic) && (strncmp(mnemonic, "st", 2) == 0 || strncmp(mnemonic, "prf", 3) == 0))
        act = ACT_READ;
    return act;
}

static enum act mips_act(const char *mnemonic)
{
    enum act act = ACT_WRITE;
    FIND(&act, mips_verbs, mnemonic);
    return act;
}

/* ---- registers -------------------------------------------------------- */

/* The number that ends `s`, less than `n`; NO_REG: something else. */
static unsigned number(const char *s, unsigned n)
{
    if (s[0] < '0' || s[0] > '9')
        return NO_REG;
    unsigned v = (unsigned)(s[0] - '0');
    if (s[1] >= '0' && s[1] <= '9')
        v = v * 10 + (unsigned)(*++s - '0');
    return s[1] == '\0' && v < n ? v : NO_REG;
}

/* a to d: al, ah, ax, eax, rax; the others: sp, spl, esp, rsp. Numbered as in ModRM. */
static unsigned x86_legacy(char a, char b)
{
    static const uint8_t of[] = {0, 3, 1, 2};
    if (a >= 'a' && a <= 'd' && (b == 'x' || b == 'l' || b == 'h'))
        return of[a - 'a'];
    if (b == 'p')
        return a == 's' ? 4 : a == 'b' ? 5 : NO_REG;
    return b != 'i' ? NO_REG : a == 's' ? 6 : a == 'd' ? 7 : NO_REG;
}

static unsigned x86_reg(const char *name)
{
    if (name[0] == 'r' && name[1] >= '0' && name[1] <= '9') { /* r8, r8d, r8w, r8b */
        unsigned v = (unsigned)(name[1] - '0');
        const char *rest = name + 2;
        if (*rest >= '0' && *rest <= '9')
            v = v * 10 + (unsigned)(*rest++ - '0');
        return v > 15 ? NO_REG : *rest == '\0' || *rest == 'd' ? v : v | REG_NARROW;
    }
    if (name[0] == '\0' || name[1] == '\0')
        return NO_REG;
    if (name[2] == '\0') { /* bp is narrow, and so are al and ax */
        unsigned v = x86_legacy(name[0], name[1]);
        return v == NO_REG ? v : v | REG_NARROW;
    }
    if (name[3] != '\0')
        return NO_REG;
    if (name[0] == 'r' && name[1] == 'i' && name[2] == 'p')
        return 32;
    if (name[0] == 'e' || name[0] == 'r')
        return name[2] == 'l' || name[2] == 'h' ? NO_REG : x86_legacy(name[1], name[2]);
    unsigned v = name[2] == 'l' ? x86_legacy(name[0], name[1]) : NO_REG; /* spl, bpl, sil, dil */
    return v == NO_REG ? v : v | REG_NARROW;
}

struct named {
    char name[5];
    uint8_t number;
};

static unsigned by_name(const struct named *v, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(v[i].name, name) == 0)
            return v[i].number;
    return NO_REG;
}

static unsigned arm_reg(const char *name)
{
    static const struct named named[] = {{"sb", 9},  {"sl", 10}, {"fp", 11}, {"ip", 12},
                                         {"sp", 13}, {"lr", 14}, {"pc", 15}};
    return name[0] == 'r' ? number(name + 1, 13) : by_name(named, sizeof named / sizeof *named, name);
}

static unsigned arm64_reg(const char *name)
{
    static const struct named named[] = {{"sp", 31}, {"wsp", 31}, {"xzr", 32}, {"wzr", 32}};
    if ((name[0] == 'x' || name[0] == 'w') && name[1] >= '0' && name[1] <= '9')
        return number(name + 1, 31);
    return by_name(named, sizeof named / sizeof *named, name);
}

static unsigned mips_reg(const char *name)
{
    static const struct named named[] = {{"zero", 0}, {"at", 1}, {"gp", 28}, {"sp", 29}, {"fp", 30}, {"ra", 31}};
    unsigned n = number(name + 1, 10);
    switch (n == NO_REG ? '\0' : name[0]) {
    case 'v':
        return 2 + n;
    case 'a':
        return 4 + n;
    case 't':
        return n < 8 ? 8 + n : 16 + n;
    case 's':
        return n < 8 ? 16 + n : NO_REG;
    case 'k':
        return 26 + n;
    default:
        return by_name(named, sizeof named / sizeof *named, name);
    }
}

#define BITS(from, to) ((UINT64_C(2) << (to)) - (UINT64_C(1) << (from)))

const struct item_isa *bk_item_isa(enum bk_arch arch)
{
    static const struct item_isa isas[BK_ARCH_COUNT] = {
        [BK_ARCH_AMD64] = {x86_reg, x86_act, BITS(3, 5) | BITS(12, 15), 4, 32, NO_REG, NO_REG, NO_REG, 8, false},
        [BK_ARCH_I386] = {x86_reg, x86_act, BITS(3, 7), 4, NO_REG, NO_REG, NO_REG, NO_REG, 4, false},
        [BK_ARCH_ARM] = {arm_reg, arm_act, BITS(4, 11) | BITS(13, 13), 13, 15, NO_REG, NO_REG, NO_REG, 4, true},
        [BK_ARCH_ARM64] = {arm64_reg, arm64_act, BITS(19, 29) | BITS(31, 31), 31, NO_REG, 32, NO_REG, NO_REG, 8, true},
        [BK_ARCH_MIPS] = {mips_reg, mips_act, BITS(16, 23) | BITS(28, 30), 29, NO_REG, 0, 28, 25, 4, false},
        [BK_ARCH_MIPS64] = {mips_reg, mips_act, BITS(16, 23) | BITS(28, 30), 29, NO_REG, 0, 28, 25, 8, false},
    };
    return &isas[arch];
}
