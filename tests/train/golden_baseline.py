#!/usr/bin/env python3
"""Writes golden_baseline.h: small documents and how alike scikit-learn finds them.

Run by hand with Debian's python3-sklearn; the tests read only what it wrote.
    python3 golden_baseline.py > golden_baseline.h
"""
import numpy as np
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.metrics.pairwise import cosine_similarity

TRAIN, JUDGED, WORDS, OPCODES, IMMEDIATES = 10, 8, 12, 5, 7
rng = np.random.RandomState(3)
n = TRAIN + JUDGED
words = rng.poisson(0.9, (n, WORDS))
words[:TRAIN, 4] = 0  # a word that training never saw
words[:, 0] += words.sum(axis=1) == 0
immediates = rng.poisson(0.6, (n, IMMEDIATES))
immediates[TRAIN + 2] = 0  # a function without any
opcodes = np.zeros((n, OPCODES), dtype=int)
for w in range(WORDS):
    opcodes[:, w % OPCODES] += words[:, w]
both = np.hstack([opcodes, immediates])


def tfidf(counts, fitted):
    return cosine_similarity(TfidfTransformer(sublinear_tf=True).fit(fitted).transform(counts[TRAIN:]))


def table(name, rows, fmt):
    print("static const %s = {%s};" % (name, ", ".join("{%s}" % ", ".join(fmt % v for v in row) for row in rows)))


print("/* Written by golden_baseline.py with scikit-learn; not edited by hand. */")
print("enum { N_TRAIN = %d, N_JUDGED = %d, N_WORDS = %d, N_OPCODES = %d, N_IMMEDIATES = %d };" %
      (TRAIN, JUDGED, WORDS, OPCODES, IMMEDIATES))
table("unsigned word_counts[N_TRAIN + N_JUDGED][N_WORDS]", words, "%d")
table("unsigned immediate_counts[N_TRAIN + N_JUDGED][N_IMMEDIATES]", immediates, "%d")
for name, matrix in (("counts", cosine_similarity(words[TRAIN:])), ("words", tfidf(words, words[:TRAIN])),
                     ("opcodes", tfidf(opcodes, opcodes[:TRAIN])), ("immediates", tfidf(immediates, immediates[:TRAIN])),
                     ("both", tfidf(both, both[:TRAIN])), ("both_untrained", tfidf(both, both))):
    table("double expected_%s[N_JUDGED][N_JUDGED]" % name, matrix, "%.17g")
