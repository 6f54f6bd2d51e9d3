#!/usr/bin/env python3
"""Writes golden_metrics.h: scores with their AUC and AP as scikit-learn computes them.

Run by hand with Debian's python3-sklearn; the tests read only what it wrote.
    python3 golden_metrics.py > golden_metrics.h
"""
import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score


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


print("/* Written by golden_metrics.py with scikit-learn; not edited by hand. */")
print("static const struct golden goldens[] = {")
for name, s, y in cases():
    s = s.astype(np.float32)
    scores = ", ".join("%.9gF" % v if "." in "%.9g" % v or "e" in "%.9g" % v else "%.1fF" % v for v in s)
    print('    {"%s", %d, {%s}, {%s}, %.17g, %.17g},' % (
        name, len(s), scores, ", ".join(str(int(v)) for v in y), roc_auc_score(y, s), average_precision_score(y, s)))
print("};")
