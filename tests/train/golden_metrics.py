#!/usr/bin/env python3
"""Writes golden_metrics.h: scores with their AUC and AP, plain and with weights, ranks and percentiles as scikit-learn and NumPy
compute them.

Run by hand with Debian's python3-sklearn; the tests read only what it wrote.
    python3 golden_metrics.py > golden_metrics.h
"""
import numpy as np
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score, top_k_accuracy_score


def cases():
    rng = np.random.RandomState(7)
    y = rng.rand(60) < 0.5
    s = rng.randn(60) + y
    yield "continuous", s, y
    yield "many ties", np.round(s), y
    yield "ties of two values", (s > 0.5).astype(float), y
    yield "one score for all", np.zeros(60), y
    yield "perfect", np.where(y, 2.0, -1.0), y
    yield "reversed", np.where(y, -1.0, 2.0), y
    rare = np.zeros(60, dtype=bool)
    rare[[3, 31]] = True
    yield "two similar among sixty", np.round(s, 1), rare
    yield "two dissimilar among sixty", np.round(s, 1), ~rare
    yield "smallest", np.array([0.25, 0.75]), np.array([True, False])
    yield "cosines", np.clip(np.round(np.tanh(s), 2), -1, 1), y


def numbers(values):
    return ", ".join("%.9gF" % v if "." in "%.9g" % v or "e" in "%.9g" % v else "%.1fF" % v for v in values)


def whole(values):
    return ", ".join(str(int(v)) for v in values)


print("/* Written by golden_metrics.py with scikit-learn; not edited by hand. */")
print("static const struct golden goldens[] = {")
rng = np.random.RandomState(11)
for name, s, y in cases():
    s = s.astype(np.float32)
    w = rng.randint(0, 4, len(s))
    w[[np.argmax(y), np.argmin(y)]] = 2  # no class may lose all weight
    print('    {"%s", %d, {%s}, {%s}, {%s}, %.17g, %.17g, %.17g, %.17g},' % (
        name, len(s), numbers(s), whole(y), whole(w), roc_auc_score(y, s), average_precision_score(y, s),
        roc_auc_score(y, s, sample_weight=w), average_precision_score(y, s, sample_weight=w)))
print("};")


def ranked(name, scores):
    """Queries with the right answer in column 0. A tie counts against it: scikit-learn sees it a little lower."""
    right = np.zeros_like(scores)
    right[:, 0] = 1
    lower = scores.astype(np.float64)
    lower[:, 0] -= 1e-9
    first = np.zeros(len(scores), dtype=int)
    rank = (lower >= lower[:, :1]).sum(axis=1)
    mrr = np.where(rank <= 10, 1.0 / rank, 0).mean()
    labels = np.arange(scores.shape[1])
    print('    {"%s", {%s}, {%.17g, %.17g, %.17g, %.17g}},' % (
        name, ", ".join("{%s}" % numbers(row) for row in scores), top_k_accuracy_score(first, lower, k=1, labels=labels),
        top_k_accuracy_score(first, lower, k=10, labels=labels), mrr, ndcg_score(right, lower, k=10)))


print("static const struct golden_ranks golden_ranks[] = {")
rng = np.random.RandomState(5)
scores = rng.randn(12, 30).astype(np.float32)
scores[:, 0] += np.linspace(0, 4, 12)
ranked("continuous", scores)
ranked("tied", np.round(scores))
ranked("one score for all", np.zeros((12, 30), dtype=np.float32))
print("};")
values = np.sort(rng.randn(40))
print("static const double golden_sorted[40] = {%s};" % ", ".join("%.17g" % v for v in values))
print("static const double golden_percentiles[5] = {%s};" % ", ".join(
    "%.17g" % np.percentile(values, p) for p in (0, 2.5, 50, 97.5, 100)))
