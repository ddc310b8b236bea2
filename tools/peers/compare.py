"""Times `cirio bench` and the other engines in turn, round after round, each in a process of its own, and checks that they
give the same logits. The tables go to stdout, and beside it to the folder, as results.md and results.jsonl."""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from itertools import product

import numpy as np
from safetensors.numpy import load_file

from engine import PASSES, STEPS
from settings import BATCHES, PEERS, REPOSITORY, folder_of, names, numbers

CIRIO = REPOSITORY / "target/release/cirio"
PROGRAMS = {"tract": PEERS / "tract/release/tract-peer", "candle": PEERS / "candle/release/candle-peer"}
ALL = ["cirio", *PASSES, *PROGRAMS]
NETWORKS = ["lenet5", "cs231n_cifar", "vgg16_bn_cifar", "alexnet", "vgg16", "resnet50"]

# How far a logit may be from the one computed in f64, as a part of the largest. f32 gives 2e-5 at most, weights in f16 alone
# give 4e-4 and more.
TOLERANCE = 1e-4


def command(engine, network, batch, threads, args, output):
    """The command line that times an engine; it prints JSON last."""
    folder, seconds = folder_of(network), str(args.seconds)
    if engine == "cirio":
        flags = ["--train"] if args.train else ["--output", output]
        given = ["--weights", folder / "weights.safetensors", "--input", folder / f"b{batch}.safetensors"]
        return [CIRIO, "bench", "--model", network, *given, "--threads", str(threads), "--seconds", seconds, "--json", *flags]
    if engine in PROGRAMS:
        return [PROGRAMS[engine], folder, str(batch), seconds, output]
    flags = ["--train"] if args.train else ["--output", output]
    program = [sys.executable, REPOSITORY / "tools/peers/engine.py", engine, folder]
    return [*program, "--batch", str(batch), "--threads", str(threads), "--seconds", seconds, *flags]


def installed(engine):
    if engine == "cirio":
        return CIRIO.exists()
    if engine in PROGRAMS:
        return PROGRAMS[engine].exists()
    return importlib.util.find_spec({"mnn": "MNN"}.get(engine, engine.split("-")[0])) is not None


def measure(engine, network, batch, threads, args):
    """What an engine says of itself, with `error` beside it: the largest difference to the exact logits."""
    output = PEERS / "logits.safetensors"
    output.unlink(missing_ok=True)
    # Programs in Rust know their number of threads from here.
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads)}
    done = subprocess.run(
        command(engine, network, batch, threads, args, output), env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    # cirio prints a document of many lines; some libraries say something before it.
    result = json.loads(done.stdout[done.stdout.index("{") :])
    if not args.train:
        exact = load_file(folder_of(network) / f"b{batch}.safetensors")["logits"]
        difference = np.abs(load_file(output)["logits"] - exact).max() / np.abs(exact).max()
        result["error"] = float(difference)
    return result


def compare(network, batch, threads, engines, args):
    """One row an engine, over all rounds."""
    rounds = {engine: [] for engine in engines}
    for _ in range(args.rounds):
        for engine in list(rounds):
            time.sleep(args.pause)
            try:
                rounds[engine].append(measure(engine, network, batch, threads, args))
            except (RuntimeError, ValueError, OSError) as error:
                print(f"{engine} is left out for {network}, batch {batch}: {error}", file=sys.stderr)
                del rounds[engine]
    case = {"network": network, "batch": batch, "threads": threads, "train": args.train}
    return [case | summary(engine, results) for engine, results in rounds.items()]


def summary(engine, results):
    medians = [result["median_ms"] for result in results]
    row = {
        "engine": engine,
        "median_ms": statistics.median(medians),
        "best_ms": min(result["best_ms"] for result in results),
        "rounds_ms": medians,
        "peak_rss_mb": max(result["peak_rss_mb"] for result in results),
    }
    optional = {key: max(result[key] for result in results) for key in ["error", "peak_gflops"] if key in results[0]}
    return row | optional


def table(rows, key, form, ratio):
    """A line a case and a column an engine; with `ratio` the last column is ours / the best of the others."""
    engines = list(dict.fromkeys(row["engine"] for row in rows))
    cases = {}
    for row in rows:
        cases.setdefault((row["network"], row["batch"], row["threads"]), {})[row["engine"]] = row[key]
    heads = ["network", "batch", "threads", *engines, *(["ours / best of peers"] if ratio else [])]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for case, values in cases.items():
        cells = [str(part) for part in case] + [form.format(values[engine]) if engine in values else "" for engine in engines]
        if ratio:
            peers = [value for engine, value in values.items() if engine != "cirio"]
            cells.append(f"{values['cirio'] / min(peers):.2f}" if peers and "cirio" in values else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def report(rows, train):
    what = "a training step" if train else "a forward pass"
    parts = [f"Milliseconds of {what}, the median of the rounds' medians:", table(rows, "median_ms", "{:.3f}", ratio=True)]
    alone = [row for row in rows if row["batch"] == 1]
    if alone:
        parts += ["The most memory of the process, MB, at batch 1:", table(alone, "peak_rss_mb", "{}", ratio=False)]
    return "\n\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=names(NETWORKS), default=NETWORKS)
    parser.add_argument("--engines", type=names(ALL), default=ALL)
    parser.add_argument("--batches", type=numbers, default=BATCHES)
    parser.add_argument("--threads", type=numbers, default=[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1, help="of each engine in each round")
    parser.add_argument("--pause", type=float, default=0.3, help="seconds before each")
    parser.add_argument("--train", action="store_true", help="training steps, of the engines that train: cirio and torch")
    args = parser.parse_args()

    engines = [engine for engine in args.engines if not args.train or engine in ["cirio", *STEPS]]
    for engine in [engine for engine in engines if not installed(engine)]:
        print(f"{engine} is not installed", file=sys.stderr)
        engines.remove(engine)
    rows = []
    for network, batch, threads in product(args.networks, args.batches, args.threads):
        if (folder_of(network) / f"b{batch}.safetensors").exists():
            rows += compare(network, batch, threads, engines, args)
        else:
            print(f"{network} is not exported for batch {batch}", file=sys.stderr)

    (PEERS / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (PEERS / "results.md").write_text(text := report(rows, args.train) + "\n")
    print(text, end="")
    wrong = [row for row in rows if not row.get("error", 0) <= TOLERANCE]  # NaN is wrong too
    for row in wrong:
        print(f"{row['engine']} is off by {row['error']:.1e} of the largest logit for {row['network']}", file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
