"""What the command line says, held against other tools and against arithmetic done here.

Each mode exits 0 when all agrees, else says on stderr what does not.
"""
import ast
import json
import re
import os
import signal
import struct
import subprocess
import sys


def run(*args):
    return subprocess.run(args, check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout


def records(*args):
    return [json.loads(line) for line in run(*args).splitlines()]


def agree(what, got, expected):
    if got != expected:
        sys.exit("%s: %r, expected %r" % (what, got, expected))


def nm(binkin, path):
    """Every function that nm tells the size of is listed with this address, size and name."""
    listed = {}
    for f in records(binkin, "functions", "--json", path):
        for name in f["names"]:
            listed[name] = (int(f["addr"], 16), f["size"])
    n = 0
    for line in run("nm", "-S", "--defined-only", path).splitlines():
        part = line.split()
        if len(part) == 4 and part[2] in "tTwW":
            agree(part[3], listed.get(part[3]), (int(part[0], 16), int(part[1], 16)))
            n += 1
    agree("functions with a size", n > 30, True)


def insns(binkin, path, name):
    """Instruction addresses of --words are those of objdump; padding (nop) inside a function may be left out."""
    f, = records(binkin, "functions", "--words", "--json", path + ":" + name)
    ours = [int(w["addr"], 16) for w in f["words"] if "_nop" not in w["word"]]
    text = run("objdump", "-d", "--no-show-raw-insn", "--disassemble=" + name, path)
    theirs = [int(line.split(":")[0], 16) for line in text.splitlines() if line[:1] == " " and not re.search(r"\bnop|xchg +%ax,%ax", line)]
    agree("addresses", ours, theirs)
    agree("insns", f["insns"], len(f["words"]))
    blocks = [w["block"] for w in f["words"]]
    agree("blocks in order", blocks, sorted(blocks))
    agree("blocks", f["blocks"], max(blocks) + 1)


def vectors(binkin, path):
    return [(f, f["vector"]) for f in records(binkin, "embed", "--json", path)]


def dot(v, w):
    return sum(x * y for x, y in zip(v, w))


def near(a, b, what):
    if abs(a - b) > 1e-5:
        sys.exit("%s: %r and %r" % (what, a, b))


def compare(binkin, path, a, b):
    by_name = {f["names"][0]: v for f, v in vectors(binkin, path) if f["names"]}
    near(dot(by_name[a], by_name[a]), 1, "length")
    out = subprocess.run([binkin, "compare", "--json", path + ":" + a, path + ":" + b], stdout=subprocess.PIPE)
    near(json.loads(out.stdout)["score"], dot(by_name[a], by_name[b]), "score")


def source_name(name):
    for mark in (".isra.", ".constprop.", ".part.", ".cold", ".lto_priv."):
        name = name.split(mark)[0]
    return name


def truth(binkin, a, b, min_blocks):
    """The closing object of match --truth, worked out from the vectors; equal scores may stand in any order."""
    def side(path):
        many = {f["addr"]: f["blocks"] for f in records(binkin, "functions", "--json", path)}
        return [(set(map(source_name, f["names"])), v) for f, v in vectors(binkin, path)
                if many[f["addr"]] >= min_blocks]
    queries, pool = side(a), side(b)
    said = records(binkin, "match", "--no-neighbours", "--truth", "--json", "-k", "3", "--min-blocks", str(min_blocks), a, b)[-1]
    agree("members", list(said), ["queries", "pool", "recall_at_1", "recall_at_10", "mrr_at_10", "min_blocks"])
    agree("pool", said["pool"], len(pool))
    agree("min_blocks", said["min_blocks"], min_blocks)
    ranks = []
    for names, v in queries:
        scores = [(dot(v, w), bool(names & other)) for other, w in pool]
        if any(right for _, right in scores):
            best = max(s for s, right in scores if right)
            wrong = [s for s, right in scores if not right]
            ranks.append((1 + sum(s > best + 1e-5 for s in wrong), 1 + sum(s > best - 1e-5 for s in wrong)))
    agree("queries", said["queries"], len(ranks))
    for key, gain in (("recall_at_1", lambda r: r == 1), ("recall_at_10", lambda r: r <= 10),
                      ("mrr_at_10", lambda r: 1 / r if r <= 10 else 0)):
        high, low = (sum(gain(r[i]) for r in ranks) / len(ranks) for i in (0, 1))
        if not low - 1e-6 <= said[key] <= high + 1e-6:
            sys.exit("%s: %r is not in [%r, %r]" % (key, said[key], low, high))


def call_graph(path):
    """{name: names of what it calls or jumps to in other functions} by objdump, and the names that stand for several functions"""
    called, twice, name, target = {}, set(), "", None
    for line in run("objdump", "-dr", "--no-show-raw-insn", path).splitlines():
        moved = re.search(r"\sR_\S+\t([^\s+-]+)", line)
        if target and moved:
            target = moved[1]  # the field is still empty, and what objdump reads there is not the target
        if target and name in called:
            called[name].add(target)
        target = None
        if head := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            name = head[1]
            twice |= {name} & set(called)
            if "@plt" not in name and ".cold" not in name:
                called.setdefault(name, set())
        elif branch := re.match(r"\s*[0-9a-f]+:\t(?:call|j|bl?\s|b\.|cb|tb).*<([^>+@]+)(@plt)?(\+0x[0-9a-f]+)?>", line):
            target = branch[1] if not branch[3] or path.endswith(".o") or path.endswith(".a") else None
    return {f: {g for g in targets if g != f and ".cold" not in g} for f, targets in called.items()}, twice


def neighbours(binkin, path):
    """Callers, callees and imports of each function, against objdump: through stubs, and between the members of an archive."""
    called, twice = call_graph(path)
    n = 0
    for r in records(binkin, "match", "--json", "--min-blocks", "1", path, path):
        names = set(r["query"]["names"])
        callees = set().union(*(called.get(f, set()) for f in names)) - names
        callers = {f for f, targets in called.items() if targets & names} - names
        if not names or (names | callees | callers) & twice:
            continue
        agree("neighbours of %s" % names, r["neighbours"], len(callees) + len(callers))
        n += r["neighbours"] > 0
    agree("functions with neighbours", n > 30, True)


def npy(binkin, path):
    rows = records(binkin, "embed", "--json", "-o", "vectors.npy", path)
    data = open("vectors.npy", "rb").read()
    agree("magic", data[:8], b"\x93NUMPY\x01\x00")
    n = struct.unpack("<H", data[8:10])[0]
    agree("alignment", (10 + n) % 64, 0)
    head = ast.literal_eval(data[10:10 + n].decode())
    agree("type", (head["descr"], head["fortran_order"]), ("<f4", False))
    direct = vectors(binkin, path)
    agree("shape", head["shape"], (len(direct), len(direct[0][1])))
    agree("rows", [r["row"] for r in rows], list(range(len(direct))))
    dim = head["shape"][1]
    last = struct.unpack("<%df" % dim, data[-4 * dim:])
    for x, y in zip(last, direct[-1][1]):
        near(x, y, "last row")


def interrupt(out, checkpoint, *command):
    """SIGINT after the first epoch leaves the checkpoint and no model, and says how to go on."""
    p = subprocess.Popen(command, stderr=subprocess.PIPE, universal_newlines=True,
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    for line in p.stderr:
        if line.startswith("epoch 1/"):
            break
    p.send_signal(signal.SIGINT)
    rest = p.stderr.read()
    agree("status", p.wait(), -signal.SIGINT)
    agree("hint in " + repr(rest), "--resume" in rest, True)
    agree("model", os.path.exists(out), False)
    agree("checkpoint", os.path.exists(checkpoint), True)


def main():
    args = sys.argv[2:]
    if sys.argv[1] == "truth":
        args[3] = int(args[3])
    {"nm": nm, "insns": insns, "compare": compare, "truth": truth, "neighbours": neighbours, "npy": npy, "interrupt": interrupt}[sys.argv[1]](*args)


main()
