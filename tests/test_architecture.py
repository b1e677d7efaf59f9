"""The shape of the code: imports go one way, and each folder keeps to its own matter."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "daskal"

# What lies in daskal/ imports only what is named before it.
ORDER = (
    "version",
    "errors",
    "options",
    "text",
    "names",
    "storage",
    "tables",
    "method",
    "kernels",
    "inputs",
    "engine",
    "report",
    "api",
    "importing",
    "runs",
    "multiannotator",
    "demo",
    "cli",
)
# Neighbours on other branches, which the order alone would let in.
STRANGERS = {
    "method": {"storage", "tables"},
    "kernels": {"storage", "tables"},
    "report": {"storage", "tables", "kernels", "inputs", "engine"},
    "api": {"report"},
    "importing": {"report", "kernels"},
}
MOST_FILES = 8
MOST_LINES = 400
# Files that are longer, for the one idea in them needs it.
LONGER: set[str] = set()
# What needs neither Dask nor Zarr, itself or through what it imports.
NO_ENGINE = ("errors", "options", "text", "method", "kernels")
ENGINES = ("dask", "distributed", "zarr")

MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path.stem not in {"__init__", "__main__"}
)
PACKAGES = sorted({module.partition(".")[0] for module in MODULES if "." in module})


def parse(module: str) -> ast.Module:
    path = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    """Yield (module, name in it or "", name bound here) of each import in the tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, "", alias.asname or alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            for alias in node.names:
                yield node.module or "", alias.name, alias.asname or alias.name


def own_imports(tree: ast.AST) -> set[tuple[str, str]]:
    """Yield (module of daskal, name taken from it or "") of each first-party import."""
    found = set()
    for module, name, _ in imports(tree):
        package, _, inner = module.partition(".")
        if package != "daskal":
            continue
        whole = f"{inner}.{name}".strip(".")
        found.add((whole, "") if whole in MODULES or whole in PACKAGES else (inner, name))
    return found


def own_modules(tree: ast.AST) -> set[str]:
    """Return the modules of daskal that the tree imports from, "" for the package itself."""
    return {module for module, _ in own_imports(tree)}


def top(module: str) -> str:
    return module.partition(".")[0]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def test_everything_has_its_place() -> None:
    assert {top(module) for module in MODULES} == set(ORDER)


def test_few_files_lie_beside_the_folders() -> None:
    assert len([path for path in PACKAGE.iterdir() if path.is_file()]) <= MOST_FILES


def test_files_are_short() -> None:
    lengths = {
        module: len(
            PACKAGE.joinpath(*module.split(".")).with_suffix(".py").read_text().splitlines()
        )
        for module in MODULES
    }
    assert {module for module, length in lengths.items() if length > MOST_LINES} == LONGER


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_hold_no_code_of_their_own(package: str) -> None:
    tree = ast.parse((PACKAGE / package / "__init__.py").read_text(encoding="utf-8"))
    kinds = [type(node) for node in tree.body]
    # daskal.multiannotator, cleanlab's names, is itself a public module.
    public = [ast.Expr, ast.ImportFrom, ast.ImportFrom, ast.Assign]
    assert kinds == (public if package == "multiannotator" else [ast.Expr])


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    here = top(module)
    allowed = {*ORDER[: ORDER.index(here) + 1]} - STRANGERS.get(here, set())
    if here == "cli":
        allowed.add("")  # public names of the package itself, which are lazy
    assert {top(taken) for taken in own_modules(parse(module))} <= allowed


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_has_a_cycle(package: str) -> None:
    graph = {
        module: {taken for taken in own_modules(parse(module)) if top(taken) == package}
        for module in MODULES
        if top(module) == package
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a cycle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("module", [module for module in MODULES if top(module) != "kernels"])
def test_kernels_are_imported_for_their_functions_alone(module: str) -> None:
    """So that another engine for the kernels would touch one folder."""
    taken = [
        (kernel, name) for kernel, name in own_imports(parse(module)) if top(kernel) == "kernels"
    ]
    for kernel, name in taken:
        if name:
            functions = {
                node.name for node in parse(kernel).body if isinstance(node, ast.FunctionDef)
            }
            assert name in functions, f"{kernel}.{name} is no function"


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
        if f"{source}.{name}".removeprefix("daskal.") in MODULES
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


def test_no_private_module_of_zarr() -> None:
    taken = {
        source
        for module in MODULES
        for source, _, _ in imports(parse(module))
        if source.startswith("zarr.core")
    }
    assert taken == set()


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


def test_the_method_and_the_kernels_need_no_engine() -> None:
    """Neither themselves nor through what they import."""
    names = [f"daskal.{module}" for module in MODULES if top(module) in NO_ENGINE]
    code = f"import sys, {', '.join(names)}; print([m for m in {ENGINES!r} if m in sys.modules])"
    assert imported_by(code) == "[]"


def test_daskal_alone_imports_nothing_heavy() -> None:
    heavy = ("numpy", "pandas", "dask", "distributed", "zarr", "bokeh", "click", "asyncio")
    code = f"import sys, daskal; print([m for m in {heavy!r} if m in sys.modules])"
    assert imported_by(code) == "[]"


def imported_by(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()
