"""How kernels are compiled: late, once, in packed instructions, to the same bits everywhere."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from daskal.kernels.compiling import compiled, first_holding, read_only
from daskal.method.values import PoolRule, TieBreak

ROOT = Path(__file__).resolve().parents[2]


def run(code: str, *, timeout: float = 280, **settings: str) -> str:
    """What a program of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import daskal, daskal.kernels.first_pass, daskal.kernels.quality, daskal.kernels.warming",
        "import daskal, numpy; daskal.plan(pred_probs_unlabeled=numpy.full((100_000, 2), 0.5))",
        "import daskal.cli.commands as c; c.main(['--help'], standalone_mode=False)",
    ],
)
def test_nothing_imports_numba_before_a_kernel_runs(code):
    assert run(f"{code}\nimport sys; print('numba' in sys.modules)").endswith("False\n")


# --- once --------------------------------------------------------------------------------------

COUNT = """
import importlib, json, pkgutil
import numpy as np
import daskal, daskal.kernels
from daskal.kernels.compiling import Lazy
from daskal.kernels.warming import warm_up

def signatures():
    found = {}
    for module in pkgutil.iter_modules(daskal.kernels.__path__, "daskal.kernels."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, Lazy):
                made = [each.resolve() for each in (value, value.inner)]
                if hasattr(made[0], "signatures"):
                    found[value.__name__] = max(len(each.signatures) for each in made)
    return found

warm_up()
before = signatures()
rng = np.random.default_rng(0)
for dtype, order, num_models in (("f4", "C", 1), ("f8", "F", 2), ("f2", "C", 3), ("f8", "C", 1)):
    probs = rng.dirichlet(np.ones(3), (num_models, 200)).astype(dtype)
    probs = np.asarray(probs if num_models > 1 else probs[0], order=order)
    probs.flags.writeable = False
    labels = rng.integers(-1, 3, (200, 4))
    if num_models > 1:
        labels = np.where(labels < 0, np.nan, labels)
    estimate = daskal.estimate(labels, probs)
    daskal.score_labeled(labels, probs, estimate).compute()
    daskal.label_quality(labels, probs, estimate).compute()
    daskal.annotator_stats(labels, probs, estimate)
    daskal.next_batch(daskal.score_unlabeled(probs, estimate), size=10)
after = signatures()
print({name: (before[name], num) for name, num in after.items() if num != before[name]})
print(json.dumps([name for name, num in after.items() if num > 1]))
"""


# What meets labels and probabilities as they are stored.
PER_DTYPE = {"add_vote", "check_row", "fill_lanes", "find_dense", "load_lanes", "score_unchecked"}


def test_warming_up_compiles_all_there_is_each_for_one_type():
    more, several = run(COUNT).splitlines()[-2:]
    assert more == "{}"
    # What only calls code from the cache is not looked up itself.
    assert set(json.loads(several)) <= PER_DTYPE


def test_a_function_of_no_file_is_compiled_without_a_cache():
    space: dict[str, object] = {}
    exec("def add_one(x):\n    return x + 1", space)
    assert compiled(space["add_one"])(1) == 2


def test_kernels_travel_by_name():
    import pickle

    from daskal.kernels.tallying import add_to_histogram

    assert pickle.loads(pickle.dumps(add_to_histogram)) is add_to_histogram


@pytest.mark.parametrize("dtype", ["f8", "f4", ">f8", "i8"])
def test_what_kernels_read_is_of_one_type(dtype):
    x = np.arange(12).reshape(3, 4).astype(dtype)
    for each in (x, x.T, x[:, ::2], np.frombuffer(bytes(x), dtype=dtype)):
        view = first_holding(each, ("f8",))
        np.testing.assert_array_equal(view, each)
        assert view.dtype == np.float64
        assert view.flags.c_contiguous
        assert view.flags.aligned
        assert not view.flags.writeable
    assert x.flags.writeable
    assert first_holding(x, ("f4", "f8")).dtype == (np.float32 if dtype == "f4" else np.float64)


def test_rules_are_made_of_few_types():
    rule = PoolRule(np.ones(1, "f4"), np.ones(1), 1, TieBreak(np.ones(2, "i4"), np.ones(1), -1))
    found = read_only(rule)
    assert isinstance(found, PoolRule)
    assert found.inverse.dtype == np.float64
    assert found.tie_break.class_counts.dtype == np.int64
    assert found.tie_break.seed == np.uint64(2**64 - 1)


# --- the same bits -----------------------------------------------------------------------------

SCORES = """
import hashlib
import numpy as np
from daskal.kernels.first_pass import consensus_statistics, label_statistics
from daskal.kernels.quality import (
    answer_block, confidence_block, describe_block, majority_block, model_votes_block,
    score_pool_block,
)
from daskal.kernels.second_pass import labeled_columns, score_unlabeled_block
from daskal.kernels.warming import make_rule
from daskal.method.values import Block, PoolRule, Question, Scorer, TieBreak, VoteWeights

digest = hashlib.sha256()

def add(value):
    if hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            add(getattr(value, name))
    elif isinstance(value, dict):
        for name in value:
            add(value[name])
    else:
        digest.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())

for num_models, num_classes, temperature in ((1, 3, 2.5), (1, 70, 0.3), (2, 10, 0.05), (1, 5, 1.0)):
    rng = np.random.default_rng(num_classes)
    # Powers by multiplication: NumPy's own distributions call the C library.
    probs = rng.random((num_models, 500, num_classes))
    probs = probs * probs * probs
    probs[:, :, 0] += 1e-3
    probs /= probs.sum(axis=2, keepdims=True)
    labels = rng.integers(-2, num_classes, (500, 6)).astype("i1")
    weights = VoteWeights(0.8, 0.1, rng.random(num_models), rng.random(6))
    tie_break = TieBreak(rng.integers(1, 9, num_classes), rng.random(6), 0)
    rule = make_rule()._replace(
        inverse=np.full(num_models, 1 / temperature),
        tie_break=tie_break, majority=weights, final=weights,
    )
    block, pool = Block(labels, list(probs), 0), Block(None, list(probs), 0)
    scorer = Scorer("confidence_weighted_entropy")
    question = Question((rule,), ("",), (scorer,), scorer, "raise")
    for miscount in (False, True):  # both conventions
        add(label_statistics(block, num_annotators=6, miscount=miscount, guess=False))
    for by_agreement in (False, True):
        for best_quality in (False, True):
            other = rule._replace(by_agreement=by_agreement, best_quality=best_quality)
            add(consensus_statistics(block, rule=other))
            for part in labeled_columns(block, rule=other, on_invalid="raise", size=9):
                add(part)
    add(answer_block(block, question=question, num_annotators=6, quality=True, votes=True))
    add(confidence_block(block, question=question))
    add(majority_block(block, tie_break=tie_break))
    add(model_votes_block(pool, inverse=rule.inverse))
    pool_rule = PoolRule(rule.inverse, weights.model, 0.4)
    if num_models == 1:
        add(score_unlabeled_block(pool, rule=pool_rule, on_invalid="raise"))
    add(describe_block(block, question=question, quality=True, votes=True))
    add(score_pool_block(pool, rule=pool_rule))
    add(score_pool_block(pool, rule=pool_rule._replace(tie_break=tie_break)))
print(digest.hexdigest())
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(
    platform.machine().lower() not in {"x86_64", "amd64"}, reason="names of x86 processors"
)
@pytest.mark.parametrize("name", ["generic", "core2", "x86-64-v3"])
def test_every_processor_gives_the_same_bits(tmp_path, name):
    # Without its features of this machine, a name says what the code may use.
    other = run(
        SCORES,
        timeout=1000,
        NUMBA_CACHE_DIR=str(tmp_path),
        NUMBA_CPU_NAME=name,
        NUMBA_CPU_FEATURES="",
        # Nor may the C library use this machine's instruction where the code has none of it.
        GLIBC_TUNABLES="glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2",
    )
    assert other == run(SCORES)


# --- packed instructions -----------------------------------------------------------------------

# Of each hot loop: instructions that its formula needs many of, at least so many packed ones.
HOT = {
    "lanes.add_powers": ("fmadd", 18),
    "lanes.add_sums": ("min|max|cmp", 1),
    "scoring.score_unchecked": ("fmadd", 18),
    "temperature_curve.take_ratios": ("fmadd", 8),
    "temperature_curve.add_powers": ("fmadd", 10),
    "temperature_curve.add_losses": ("fmadd", 18),
    "temperature_curve.sum_kept": ("mul", 1),
    "consensus.weigh_lanes": ("mul", 1),
    "consensus.find_largest": ("cmp", 1),
    "votes.find_dense": ("cmp", 4),
}


def has(feature: str) -> bool:
    from llvmlite.binding import get_host_cpu_features

    return bool(get_host_cpu_features().get(feature, False))


# The registers that hold the processor's widest vectors.
WIDEST = "z" if has("avx512f") else "y"
ASSEMBLE = f"""
import importlib, json, re
from daskal.kernels import compiling
compiling.use_cache = lambda dispatcher: None  # code from a cache cannot be looked at
from daskal.kernels.warming import warm_up
warm_up()
found = {{}}
for name, (kind, least) in {HOT!r}.items():
    file, function = name.split(".")
    kernel = getattr(importlib.import_module("daskal.kernels." + file), function)
    made = kernel.made or kernel.inner.made
    code = "".join(made.inspect_asm().values())
    found[name] = len(re.findall(rf"v\\w*(?:{{kind}})\\w*pd\\w*\\s[^\\n]*{WIDEST}mm", code))
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not has("avx2"), reason="this processor has no AVX2")
def test_hot_loops_keep_their_packed_instructions():
    found = json.loads(run(ASSEMBLE, timeout=500))
    few = {name: num for name, num in found.items() if num < HOT[name][1]}
    assert few == {}


def test_the_pattern_of_packed_instructions_knows_them():
    assert re.search(r"v\w*(?:fmadd)\w*pd\w*\s[^\n]*[yz]mm", "\tvfmadd213pd\t%ymm1, %ymm2, %ymm3")
    assert not re.search(r"v\w*(?:fmadd)\w*pd\w*\s[^\n]*[yz]mm", "\tvfmadd213sd\t%xmm1, %xmm2\n")
