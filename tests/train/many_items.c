/* One function that holds 1,100 constants and no other item. */
void many_items(volatile unsigned *to);

#define ONE(n) *to = 0x10000u + 37 * (n);
#define TEN(n) ONE(n) ONE(n + 1) ONE(n + 2) ONE(n + 3) ONE(n + 4) ONE(n + 5) ONE(n + 6) ONE(n + 7) ONE(n + 8) ONE(n + 9)
#define HUNDRED(n)                                                                                                     \
    TEN(n)                                                                                                             \
    TEN(n + 10) TEN(n + 20) TEN(n + 30) TEN(n + 40) TEN(n + 50) TEN(n + 60) TEN(n + 70) TEN(n + 80) TEN(n + 90)

void many_items(volatile unsigned *to)
{
    HUNDRED(0)
    HUNDRED(100)
    HUNDRED(200)
    HUNDRED(300)
    HUNDRED(400)
    HUNDRED(500)
    HUNDRED(600)
    HUNDRED(700)
    HUNDRED(800)
    HUNDRED(900)
    HUNDRED(1000)
}
