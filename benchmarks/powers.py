"""What a power x^(1/T) costs by logarithm and exponential and by table, and the error of each.

Measured on a tile of probabilities of 8 classes; units in the last place are those of float64.
"""

from __future__ import annotations

import sys

import numpy as np

from benchmarks import data, timing
from daskal.kernels import tiles
from daskal.kernels.powers import PowersByLog, PowersByTable

TEMPERATURE = 2.5


def main(argv: list[str] | None = None) -> int:
    """Measure both methods in turn and print the table."""
    options = timing.arguments(__doc__).parse_args(argv)
    num_rows = (1_000 if options.small else tiles.TILE_ELEMENTS) // 8
    x = data.make_probs(np.random.default_rng(0), num_rows, 8).reshape(-1)
    exact = x.astype(np.longdouble) ** np.longdouble(1 / TEMPERATURE)
    ways = {"log and exp": PowersByLog, "table": PowersByTable}
    times = timing.interleave(
        {name: lambda way=way: way(x).raise_to(1 / TEMPERATURE) for name, way in ways.items()},
        1 if options.small else options.repeats,
    )
    rows = []
    for name, way in ways.items():
        error = np.abs(way(x).raise_to(1 / TEMPERATURE) / exact - 1).max() * 2**52
        rows.append([name, f"{times.median(name) / x.size * 1e9:.3g}", f"{float(error):.2g}"])
    header = ("way", "ns per power", "units in the last place")
    sys.stdout.write(f"{timing.machine()}\n\n{timing.table(header, rows)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
