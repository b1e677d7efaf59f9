"""The shape of the code: imports go one way, and each module keeps to its own matter."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "daskal"

# A module imports only from modules above it.
ORDER = (
    "version",
    "errors",
    "allocation",
    "sizes",
    "redaction",
    "retries",
    "transfers",
    "markup",
    "choices",
    "powers",
    "kernels",
    "calibration",
    "confidence",
    "votes",
    "findings",
    "statistics",
    "tallies",
    "gathering",
    "schema",
    "weights",
    "flags",
    "locations",
    "sources",
    "sparse",
    "inputs",
    "fingerprint",
    "planning",
    "clusters",
    "progress",
    "blocks",
    "reduction",
    "scoring",
    "describing",
    "objects",
    "store",
    "records",
    "rereads",
    "api",
    "annotators",
    "quality",
    "selection",
    "batches",
    "export",
    "report.charts",
    "report.tables",
    "report.contents",
    "report.plots",
    "report.sections",
    "report.page",
    "results",
    "runinputs",
    "plans",
    "summaries",
    "runs",
    "mirror.arguments",
    "mirror.returns",
    "multiannotator",
    "importing.columns",
    "importing.files",
    "importing.votes_store",
    "importing.alignment",
    "importing.importer",
    "demo",
    "cli.console",
    "cli.launching",
    "cli.options",
    "cli.commands",
)
NO_ENGINE = (
    "errors",
    "powers",
    "kernels",
    "calibration",
    "confidence",
    "votes",
    "findings",
    "tallies",
    "gathering",
    "statistics",
    "planning",
)
ENGINES = ("dask", "distributed", "zarr")

MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path.stem not in {"__init__", "__main__"}
)
PACKAGES = {module.partition(".")[0] for module in MODULES if "." in module}


def parse(module: str) -> ast.Module:
    path = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    """(module, name in it or "", name bound here) of each import anywhere in the tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, "", alias.asname or alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            for alias in node.names:
                yield node.module or "", alias.name, alias.asname or alias.name


def own_modules(tree: ast.AST) -> set[str]:
    """Names of daskal's modules that the tree imports from."""
    found = set()
    for module, name, _ in imports(tree):
        package, _, inner = module.partition(".")
        if package == "daskal":
            found.add(f"{inner}.{name}" if inner in PACKAGES else inner or name)
    return found


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def test_every_module_has_its_place() -> None:
    assert set(MODULES) == set(ORDER)


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_packages_hold_no_code_of_their_own(package: str) -> None:
    tree = ast.parse((PACKAGE / package / "__init__.py").read_text(encoding="utf-8"))
    assert [type(node) for node in tree.body] == [ast.Expr]


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    above = {*ORDER[: ORDER.index(module)]}
    if module == ORDER[-1]:
        above.add("")  # the command line takes public names from the package itself, lazily
    assert own_modules(parse(module)) <= above


@pytest.mark.parametrize("module", MODULES)
def test_no_own_import_inside_a_function(module: str) -> None:
    functions = (
        node
        for node in ast.walk(parse(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    )
    assert {
        function.lineno: own_modules(function) for function in functions if own_modules(function)
    } == {}


@pytest.mark.parametrize("module", MODULES)
def test_no_private_name_of_another_module(module: str) -> None:
    tree = parse(module)
    taken = [
        f"{source}.{name}"
        for source, name, _ in imports(tree)
        if source.split(".")[0] == "daskal" and is_private(name)
    ]
    bound = {
        here
        for source, name, here in imports(tree)
        if f"{source}.{name}".removeprefix("daskal.") in ORDER
    }
    taken += [
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in bound
        and is_private(node.attr)
    ]
    assert taken == []


def test_package_holds_only_lazy_names() -> None:
    tree = parse("__init__")
    for node in tree.body:
        match node:
            case ast.Expr(value=ast.Constant()):  # the docstring
                continue
            case ast.ImportFrom() | ast.Import():
                assert own_modules(node) == set(), f"line {node.lineno}: not lazy"
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                assert all(isinstance(inner, ast.ImportFrom) for inner in node.body)
            case ast.Assign() | ast.AnnAssign():
                continue
            case ast.FunctionDef(name="__getattr__" | "__dir__"):
                continue
            case _:
                pytest.fail(f"daskal/__init__.py:{node.lineno}: {type(node).__name__}")


def test_package_names_exist_and_are_typed() -> None:
    """What is promised to the type checker is what is there at run time."""
    import daskal

    guard = next(node for node in parse("__init__").body if isinstance(node, ast.If))
    assert {here for _, _, here in imports(guard)} == set(daskal.__all__)
    for name in daskal.__all__:
        assert getattr(daskal, name) is not None


@pytest.mark.parametrize("module", ["", *NO_ENGINE])
def test_module_needs_no_engine(module: str) -> None:
    """Neither itself nor through what it imports."""
    name = f"daskal.{module}".rstrip(".")
    code = f"import sys, {name}; print([m for m in {ENGINES!r} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert found.stdout.strip() == "[]"


def test_daskal_alone_imports_nothing_heavy() -> None:
    heavy = ("numpy", "pandas", "dask", "distributed", "zarr", "bokeh", "click", "asyncio")
    code = f"import sys, daskal; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == "[]"
