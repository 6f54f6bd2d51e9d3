#include "fixture.h"

#include <string.h>

const char *fixture_dir;

void fixture_open(struct fixture *f, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", fixture_dir, name);
    struct bk_error err = {0};
    if (bk_image_file_open(&f->file, path, &err) != BK_OK)
        fail_msg("%s: %s", path, err.message);
    assert_int_equal(f->file->n_images, 1);
    f->image = &f->file->images[0];
    assert_int_equal(bk_functions_find(&f->functions, f->image, &err), BK_OK);
    assert_int_equal(bk_decoder_new(&f->decoder, f->functions, &err), BK_OK);
}

void fixture_close(struct fixture *f)
{
    bk_decoder_free(f->decoder);
    bk_functions_free(f->functions);
    bk_image_file_close(f->file);
}

const struct bk_body *fixture_body(struct fixture *f, size_t i)
{
    const struct bk_body *body = NULL;
    struct bk_error err = {0};
    assert_int_equal(bk_decoder_body(&body, f->decoder, i, &err), BK_OK);
    check_body(body);
    return body;
}

size_t fixture_find(const struct fixture *f, const char *name)
{
    for (size_t i = 0; i < f->functions->n; i++)
        for (size_t k = 0; k < f->functions->v[i].n_names; k++)
            if (!strcmp(f->functions->v[i].names[k], name))
                return i;
    return SIZE_MAX;
}

static void check_insns(const struct bk_body *body)
{
    uint64_t end = body->function->addr, code = 0;
    for (size_t i = 0; i < body->n_insns; i++) {
        const struct bk_insn *insn = &body->insns[i];
        assert_true(insn->addr >= end);
        assert_true(insn->size > 0 && insn->mnemonic && insn->mnemonic[0]);
        assert_true(insn->n_operands <= BK_MAX_OPERANDS);
        assert_true((insn->flags >> 8) == 0);
        end = insn->addr + insn->size;
        code += insn->size;
        for (size_t k = 0; k < insn->n_operands; k++)
            assert_true(insn->operands[k].kind != BK_OP_REG || insn->operands[k].reg);
    }
    assert_true(end <= body->function->addr + body->function->size);
    assert_int_equal(code, body->bytes_code);
    assert_int_equal(body->bytes_code + body->bytes_data + body->bytes_bad, body->function->size);
}

static size_t block_at(const struct bk_body *body, uint64_t addr)
{
    for (size_t b = 0; b < body->n_blocks; b++)
        if (body->insns[body->blocks[b].first].addr == addr)
            return b;
    return SIZE_MAX;
}

static bool has_edge(const struct bk_body *body, size_t from, size_t to)
{
    for (size_t e = 0; e < body->n_edges; e++)
        if (body->edges[e].from == from && body->edges[e].to == to)
            return true;
    return false;
}

static bool begins_insn(const struct bk_body *body, uint64_t addr)
{
    for (size_t i = 0; i < body->n_insns; i++)
        if (body->insns[i].addr == addr)
            return true;
    return false;
}

static void check_block(const struct bk_body *body, size_t b)
{
    const struct bk_block *block = &body->blocks[b];
    for (size_t i = block->first; i < block->first + block->n; i++) {
        const struct bk_insn *insn = &body->insns[i];
        bool jump = insn->flags & BK_INSN_JUMP, last = i + 1 == block->first + block->n;
        if (i > block->first && (insn[-1].flags & BK_INSN_DELAY))
            continue; /* MIPS: a branch in a delay slot does what it likes */
        if (jump && (insn->flags & BK_INSN_TARGET) && begins_insn(body, insn->target)) {
            assert_true(block_at(body, insn->target) != SIZE_MAX);
            assert_true(has_edge(body, b, block_at(body, insn->target)));
        }
        /* Only the delay slot may stand behind what ends a block. */
        if (jump || (insn->flags & (BK_INSN_RET | BK_INSN_STOP)))
            assert_true(last || ((insn->flags & BK_INSN_DELAY) && i + 2 == block->first + block->n));
    }
}

void check_body(const struct bk_body *body)
{
    check_insns(body);
    size_t n = 0;
    for (size_t b = 0; b < body->n_blocks; b++) {
        assert_int_equal(body->blocks[b].first, n);
        assert_true(body->blocks[b].n > 0);
        n += body->blocks[b].n;
        check_block(body, b);
    }
    assert_int_equal(n, body->n_insns);
    for (size_t e = 0; e < body->n_edges; e++) {
        const struct bk_edge *edge = &body->edges[e];
        assert_true(edge->from < body->n_blocks && edge->to < body->n_blocks);
        if (e > 0)
            assert_true(edge[-1].from < edge->from || (edge[-1].from == edge->from && edge[-1].to < edge->to));
    }
    for (size_t i = 1; i < body->n_callees; i++)
        assert_true(body->callees[i - 1] < body->callees[i]);
}
