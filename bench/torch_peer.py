#!/usr/bin/env python3
"""The network in PyTorch, the peer of bench/net_speed.c: same functions, word vectors (frozen), sizes and threads.

    torch_peer.py JOB FORM BATCH FUNCS THREADS [SECONDS]

JOB is embed, train or latency; FUNCS is what `net_speed dump` wrote. One timed round goes to stdout as one JSON object. FORM:

    padded   every function padded to 150 words, in the order of the file: how SAFE is run
    bucket   sorted by length, a batch padded to its longest
    packed   sorted by length, the GRU over a packed sequence, the rest padded to the longest of the batch
    rows     sorted by length, all of it over packed rows; only the softmax and the sums over a function are padded

BATCH functions go through the network at once. A training step has 250 functions whatever the form, as its loss joins them; they are
embedded BATCH at a time, the gradient goes through all of them, and Adam steps once.

torch.nn.GRU has the reset gate behind the product with the state, and a second bias; net_speed's cell has it before. The products are
as many and as large. In `padded` and `bucket` the backward GRU also runs over the padding, so their vectors differ from those of the
others. Batches are put together before the clock starts; ours sorts and packs while it runs.
"""
import json
import statistics
import sys
import time
from array import array

import torch
from torch.nn.functional import cosine_similarity, normalize
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

U, A, R, E, N, MAX = 100, 250, 10, 2000, 100, 150
STEP = 250  # functions of a training step: 125 and a partner of each


class Net(torch.nn.Module):
    def __init__(self, vectors):
        super().__init__()
        d = vectors.shape[1]
        self.words = torch.nn.Embedding.from_pretrained(vectors, freeze=True)
        self.gru = torch.nn.GRU(d, U // 2, bidirectional=True, batch_first=True)
        self.ws1 = torch.nn.Linear(U, A, bias=False)
        self.ws2 = torch.nn.Linear(A, R, bias=False)
        self.dense = torch.nn.Linear(R * U, E)
        self.out = torch.nn.Linear(E, N)
        self.sff = torch.nn.Linear(d + U, N)

    def fuse(self, scores, h, q, mask):
        """Scores (B, T, R), states (B, T, U) and SFF before its maximum (B, T, N), padded -> vectors (B, 2N) and attention."""
        if mask is not None:
            scores = scores.masked_fill(mask, -1e9)
            q = q.masked_fill(mask, -2.0)
        att = torch.softmax(scores, 1).transpose(1, 2)
        p = self.out(torch.relu(self.dense(torch.bmm(att, h).flatten(1))))
        return torch.cat([normalize(p), normalize(q.amax(1))], 1), att

    def parts(self, x, h):
        return self.ws2(torch.tanh(self.ws1(h))), torch.tanh(self.sff(torch.cat([x, h], -1)))

    def forward(self, form, batch):
        ids, lengths, mask = batch
        if form == "rows":
            def pad(data):
                return pad_packed_sequence(PackedSequence(data, ids.batch_sizes), batch_first=True)[0]
            x = self.words(ids.data)
            h = self.gru(PackedSequence(x, ids.batch_sizes))[0].data
            scores, q = self.parts(x, h)
            return self.fuse(pad(scores), pad(h), pad(q), mask)
        x = self.words(ids)
        if form == "packed":
            h, _ = pad_packed_sequence(self.gru(pack_padded_sequence(x, lengths, batch_first=True))[0], batch_first=True)
        else:
            h, _ = self.gru(x)
        scores, q = self.parts(x, h)
        return self.fuse(scores, h, q, mask)


def read(path):
    with open(path, "rb") as f:
        raw = array("I", f.read())
    if sys.byteorder != "little":
        raw.byteswap()
    n, v, d = raw[:3]
    lengths, at, seqs = raw[3:3 + n], 3 + n, []
    for length in lengths:
        seqs.append(torch.tensor(raw[at:at + length].tolist()))
        at += length
    if len(raw) - at != v * d:
        sys.exit(f"{path}: not a file that net_speed dump writes")
    return seqs, torch.frombuffer(bytearray(raw[at:].tobytes()), dtype=torch.float32).reshape(v, d)


def make(form, seqs):
    """One call of the network: ids, lengths, mask of what is padding (None: nothing is)."""
    lengths = torch.tensor([len(s) for s in seqs])
    longest = MAX if form == "padded" else int(lengths.max())
    ids = torch.zeros(len(seqs), longest, dtype=torch.long)
    for row, s in zip(ids, seqs):
        row[:len(s)] = s
    mask = torch.arange(longest)[None, :, None] >= lengths[:, None, None]
    if form == "rows":
        ids = pack_padded_sequence(ids, lengths, batch_first=True)
    return ids, lengths, mask if mask.any() else None


def calls(form, seqs, size):
    """The functions in calls of `size`, and the order they come out in."""
    order = list(range(len(seqs)))
    if form != "padded":
        order.sort(key=lambda i: -len(seqs[i]))
    return ([make(form, [seqs[i] for i in order[k:k + size]]) for k in range(0, len(order), size)], torch.tensor(order))


def useful(seqs, d):
    """Operations of these functions; net_speed.c says the formula. (of distinct words, of the rest)"""
    word = 2 * 2 * (U // 2) * (3 * U // 2) + 2 * (U * A + A * R + R * U) + 2 * U * N
    function = 2 * (R * U * E + E * N)
    distinct = len(set(i for s in seqs for i in s.tolist()))
    return distinct * 2 * d * (3 * U + N), sum(function + word * len(s) for s in seqs)


def report(job, functions, seconds, operations, **more):
    print(json.dumps({"job": job, "functions": functions, "seconds": round(seconds, 4), "per_second": round(functions / seconds, 1),
                      "useful_gflops": round(operations / seconds / 1e9, 1), **more, "peer": "PyTorch", "version": torch.__version__}))


@torch.inference_mode()
def embed(net, form, size, seqs, seconds):
    batches, order = calls(form, seqs, size)
    out = torch.empty(len(seqs), 2 * N)

    def run():
        for k, batch in enumerate(batches):
            out[order[k * size:(k + 1) * size]] = net(form, batch)[0]
    run()
    done, begun = 0, time.perf_counter()
    while done == 0 or time.perf_counter() - begun < seconds:
        run()
        done += 1
    spent = time.perf_counter() - begun
    report("embed", done * len(seqs), spent, done * sum(useful(seqs, net.words.embedding_dim)), form=form, batch=size)


@torch.inference_mode()
def latency(net, form, size, seqs, seconds):
    longest = [s for s in seqs if len(s) == MAX][:64]
    batches = [make(form, [s]) for s in longest]
    times, begun = [], time.perf_counter()
    for batch in batches:
        net(form, batch)
    while len(times) < len(batches) or time.perf_counter() - begun < seconds:
        t = time.perf_counter()
        net(form, batches[len(times) % len(batches)])
        times.append(time.perf_counter() - t)
    median = statistics.median(times)
    operations = statistics.mean(sum(useful([s], net.words.embedding_dim)) for s in longest)
    report("latency", 1, median, operations, ms=round(1e3 * median, 4), times=len(times), form=form, batch=1)


def train(net, form, size, seqs, seconds):
    half = STEP // 2
    anchor = torch.arange(half)
    left, right = torch.cat([anchor, anchor]), torch.cat([half + anchor, half + (anchor + 1) % half])
    y = torch.cat([torch.ones(half), -torch.ones(half)])
    steps = [seqs[k:k + STEP] for k in range(0, len(seqs) - STEP + 1, STEP)]
    batches = [calls(form, s, size) for s in steps]
    operations = [useful(s, net.words.embedding_dim) for s in steps]
    adam = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=0.001)
    eye = torch.eye(R)

    def run(parts, order):
        adam.zero_grad()
        made = [net(form, part) for part in parts]
        f = torch.empty(STEP, 2 * N).index_copy(0, order, torch.cat([v for v, _ in made]))
        penalty = sum(((torch.bmm(att, att.transpose(1, 2)) - eye) ** 2).sum() for _, att in made)
        loss = ((cosine_similarity(f[left], f[right]) - y) ** 2).sum() + penalty.sqrt()
        loss.backward()
        adam.step()
        return loss
    run(*batches[0])
    done, begun = 0, time.perf_counter()
    while done == 0 or time.perf_counter() - begun < seconds:
        for b in batches:
            loss = run(*b)
        done += 1
    spent = time.perf_counter() - begun
    report("train", done * STEP * len(steps), spent, done * sum(2 * shared + 3 * own for shared, own in operations), form=form,
           batch=size, loss=round(loss.item(), 2))


def main():
    jobs = {"embed": embed, "train": train, "latency": latency}
    if len(sys.argv) not in (6, 7) or sys.argv[1] not in jobs or sys.argv[2] not in ("padded", "bucket", "packed", "rows"):
        sys.exit(__doc__)
    job, form, size, path, threads = sys.argv[1:6]
    torch.set_num_threads(int(threads))
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    seqs, vectors = read(path)
    jobs[job](Net(vectors), form, int(size), seqs, float(sys.argv[6]) if len(sys.argv) == 7 else 4)


main()
