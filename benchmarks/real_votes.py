"""What the scores are worth on votes that people gave: every number of docs/active-learning.md.

    python -m benchmarks.real_votes FOLDER... [--seeds 20] [--rounds 12] [--batch B] [--out DIR]

A folder holds ``labels.parquet`` (task, annotator, label) and ``truth.parquet`` (task, label), and
for a replay ``tasks.parquet`` (task) and ``features.npy``, one row per task. A replay reveals the
votes one batch after the other, in the order that a strategy asks for. ``--simulated`` does the
same with simulated annotators of scikit-learn's digits. Each seed's points are kept in ``--work``,
so that a run that was stopped continues, and one with more seeds adds to them.

Needs what ``pip install ".[test]"`` brings: scikit-learn, and cleanlab to check one strategy.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

# The matrices are small: more threads only get in each other's way. NumPy reads this on import.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import dask
import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning

import daskal
from benchmarks import consensus, curves, replay, timing
from benchmarks.replay import Case, Point
from benchmarks.strategies import NEED_A_POOL, STRATEGIES
from benchmarks.votesets import NOISE, UnusableError, VoteSet, World

LEAST_EXAMPLES = 20
CONSENSUS = {
    "best_quality": "CROWDLAB's",
    "majority_vote": "majority, ties by the model",
    replay.CAPPED: "CROWDLAB's, capped model",
}
PREFIX = "active-learning"


def cases_of(votes: VoteSet) -> list[Case]:
    """Return what is varied on a set: its annotators, the model, and the consensus."""
    better, worse = votes.half("better"), votes.half("worse")
    first = Case("all votes", lambda _: votes)
    fewer = Case("worse annotators", lambda _: worse)
    return [
        first,
        first._replace(name="flatter model", strength=1.0, varies=first.name),
        first._replace(name="majority labels", consensus="majority_vote", varies=first.name),
        first._replace(name="capped labels", consensus=replay.CAPPED, varies=first.name),
        Case("better annotators", lambda _: better),
        fewer,
        fewer._replace(name="worse, majority labels", consensus="majority_vote", varies=fewer.name),
        fewer._replace(name="worse, capped labels", consensus=replay.CAPPED, varies=fewer.name),
    ]


def simulated_cases() -> list[Case]:
    """Return annotators of three kinds, each with both kinds of consensus."""
    plain = [
        Case(f"{noise} annotators", lambda seed, noise=noise: VoteSet.simulate(noise, seed))
        for noise in NOISE
    ]
    return plain + [
        case._replace(name=f"{noise}, majority labels", consensus="majority_vote", varies=case.name)
        for noise, case in zip(NOISE, plain, strict=True)
    ]


def why_no_replay(votes: VoteSet) -> str | None:
    """Return why a set cannot be replayed, None if it can."""
    if votes.features is None:
        return "no features.npy, so that no model can be trained"
    judged = np.flatnonzero(votes.truth[np.unique(votes.rows)] >= 0)
    if len(judged) < LEAST_EXAMPLES:
        return f"{len(judged)} examples with votes and a known class, fewer than {LEAST_EXAMPLES}"
    return None


def can_run(name: str, case: Case, options: argparse.Namespace) -> bool:
    """Return whether a case has any setting to run, and say which it lacks."""
    votes = case.votes(0)
    reason = why_no_replay(votes)
    if reason:
        say(f"{name}, {case.name}: not replayed: {reason}")
        return False
    world = World.make(votes, 0)
    possible = []
    for setting in replay.settings(len(world.truth), options.rounds, options.batch):
        rounds = setting.possible_rounds(world.available)
        possible.append(rounds)
        if rounds < options.rounds:
            what = f"{rounds} of {options.rounds} rounds" if rounds else "left out"
            say(
                f"{name}, {case.name}, {setting.name}: {what}: there are "
                f"{world.available.mean():.1f} votes an example and {len(world.truth):,} examples"
            )
    return any(possible)


class Work:
    """The points of the loops that were run: one file per case and seed, in one folder."""

    def __init__(self, folder: Path, options: dict[str, object]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        noted = folder / "options.json"
        text = json.dumps(options)
        if noted.exists() and noted.read_text(encoding="utf-8") != text:
            raise UnusableError(
                f"{folder}: expected results with the options {text}, found those with "
                f"{noted.read_text(encoding='utf-8')}; remove it or give another folder as --work"
            )
        noted.write_text(text, encoding="utf-8")

    def path(self, case: Case, seed: int) -> Path:
        """Return the file of a case and seed."""
        return self.folder / f"{file_name(case.name)}-{seed:03}.parquet"

    def read(self, case: Case, seed: int) -> pd.DataFrame:
        """Return the points that are there."""
        path = self.path(case, seed)
        if not path.exists():
            return pd.DataFrame(columns=list(Point._fields))
        return pd.read_parquet(path)

    def write(self, case: Case, seed: int, points: pd.DataFrame) -> None:
        """Replace the points, at once or not at all."""
        path = self.path(case, seed)
        part = path.with_suffix(".part")
        points.to_parquet(part, index=False)
        part.replace(path)


def run_case(case: Case, seed: int, rounds: int, batch: int | None, done: set[str]) -> list[Point]:
    """Run the loops of a case and seed whose strategies are not done."""
    world = World.make(case.votes(seed), seed)
    points: list[Point] = []
    for setting in replay.settings(len(world.truth), rounds, batch):
        if not setting.possible_rounds(world.available):
            continue
        for strategy in STRATEGIES:
            if strategy in done or (not setting.with_pool and strategy in NEED_A_POOL):
                continue
            points += replay.run_loop(world, setting, case, strategy, seed)
    return points


def replay_all(
    name: str, cases: Sequence[Case], work: Work, options: argparse.Namespace
) -> pd.DataFrame:
    """Run or read all loops of a set, seed by seed."""
    began, run = time.perf_counter(), 0
    jobs = [(case, seed) for seed in range(options.seeds) for case in cases]
    frames = []
    for number, (case, seed) in enumerate(jobs):
        points = work.read(case, seed)
        missing = set(STRATEGIES) - set(points["strategy"])
        if missing:
            done = set(points["strategy"])
            found = run_case(case, seed, options.rounds, options.batch, done)
            points = pd.DataFrame([*points.itertuples(index=False), *found], columns=Point._fields)
            work.write(case, seed, points)
            run += 1
            spent = time.perf_counter() - began
            left = spent / run * (len(jobs) - number - 1) / 60
            say(f"{name}, {case.name}, seed {seed}: {spent:,.0f} s, at most {left:,.0f} min left")
        frames.append(points[points["strategy"].isin(STRATEGIES)])
    points = pd.concat(frames, ignore_index=True)
    order = {case.name: place for place, case in enumerate(cases)}
    return points.sort_values("case", key=lambda names: names.map(order), kind="stable")


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def describe(cases: Sequence[Case]) -> str:
    """Return a table of the cases: who labels, what model learns which labels."""
    rows = []
    for case in cases:
        votes = case.votes(0)
        judged = votes.truth[votes.rows] >= 0
        right = (votes.codes == votes.truth[votes.rows])[judged].mean()
        rows.append(
            [
                case.name,
                f"{votes.num_active:,}",
                f"{len(votes.rows) / len(np.unique(votes.rows)):.1f}",
                f"{100 * right:.1f} %",
                f"{case.strength:g}",
                CONSENSUS[case.consensus],
            ]
        )
    header = ("case", "annotators", "votes an example", "votes right", "C", "consensus labels")
    return timing.table(header, rows)


def write_replay(name: str, cases: Sequence[Case], points: pd.DataFrame, out: Path) -> None:
    """Write the tables, the curves as numbers, and a picture of each case."""
    strategies = list(STRATEGIES)
    points = curves.comparable(points)
    seeds = points["seed"].nunique()
    pairs = [(case.name, case.varies) for case in cases]
    ours = strategies[-1]
    short = [
        f"{describe(cases)}\n\n{ours} minus each other strategy, in percentage points, seed by "
        f"seed over {seeds} seeds, with 95 % intervals."
    ]
    for title, measure in (
        ("Test accuracy, mean over the loop", curves.MEASURES[0]),
        ("Right over all examples, at the end", curves.MEASURES[3]),
    ):
        short += [f"\n{title}:\n", curves.overview(points, strategies, measure)]
    short += [
        f"\n{ours}, one case minus another, seed by seed, at the end unless it says otherwise:\n",
        curves.contrasts_table(points, pairs, [ours]),
    ]
    write(out / f"{PREFIX}-{name}.txt", "\n".join([*short, ""]))
    full = [
        f"Means over {seeds} seeds with 95 % intervals, at the end unless it says otherwise:\n",
        curves.means_table(points, strategies),
        "\nDifferences seed by seed, with 95 % intervals:\n",
        curves.gains_table(points, strategies),
        "\nOne case minus another, seed by seed, with 95 % intervals:\n",
        curves.contrasts_table(points, pairs, strategies),
        "",
    ]
    write(out / f"{PREFIX}-{name}-all.txt", "\n".join(full))
    curves.summarise(points).to_csv(out / f"{PREFIX}-{name}.csv", float_format="%.5f")
    for case, group in points.groupby("case", sort=False):
        write(out / f"{PREFIX}-{name}-{file_name(case)}.svg", curves.draw(group, strategies))


def file_name(case: str) -> str:
    return case.replace(" ", "-").replace(",", "")


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    say(f"{path} written")


def read_sets(folders: Sequence[Path]) -> Iterator[tuple[Path, VoteSet]]:
    for folder in folders:
        try:
            yield folder, VoteSet.read(folder)
        except UnusableError as error:
            say(f"left out: {error}")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=12, help="at most so many (default 12)")
    parser.add_argument("--batch", type=int, help="votes a round (default: 75, or less)")
    parser.add_argument("--out", type=Path, default=Path("real-votes"), help="of tables, curves")
    parser.add_argument("--work", type=Path, help="of each seed's points (default: OUT/work)")
    parser.add_argument("--cases", nargs="+", help="only these, as the tables call them")
    parser.add_argument("--simulated", action="store_true", help="simulated annotators, too")
    options = parser.parse_args(argv)
    if not options.folders and not options.simulated:
        parser.error("expected at least one folder, or --simulated")
    return options


def main(argv: list[str] | None = None) -> int:
    """Write all tables and pictures; return 1 if no folder could be used."""
    options = parse(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    base = options.work or options.out / "work"
    sets = list(read_sets(options.folders))
    with dask.config.set(scheduler="sync"), warnings.catch_warnings():
        # The features are scaled and the tolerance is loose: good enough, and the same for all.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # A poor model on few votes is what a loop begins with.
        warnings.simplefilter("ignore", daskal.DataWarning)
        if sets:
            found = [(votes, consensus.stored_models(folder)) for folder, votes in sets]
            tables = consensus.report(found, range(options.seeds), say)
            write(options.out / f"{PREFIX}-consensus.txt", tables)
        todo = []
        for _, votes in sets:
            reason = why_no_replay(votes)
            if reason:
                say(f"{votes.name}: not replayed: {reason}")
            else:
                todo.append((votes.name, cases_of(votes), len(votes.rows)))
        if options.simulated:
            todo.append(("simulated", simulated_cases(), 0))
        for name, cases, num_votes in todo:
            kept = [case for case in cases if not options.cases or case.name in options.cases]
            kept = [case for case in kept if can_run(name, case, options)]
            if not kept:
                continue
            noted = {"rounds": options.rounds, "batch": options.batch, "votes": num_votes}
            points = replay_all(name, kept, Work(base / name, noted), options)
            write_replay(name, kept, points, options.out)
    return 0 if sets or options.simulated else 1


if __name__ == "__main__":
    sys.exit(main())
