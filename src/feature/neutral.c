/* Neutral forms: what the processors have in common, from the text of a form alone (doc/features.md). */
#include "feature/feature_int.h"

#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* ---- a form, taken apart ------------------------------------------------ */

struct text {
    const char *s;
    size_t n;
};

struct parts {
    char family;      /* X, A, V, M */
    struct text name; /* mnemonic, prefixes of x86 still before it */
    const char *flow; /* behind ':', or "" */
    size_t n_operands;
    char first, last;      /* kinds; 0: no operand */
    bool vector;           /* some operand is one */
    const char *width;     /* digits of the first memory operand, or "" */
    struct text condition; /* name of the last operand of kind o */
};

static struct text text_of(const char *s)
{
    return (struct text){s, strlen(s)};
}

static bool begins(struct text t, const char *with)
{
    size_t n = strlen(with);
    return t.n >= n && memcmp(t.s, with, n) == 0;
}

static bool same(struct text t, const char *as)
{
    return t.n == strlen(as) && begins(t, as);
}

static struct text from(struct text t, size_t n)
{
    return (struct text){t.s + n, t.n - n};
}

/* Reads "r4,m4,oeq". False: it is no list of operands. */
static bool read_operands(struct parts *p, const char *s)
{
    for (;; s++) {
        char kind = *s++;
        if (kind == '\0' || strchr("rvimfo", kind) == NULL)
            return false;
        size_t n = strcspn(s, ",");
        if (kind != 'o' && strspn(s, "0123456789") != n)
            return false;
        if (p->n_operands++ == 0)
            p->first = kind;
        if (kind != 'o' || p->last == '\0') /* the condition of ccmp is no operand that others have */
            p->last = kind;
        p->vector |= kind == 'v';
        if (kind == 'm' && p->width[0] == '\0')
            p->width = s;
        if (kind == 'o')
            p->condition = (struct text){s, n};
        s += n;
        if (*s == '\0')
            return true;
    }
}

static struct parts take_apart(const char *form)
{
    struct parts p = {.flow = "", .width = "", .condition = {"", 0}};
    if (form[0] == '\0' || form[1] != '_')
        return p;
    p.family = form[0];
    p.name = text_of(form + 2);
    const char *operands = strrchr(p.name.s, '_');
    struct parts with = p;
    if (operands != NULL && read_operands(&with, operands + 1)) {
        p = with;
        p.name.n = (size_t)(operands - p.name.s);
    }
    const char *colon = memchr(p.name.s, ':', p.name.n);
    if (colon != NULL) {
        p.flow = colon + 1;
        p.name.n = (size_t)(colon - p.name.s);
    }
    return p;
}

/* ---- what mnemonics do --------------------------------------------------- */

/* X(operation, its name) */
#define OPERATIONS(X)                                                                                                  \
    X(OTHER, "other")                                                                                                  \
    X(MOVE, "move")                                                                                                    \
    X(LOAD, "load")                                                                                                    \
    X(LOADS, "loads") /* sign-extended */                                                                              \
    X(STORE, "store")                                                                                                  \
    X(PUSH, "push")                                                                                                    \
    X(POP, "pop")                                                                                                      \
    X(ADD, "add")                                                                                                      \
    X(SUB, "sub")                                                                                                      \
    X(MUL, "mul")                                                                                                      \
    X(DIV, "div")                                                                                                      \
    X(AND, "and")                                                                                                      \
    X(OR, "or")                                                                                                        \
    X(XOR, "xor")                                                                                                      \
    X(NOT, "not")                                                                                                      \
    X(NEG, "neg")                                                                                                      \
    X(SHL, "shl")                                                                                                      \
    X(SHR, "shr")                                                                                                      \
    X(SAR, "sar")                                                                                                      \
    X(ROT, "rot")                                                                                                      \
    X(CMP, "cmp")                                                                                                      \
    X(TEST, "test")                                                                                                    \
    X(SET, "set")                                                                                                      \
    X(SELECT, "select")                                                                                                \
    X(ZEXT, "zext")                                                                                                    \
    X(SEXT, "sext")                                                                                                    \
    X(LEA, "lea")                                                                                                      \
    X(BITS, "bits")                                                                                                    \
    X(JCC, "jcc")                                                                                                      \
    X(JUMP, "jump")                                                                                                    \
    X(CALL, "call")                                                                                                    \
    X(RET, "ret")                                                                                                      \
    X(TRAP, "trap")                                                                                                    \
    X(NOP, "nop")                                                                                                      \
    X(FADD, "fadd")                                                                                                    \
    X(FSUB, "fsub")                                                                                                    \
    X(FMUL, "fmul")                                                                                                    \
    X(FDIV, "fdiv")                                                                                                    \
    X(FCMP, "fcmp")                                                                                                    \
    X(FCVT, "fcvt")                                                                                                    \
    X(FMATH, "fmath") /* root, sign, minimum, rounding, sine */                                                        \
    X(VECTOR, "vector")                                                                                                \
    X(CRYPTO, "crypto")                                                                                                \
    X(ATOMIC, "atomic") /* barriers too */                                                                             \
    X(STRING, "string")                                                                                                \
    X(SYSTEM, "system")
enum operation {
#define OPERATION(op, name) OP_##op,
    OPERATIONS(OPERATION)
#undef OPERATION
};
static const char *const operation_names[] = {
#define OPERATION(op, name) [OP_##op] = name,
    OPERATIONS(OPERATION)
#undef OPERATION
};

/* Names between blanks; one that ends in '*' stands for all that begin so. */
struct named {
    enum operation op;
    const char *names;
};

static const struct named x86_names[] = {
    {OP_MOVE,
     "mov movabs movd movq movss movsd movaps movapd movups movupd movdqa* movdqu* movhps movlps movhpd movlpd "
     "movhlps movlhps movnt* movddup movshdup movsldup movmsk* movdq2q movq2dq movbe lddqu pmovmskb maskmov* "
     "kmov* xchg fxch fld1 fldz fldpi fldl2e fldl2t fldlg2 fldln2 lahf sahf"},
    {OP_LOAD, "fld fild fbld xlatb"},
    {OP_STORE, "fst fstp fist fistp fisttp fbstp"},
    {OP_PUSH, "push pushal pushaw pushf pushfd pushfq enter"},
    {OP_POP, "pop popal popaw popf popfd popfq leave"},
    {OP_ADD, "add adc inc adcx adox padd* phadd* kadd*"},
    {OP_SUB, "sub sbb dec psub* phsub*"},
    {OP_MUL, "mul imul mulx pmul* pmadd*"},
    {OP_DIV, "div idiv"},
    {OP_AND, "and andn pand* andp* andnp* kand*"},
    {OP_OR, "or por pord porq orps orpd kor korb korw kord korq"},
    {OP_XOR, "xor pxor* xorp* kxor*"},
    {OP_NOT, "not knot*"},
    {OP_NEG, "neg"},
    {OP_SHL, "shl sal shld shlx psll*"},
    {OP_SHR, "shr shrd shrx psrl*"},
    {OP_SAR, "sar sarx psra*"},
    {OP_ROT, "rol ror rcl rcr rorx prol* pror*"},
    {OP_CMP, "cmp pcmp*"},
    {OP_TEST, "test bt ptest* testps testpd ktest* kortest*"},
    {OP_SELECT, "fcmov*"},
    {OP_ZEXT, "movzx pmovzx*"},
    {OP_SEXT, "movsx movsxd cbw cwde cdqe cwd cdq cqo pmovsx*"},
    {OP_LEA, "lea"},
    {OP_BITS, "bswap bsf bsr bts btr btc lzcnt tzcnt popcnt bextr blsr blsi blsmsk bzhi pdep pext"},
    {OP_JCC, "loop loope loopne jcxz jecxz jrcxz xbegin"},
    {OP_JUMP, "jmp ljmp"},
    {OP_CALL, "call lcall"},
    {OP_RET, "ret retf retfq iret iretd iretq sysret sysexit"},
    {OP_TRAP, "ud0 ud1 ud2 ud2b hlt int3 int1 into"},
    {OP_NOP, "nop endbr64 endbr32 fnop pause prefetch* wait"},
    {OP_FADD, "addss addsd addps addpd haddp* addsubp* fadd faddp fiadd"},
    {OP_FSUB, "subss subsd subps subpd hsubp* fsub* fisub*"},
    {OP_FMUL, "mulss mulsd mulps mulpd fmul fmulp fimul fmadd* fmsub* fnmadd* fnmsub* fmaddsub* fmsubadd*"},
    {OP_FDIV, "divss divsd divps divpd fdiv* fidiv*"},
    {OP_FCMP,
     "ucomis* comis* fcom* fucom* ficom* ftst fxam cmpss cmpsd cmpps cmppd cmpeq* cmplt* cmple* cmpneq* cmpnlt* "
     "cmpnle* cmpord* cmpunord* cmpnge* cmpngt* cmpge* cmpgt*"},
    {OP_FCVT, "cvt*"},
    {OP_FMATH, "sqrt* rsqrt* rcp* max* min* round* dpp* fsqrt fabs fchs fsin fcos fsincos fptan fpatan fyl2x* f2xm1 "
               "fscale frndint fprem* fxtract"},
    {OP_VECTOR, "punpck* pack* pshuf* shuf* unpck* palignr pinsr* pextr* insert* extract* perm* broadcast* pbroadcast* "
                "psadbw mpsadbw pavg* pmax* pmin* pabs* psign* blend* pblend* gather* pgather* pternlog* zeroall "
                "zeroupper align* pmov* pcompress* compress* phminposuw kunpck* kshift* emms femms expand* pexpand* "
                "scatter* pscatter*"},
    {OP_CRYPTO, "aes* sha1* sha256* pclmul* gf2p8* crc32"},
    {OP_ATOMIC, "cmpxchg* xadd mfence lfence sfence xend xabort xtest"},
    {OP_STRING, "movsb movsw movsq stos* lods* scas* cmpsb cmpsw cmpsq insb insw insd outsb outsw outsd pcmpestr* "
                "pcmpistr*"},
    {OP_SYSTEM,
     "syscall sysenter cpuid rdtsc rdtscp rdpmc rdmsr wrmsr rdrand rdseed int in out cli sti cld std clc stc "
     "cmc fnstcw fldcw fnstsw fnstenv fldenv fnsave frstor fninit fnclex ffree* fincstp fdecstp ldmxcsr "
     "stmxcsr fxsave* fxrstor* xsave* xrstor* xgetbv xsetbv rdfsbase rdgsbase wrfsbase wrgsbase swapgs "
     "clflush* invlpg invpcid lgdt lidt lldt ltr str sgdt sidt sldt lmsr smsw verr verw monitor mwait lar lsl "
     "clts wbinvd invd"},
};

static const struct named arm_names[] = {
    {OP_MOVE, "mov movw movt vmov vdup vswp"},
    {OP_LOAD, "ldr ldrt ldrb ldrbt ldrh ldrht ldrd ldm ldmda ldmdb ldmib vldr vldm* vld1 vld2 vld3 vld4"},
    {OP_LOADS, "ldrsb ldrsh ldrsbt ldrsht"},
    {OP_STORE, "str strt strb strbt strh strht strd stm stmda stmdb stmib vstr vstm* vst1 vst2 vst3 vst4"},
    {OP_PUSH, "push vpush"},
    {OP_POP, "pop vpop"},
    {OP_ADD, "add adc addw qadd* uqadd* uadd* sadd* uhadd* shadd* vadd vaddl vaddw vaddhn vpadd* vhadd vrhadd vqadd"},
    {OP_SUB, "sub sbc rsb rsc subw qsub* uqsub* usub* ssub* uhsub* vsub vsubl vsubw vsubhn vhsub vqsub"},
    {OP_MUL,
     "mul mla mls umull smull umlal smlal umaal smmul* smmla* smmls* smul* smla* smls* smuad* smusd* vmul vmull "
     "vmla vmlal vmls vmlsl vnmul vnmla vnmls vfma vfms vfnma vfnms vqdmul* vqrdmul*"},
    {OP_DIV, "sdiv udiv vdiv"},
    {OP_AND, "and bic vand vbic"},
    {OP_OR, "orr orn vorr vorn"},
    {OP_XOR, "eor veor"},
    {OP_NOT, "mvn vmvn"},
    {OP_NEG, "neg vneg"},
    {OP_SHL, "lsl vshl vshll vqshl* vrshl vsli"},
    {OP_SHR, "lsr vshr vshrn vrshr vrshrn vsra vrsra vsri vqshrn vqshrun"},
    {OP_SAR, "asr"},
    {OP_ROT, "ror rrx"},
    {OP_CMP, "cmp cmn vceq vcge vcgt vcle vclt"},
    {OP_TEST, "tst teq vtst"},
    {OP_SELECT, "sel vsel* vbsl vbit vbif"},
    {OP_ZEXT, "uxtb uxth uxtb16 uxtab uxtah uxtab16"},
    {OP_SEXT, "sxtb sxth sxtb16 sxtab sxtah sxtab16"},
    {OP_LEA, "adr"},
    {OP_BITS, "clz rbit rev rev16 revsh bfi bfc ubfx sbfx usat* ssat* pkhbt pkhtb vcnt vclz vcls vrev*"},
    {OP_JUMP, "b bx bxj tbb tbh"},
    {OP_CALL, "bl blx"},
    {OP_RET, "rfe*"},
    {OP_TRAP, "udf trap bkpt hlt"},
    {OP_NOP,
     "nop it ite itt ittt itte itet itee itttt ittte ittet ittee itett itete iteet iteee yield hint pld pldw pli"},
    {OP_FCMP, "vcmp vcmpe vacge vacgt"},
    {OP_FCVT, "vcvt*"},
    {OP_FMATH, "vsqrt vabs vmax* vmin* vpmax vpmin vrecp* vrsqrt* vrint*"},
    {OP_VECTOR, "vzip vuzp vtrn vext vtbl vtbx vmovl vmovn vqmov* vqabs vqneg vabd* vaba* vpadal usad8 usada8"},
    {OP_CRYPTO, "aes* sha1* sha256* crc32*"},
    {OP_ATOMIC, "ldrex* strex* ldaex* stlex* lda ldab ldah stl stlb stlh clrex dmb dsb isb swp swpb"},
    {OP_SYSTEM,
     "svc hvc smc mrs msr vmrs vmsr mcr* mrc* mrrc* mcrr* cdp* ldc* stc* cps* setend wfi wfe sev sevl srs* dbg"},
};

static const struct named arm64_names[] = {
    {OP_MOVE, "mov movz movk movn movi fmov dup ins umov"},
    {OP_LOAD, "ldr* ldur* ldtr* ldp ldnp ld1* ld2* ld3* ld4*"},
    {OP_LOADS, "ldrs* ldurs* ldtrs* ldpsw"},
    {OP_STORE, "str* stur* sttr* stp stnp st1 st2 st3 st4"},
    {OP_ADD,
     "add adds adc adcs addp addv addhn* uaddl* saddl* uaddw* saddw* uhadd shadd urhadd srhadd uqadd sqadd uadal* "
     "sadal*"},
    {OP_SUB, "sub subs sbc sbcs subhn* usubl* ssubl* usubw* ssubw* uhsub shsub uqsub sqsub"},
    {OP_MUL, "mul madd msub mneg smull* umull* smulh umulh smaddl umaddl smsubl umsubl smnegl umnegl mla mls umlal* "
             "smlal* umlsl* smlsl* sqdmul* sqrdmul*"},
    {OP_DIV, "sdiv udiv"},
    {OP_AND, "and ands bic bics"},
    {OP_OR, "orr orn"},
    {OP_XOR, "eor eon"},
    {OP_NOT, "mvn not mvni"},
    {OP_NEG, "neg negs ngc ngcs"},
    {OP_SHL, "lsl lslv shl shll* sshl ushl sshll* ushll* sli sqshl* uqshl* urshl srshl"},
    {OP_SHR, "lsr lsrv ushr usra urshr ursra shrn* rshrn* sri uqshrn* sqshr*"},
    {OP_SAR, "asr asrv sshr ssra srshr srsra"},
    {OP_ROT, "ror rorv extr"},
    {OP_CMP, "cmp cmn ccmp ccmn cmeq cmge cmgt cmhi cmhs cmle cmlt"},
    {OP_TEST, "tst cmtst"},
    {OP_SET, "cset csetm"},
    {OP_SELECT, "csel csinc csinv csneg cinc cinv cneg fcsel bsl bit bif"},
    {OP_ZEXT, "uxtb uxth uxtw uxtl*"},
    {OP_SEXT, "sxtb sxth sxtw smov sxtl*"},
    {OP_LEA, "adr adrp"},
    {OP_BITS, "clz cls rbit rev rev16 rev32 rev64 cnt ubfx sbfx bfi bfxil ubfiz sbfiz bfm ubfm sbfm"},
    {OP_JUMP, "b br braa brab braaz brabz"},
    {OP_CALL, "bl blr blraa blrab blraaz blrabz"},
    {OP_RET, "ret eret retaa retab eretaa eretab drps"},
    {OP_TRAP, "brk hlt udf"},
    {OP_NOP, "nop hint yield prfm prfum pac* aut* bti xpac*"},
    {OP_FADD, "fadd faddp"},
    {OP_FSUB, "fsub"},
    {OP_FMUL, "fmul fnmul fmulx fmadd fmsub fnmadd fnmsub fmla fmls"},
    {OP_FDIV, "fdiv"},
    {OP_FCMP, "fcmp fcmpe fccmp fccmpe fcmeq fcmge fcmgt fcmle fcmlt facge facgt"},
    {OP_FCVT, "fcvt* scvtf ucvtf"},
    {OP_FMATH, "fsqrt fabs fneg fabd fmax* fmin* frint* frecp* frsqrt*"},
    {OP_VECTOR,
     "zip1 zip2 uzp1 uzp2 trn1 trn2 ext tbl tbx xtn* sqxt* uqxt* smax* smin* umax* umin* uabd* sabd* uaba* saba* "
     "abs uaddlv saddlv uaddlp saddlp suqadd usqadd sqabs sqneg"},
    {OP_CRYPTO, "aes* sha1* sha256* sha512* pmull* crc32* eor3 bcax rax1 xar"},
    {OP_ATOMIC,
     "ldx* ldax* stx* stlx* ldar* stlr* ldapr* ldlar* stllr* ldadd* ldclr* ldset* ldeor* ldsmax* ldsmin* ldumax* "
     "ldumin* stadd* stclr* stset* steor* swp* cas* clrex dmb dsb isb"},
    {OP_SYSTEM, "svc hvc smc mrs msr sys sysl ic dc at tlbi wfe wfi sev sevl dcps1 dcps2 dcps3"},
};

static const struct named mips_names[] = {
    {OP_MOVE, "move mov lui li mtc1 mfc1 dmtc1 dmfc1 mthc1 mfhc1 mflo mfhi mtlo mthi aui"},
    {OP_LOAD, "lw lwu lbu lhu ld lwl lwr ldl ldr lwc1 ldc1 lwxc1 ldxc1 luxc1"},
    {OP_LOADS, "lb lh"},
    {OP_STORE, "sw sb sh sd swl swr sdl sdr swc1 sdc1 swxc1 sdxc1 suxc1"},
    {OP_ADD, "add addi addiu addu dadd daddi daddiu daddu lsa dlsa"},
    {OP_SUB, "sub subu dsub dsubu"},
    {OP_MUL, "mul mult multu dmult dmultu madd maddu msub msubu nmadd nmsub muh muhu mulu dmul"},
    {OP_DIV, "div divu ddiv ddivu mod modu"},
    {OP_AND, "and andi"},
    {OP_OR, "or ori nor"},
    {OP_XOR, "xor xori"},
    {OP_NOT, "not"},
    {OP_NEG, "neg negu dneg dnegu"},
    {OP_SHL, "sll sllv dsll dsll32 dsllv"},
    {OP_SHR, "srl srlv dsrl dsrl32 dsrlv"},
    {OP_SAR, "sra srav dsra dsra32 dsrav"},
    {OP_ROT, "rotr rotrv drotr drotr32 drotrv"},
    {OP_SELECT, "movt movf seleqz selnez"},
    {OP_SEXT, "seb seh"},
    {OP_BITS, "ext ins dext dextm dextu dins dinsm dinsu wsbh dsbh dshd clz clo dclz dclo bitswap align dalign"},
    {OP_JCC, "bc1t bc1f bc1tl bc1fl"},
    {OP_JUMP, "b j jr jr.hb"},
    {OP_CALL, "bal jal jalr jalr.hb jalx bgezal bltzal bgezall bltzall"},
    {OP_RET, "eret deret"},
    {OP_TRAP, "break teq tne tge tgeu tlt tltu teqi tnei tgei tgeiu tlti tltiu sdbbp"},
    {OP_NOP, "nop ssnop ehb pref"},
    {OP_FCMP, "c cmp"},
    {OP_FCVT, "cvt trunc round ceil floor"},
    {OP_FMATH, "sqrt abs recip rsqrt max min rint"},
    {OP_ATOMIC, "ll sc lld scd sync synci"},
    {OP_SYSTEM, "syscall rdhwr mfc0 mtc0 dmfc0 dmtc0 mfc2 mtc2 cfc1 ctc1 di ei cache wait tlb* rdpgpr wrpgpr"},
};

/* Conditions, of both kinds of names: what a comparison before found. */
static const struct {
    const char *relation, *names;
} relations[] = {
    {"eq", "eq e eqz eql eqzl"},
    {"ne", "ne nez nel nezl"},
    {"lt", "lt l s mi ltz ltzl"},
    {"ge", "ge ns pl gez gezl"},
    {"le", "le lez lezl"},
    {"gt", "gt g gtz gtzl"},
    {"lo", "lo cc b"},
    {"hs", "hs cs ae"},
    {"ls", "ls be"},
    {"hi", "hi a"},
    {"vs", "vs o"},
    {"vc", "vc no"},
    {"un", "p"},
    {"or", "np"},
};

/* How well `name` fits the list: SIZE_MAX when it stands there, the length of the longest beginning, 0: not at all. */
static size_t fit(const char *names, struct text name)
{
    size_t best = 0;
    while (*names != '\0') {
        size_t n = strcspn(names, " ");
        if (n == name.n && memcmp(names, name.s, n) == 0)
            return SIZE_MAX;
        if (names[n - 1] == '*' && n - 1 <= name.n && n - 1 > best && memcmp(names, name.s, n - 1) == 0)
            best = n - 1;
        names += n + (names[n] == ' ');
    }
    return best;
}

/* NULL: no condition has this name. */
static const char *relation_of(struct text name)
{
    for (size_t i = 0; i < sizeof relations / sizeof *relations; i++)
        if (fit(relations[i].names, name) > 0)
            return relations[i].relation;
    return NULL;
}

/* What a mnemonic does, and on which condition. */
struct meaning {
    enum operation op;
    const char *relation; /* or NULL */
};

/* The best fit of a family's lists: a whole name before a beginning, a longer beginning before a shorter one; only whole names
 * count with `whole`. False: there is none. */
static bool look_up(struct meaning *m, const struct named *v, size_t n, struct text name, bool whole)
{
    size_t best = whole ? SIZE_MAX - 1 : 0;
    bool found = false;
    for (size_t i = 0; i < n; i++) {
        size_t f = fit(v[i].names, name);
        if (f <= best)
            continue;
        best = f;
        m->op = v[i].op;
        found = true;
    }
    return found;
}

#define LOOK_UP(m, table, name, whole) look_up(m, table, sizeof table / sizeof *table, name, whole)

/* A name that is `before` and a condition. */
static bool is_conditional(struct meaning *m, struct text name, const char *before, enum operation op)
{
    if (!begins(name, before))
        return false;
    const char *relation = relation_of(from(name, strlen(before)));
    if (relation != NULL)
        *m = (struct meaning){op, relation};
    return relation != NULL;
}

static bool x86_plain(struct meaning *m, struct text name)
{
    return LOOK_UP(m, x86_names, name, true) || is_conditional(m, name, "j", OP_JCC) ||
           is_conditional(m, name, "set", OP_SET) || is_conditional(m, name, "cmov", OP_SELECT) ||
           LOOK_UP(m, x86_names, name, false);
}

static bool x86_meaning(struct meaning *m, struct text name)
{
    static const char *const prefixes[] = {"rep_", "repe_", "repne_", "bnd_", "notrack_", "data16_"};
    if (begins(name, "lock_")) {
        m->op = OP_ATOMIC;
        return true;
    }
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (begins(name, prefixes[i]))
            name = from(name, strlen(prefixes[i]));
    return x86_plain(m, name) || (begins(name, "v") && x86_plain(m, from(name, 1)));
}

/* The same on floating-point numbers. */
static enum operation on_floats(enum operation op)
{
    switch (op) {
    case OP_ADD:
        return OP_FADD;
    case OP_SUB:
        return OP_FSUB;
    case OP_MUL:
        return OP_FMUL;
    case OP_DIV:
        return OP_FDIV;
    case OP_CMP:
        return OP_FCMP;
    case OP_NEG:
        return OP_FMATH;
    default:
        return op;
    }
}

/* A name without condition and without the s of an instruction that sets flags: "moveq", "adds", "addseq". */
static bool arm_stem(struct meaning *m, struct text stem)
{
    if (LOOK_UP(m, arm_names, stem, true) || is_conditional(m, stem, "b", OP_JCC))
        return true;
    const char *relation = stem.n > 3 ? relation_of(from(stem, stem.n - 2)) : NULL;
    struct text bare = {stem.s, stem.n - 2};
    if (relation != NULL && LOOK_UP(m, arm_names, bare, true)) {
        *m = m->op == OP_JUMP   ? (struct meaning){OP_JCC, relation}
             : m->op == OP_MOVE ? (struct meaning){OP_SELECT, relation}
                                : (struct meaning){m->op, NULL};
        return true;
    }
    if (relation != NULL && bare.s[bare.n - 1] == 's' &&
        LOOK_UP(m, arm_names, ((struct text){bare.s, bare.n - 1}), true))
        return true;
    if (stem.n > 1 && stem.s[stem.n - 1] == 's' && LOOK_UP(m, arm_names, ((struct text){stem.s, stem.n - 1}), true))
        return true;
    return LOOK_UP(m, arm_names, stem, false);
}

static bool arm_meaning(struct meaning *m, struct text name)
{
    const char *dot = memchr(name.s, '.', name.n);
    struct text stem = {name.s, dot != NULL ? (size_t)(dot - name.s) : name.n};
    if (same(stem, "cbz") || same(stem, "cbnz"))
        *m = (struct meaning){OP_JCC, stem.n == 3 ? "eq" : "ne"};
    else if (!arm_stem(m, stem))
        return false;
    if (dot != NULL && begins(from(name, stem.n), ".f"))
        m->op = on_floats(m->op);
    return true;
}

static bool arm64_meaning(struct meaning *m, struct text name)
{
    if (same(name, "cbz") || same(name, "tbz") || same(name, "cbnz") || same(name, "tbnz"))
        *m = (struct meaning){OP_JCC, name.n == 3 ? "eq" : "ne"};
    else
        return is_conditional(m, name, "b.", OP_JCC) || LOOK_UP(m, arm64_names, name, false);
    return true;
}

static bool mips_meaning(struct meaning *m, struct text name)
{
    const char *dot = memchr(name.s, '.', name.n);
    struct text stem = {name.s, dot != NULL ? (size_t)(dot - name.s) : name.n};
    if (begins(stem, "slt"))
        *m = (struct meaning){OP_SET, stem.s[stem.n - 1] == 'u' ? "lo" : "lt"};
    else if (same(stem, "movz") || same(stem, "movn"))
        *m = (struct meaning){OP_SELECT, stem.s[3] == 'z' ? "eq" : "ne"};
    else if (!LOOK_UP(m, mips_names, name, true) && !is_conditional(m, name, "b", OP_JCC) &&
             !LOOK_UP(m, mips_names, stem, false))
        return false;
    if (dot != NULL)
        m->op = on_floats(m->op);
    return true;
}

/* ---- the neutral form ----------------------------------------------------- */

static struct meaning meaning_of(const struct parts *p)
{
    struct meaning m = {OP_OTHER, NULL};
    bool known = p->family == 'X'   ? x86_meaning(&m, p->name)
                 : p->family == 'A' ? arm_meaning(&m, p->name)
                 : p->family == 'V' ? arm64_meaning(&m, p->name)
                 : p->family == 'M' ? mips_meaning(&m, p->name)
                                    : false;
    if (!known)
        return (struct meaning){OP_OTHER, NULL};
    if (p->flow[0] != '\0') /* "ret_r4" or "jump_r4" */
        return (struct meaning){p->flow[0] == 'r' ? OP_RET : OP_JUMP, NULL};
    if ((m.op == OP_SET || m.op == OP_SELECT) && m.relation == NULL)
        m.relation = relation_of(p->condition);
    if (p->n_operands > 1 && p->first == 'm' && p->last == 'm') /* movsd and cmpsd, which SSE names too */
        m.op = OP_STRING;
    else if (m.op == OP_MOVE && (p->first == 'm' || p->last == 'm'))
        m.op = p->first == 'm' ? OP_STORE : OP_LOAD;
    else if ((m.op == OP_ZEXT || m.op == OP_SEXT) && p->last == 'm')
        m.op = m.op == OP_ZEXT ? OP_LOAD : OP_LOADS;
    return m;
}

/* What of the operands a neutral form keeps. */
static void put_operands(struct bk_text *t, enum operation op, const struct parts *p)
{
    switch (op) {
    case OP_LOAD: /* into which registers, and how many bytes */
    case OP_LOADS:
    case OP_STORE:
        if (p->vector || p->width[0] != '\0')
            bk_text_char(t, '_');
        if (p->vector)
            bk_text_char(t, 'v');
        for (const char *s = p->width; is_digit(*s); s++)
            bk_text_char(t, *s);
        break;
    case OP_PUSH: /* the last one's kind; a call or jump of an address has none */
    case OP_POP:
    case OP_CALL:
    case OP_JUMP:
        if (p->last == '\0' || ((op == OP_CALL || op == OP_JUMP) && p->last == 'i'))
            break;
        bk_text_char(t, '_');
        bk_text_char(t, p->last);
        break;
    case OP_MOVE: /* the first one's and the last one's, between which lies how many a processor names */
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
    case OP_DIV:
    case OP_AND:
    case OP_OR:
    case OP_XOR:
    case OP_NOT:
    case OP_NEG:
    case OP_SHL:
    case OP_SHR:
    case OP_SAR:
    case OP_ROT:
    case OP_CMP:
    case OP_TEST:
    case OP_FADD:
    case OP_FSUB:
    case OP_FMUL:
    case OP_FDIV:
    case OP_FCMP:
    case OP_FCVT:
        if (p->n_operands == 0)
            break;
        bk_text_char(t, '_');
        bk_text_char(t, p->first);
        if (p->n_operands > 1) {
            bk_text_char(t, ',');
            bk_text_char(t, p->last);
        }
        break;
    default:
        break;
    }
}

size_t bk_form_neutral(char out[BK_FORM_MAX], const char *form)
{
    struct bk_text t = {.p = out, .end = out + BK_FORM_MAX - 1};
    struct parts p = take_apart(form);
    struct meaning m = meaning_of(&p);
    bk_text_str(&t, "N_");
    bk_text_str(&t, operation_names[m.op]);
    if (m.relation != NULL) {
        bk_text_char(&t, '_');
        bk_text_str(&t, m.relation);
    }
    put_operands(&t, m.op, &p);
    return bk_text_end(&t, out);
}
