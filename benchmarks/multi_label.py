"""Several classes an example, against as many binary problems one after the other.

Both go through the same kernels, block by block in one thread: what is measured is how much taking
the classes out of a block costs beside the work on them. Reads are counted over a whole estimate
and its scores, from chunks in a store.

Run with ``python -m benchmarks.multi_label``.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import daskal
from benchmarks.timing import interleave
from daskal.kernels import first_pass, multi_label, second_pass
from daskal.kernels.binary import binary_blocks, check_block
from daskal.method.values import Block
from tests.counting import counted_array

NUM_ANNOTATORS = 10


def make(num_rows: int, num_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, M, K) labels as int8, three annotators a row, and (N, K) probabilities."""
    rng = np.random.default_rng(seed)
    rates = rng.uniform(0.02, 0.3, num_classes)
    truth = rng.random((num_rows, num_classes)) < rates
    labels = np.full((num_rows, NUM_ANNOTATORS, num_classes), -1, dtype=np.int8)
    for _ in range(3):
        flip = rng.random(truth.shape) < 0.1
        labels[np.arange(num_rows), rng.integers(NUM_ANNOTATORS, size=num_rows)] = truth ^ flip
    logits = np.where(truth, 1.5, -1.5) + rng.normal(size=truth.shape)
    return labels, (1 / (1 + np.exp(-1.5 * logits))).astype(np.float32)


def blocks_of(labels: np.ndarray, probs: np.ndarray, rows: int) -> list[Block]:
    """Return the blocks of some rows."""
    edges = [*range(0, len(labels), rows), len(labels)]
    return [Block(labels[a:b], [probs[a:b]], a) for a, b in pairwise(edges)]


def works(
    blocks: list[Block], num_classes: int, estimate: Any
) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Return each stage over all classes together, and over binary blocks made beforehand."""
    every = [True] * num_classes
    # Arrays of a class hold until the next one is taken.
    kept = [
        [
            Block(np.array(one.labels), [p.copy() for p in one.probs], one.first_row)
            for _, one in binary_blocks(check_block(block), every)
        ]
        for block in blocks
    ]
    rules = estimate.rules()

    def votes() -> object:
        return reduce(
            lambda a, b: a.merge(b),
            [
                multi_label.class_label_statistics(
                    block, wanted=every, num_annotators=NUM_ANNOTATORS
                )
                for block in blocks
            ],
        )

    def votes_apart() -> object:
        for k in range(num_classes):
            reduce(
                lambda a, b: a.merge(b),
                [first_pass.label_statistics(of[k], num_annotators=NUM_ANNOTATORS) for of in kept],
            )
        return None

    def consensus() -> object:
        return [multi_label.class_consensus_statistics(block, rules=rules) for block in blocks]

    def consensus_apart() -> object:
        return [
            first_pass.consensus_statistics(of[k], rule=rules[k])
            for k in range(num_classes)
            for of in kept
        ]

    def scores() -> object:
        return [
            multi_label.score_classes(block, rules=rules, reduce="mean", on_invalid="raise")
            for block in blocks
        ]

    def scores_apart() -> object:
        return [
            second_pass.score_labeled_block(of[k], rule=rules[k], on_invalid="raise")
            for k in range(num_classes)
            for of in kept
        ]

    return {
        "votes": (votes, votes_apart),
        "consensus": (consensus, consensus_apart),
        "score labeled": (scores, scores_apart),
    }


def count_reads(labels: np.ndarray, probs: np.ndarray, rows: int) -> dict[str, int]:
    """Return how often each chunk is read at most: by an estimate, and by the scores."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        stored, votes = counted_array(root / "l", labels, chunks=(rows, *labels.shape[1:]))
        model, read = counted_array(root / "p", probs, chunks=(rows, probs.shape[1]))

        def most() -> int:
            found = max(*votes.reads().values(), *read.reads().values())
            votes.forget()
            read.forget()
            return found

        estimate = daskal.estimate(stored, model, multi_label=True)
        of_estimate = most()
        daskal.score_labeled(stored, model, estimate).compute()
        return {"estimate": of_estimate, "score labeled": most()}


def main() -> None:
    """Measure, and print ratios of one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--block", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="Only show that it runs.")
    chosen = parser.parse_args()
    if chosen.small:
        chosen.rows, chosen.classes, chosen.block, chosen.repeats = 400, 5, 200, 1
    warnings.simplefilter("ignore", daskal.DataWarning)
    labels, probs = make(chosen.rows, chosen.classes, seed=0)
    reads = count_reads(labels, probs, chosen.block)
    estimate = daskal.estimate(labels, probs, multi_label=True)
    stages = works(blocks_of(labels, probs, chosen.block), chosen.classes, estimate)
    print(
        f"{chosen.rows:,} rows, {chosen.classes} classes. Each chunk is read at most "
        f"{reads['estimate']} times by the estimate, {reads['score labeled']} by the scores."
    )
    print()
    print("| stage | time over that of as many binary problems |")
    print("|---|---|")
    for stage, (together, apart) in stages.items():
        times = interleave({"together": together, "apart": apart}, chosen.repeats)
        print(f"| {stage} | {times.ratio('together', 'apart').cpu:.2f} |")


if __name__ == "__main__":
    main()
