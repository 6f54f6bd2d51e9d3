/* More sections than 16 bits can number: counts and symbols' sections move to the extended places. */
    .altmacro
    .macro one n
    .section .text.f\n, "ax"
    .globl f\n
    .type f\n, STT_FUNC
f\n:
    .byte 0, 0, 0, 0
    .size f\n, 4
    .endm
    .set i, 0
    .rept 66000
    one %i
    .set i, i + 1
    .endr
