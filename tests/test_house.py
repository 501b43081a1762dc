"""The house's own rules: which way imports flow, how large things may be, what is documented and annotated."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "hub": ROOT / "hub",
    "hub_chat": ROOT / "plugins/hub_chat",
    "hub_dashboards": ROOT / "plugins/hub_dashboards",
    "hub_notifications": ROOT / "plugins/hub_notifications",
}
MACHINE_PATH = re.compile(r"(?<![\w.<}*-])/(?:work|root|opt/wheels|home/[a-z]\w*|Users/[A-Za-z]\w*|tmp/th)/")

type_of_function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Function:
    """A function of ours: where it stands, whether the public may call it, and its syntax tree."""

    where: str
    public: bool
    node: type_of_function

    @property
    def lines(self) -> int:
        """Lines of the body, without signature and docstring."""
        body = self.node.body[1:] if ast.get_docstring(self.node, clean=False) is not None else self.node.body
        return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0

    @property
    def is_overload(self) -> bool:
        """Whether this is only one of several signatures of a function."""
        return any(isinstance(each, ast.Name) and each.id == "overload" for each in self.node.decorator_list)


@cache
def sources() -> dict[Path, ast.Module]:
    """Every Python file that the wheel ships, parsed."""
    files = [path for package in PACKAGES.values() for path in sorted(package.rglob("*.py"))]
    return {path: ast.parse(path.read_text()) for path in files}


def functions_in(node: ast.AST, where: str, *, public: bool) -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            known = public and not child.name.startswith("_")
            yield Function(f"{where}:{child.lineno} {child.name}", known, child)
            yield from functions_in(child, where, public=False)
        elif isinstance(child, ast.ClassDef):
            yield from functions_in(child, where, public=public and not child.name.startswith("_"))
        else:
            yield from functions_in(child, where, public=public)


@cache
def functions() -> list[Function]:
    """Every function of ours, nested ones and methods too."""
    return [
        function
        for path, tree in sources().items()
        for function in functions_in(tree, str(path.relative_to(ROOT)), public=not path.stem.startswith("_"))
    ]


@cache
def import_graph() -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def test_imports_flow_one_way_only() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint_imports, "--no-cache", "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_imports_have_no_cycle_and_no_long_chain() -> None:
    modules = import_graph()
    nouns: dict[str, set[str]] = {}
    for module, imported in modules.items():
        nouns.setdefault(noun_of(module), set()).update(
            {noun_of(each) for each in imported} - {noun_of(module)}
        )
    chain = longest_chain(modules)
    assert len(chain) - 1 <= 20, " -> ".join(chain)
    chain = longest_chain(nouns)
    assert len(chain) - 1 <= 12, " -> ".join(chain)


def noun_of(module: str) -> str:
    """The part of the house that a module belongs to: hub.settings.nodes -> hub.settings."""
    return ".".join(module.split(".")[:2])


def longest_chain(graph: dict[str, set[str]]) -> list[str]:
    """The longest way along imports; fails the test if one leads back to where it began."""
    longest: dict[str, list[str]] = {}
    path: list[str] = []

    def follow(module: str) -> list[str]:
        if module in path:
            pytest.fail("import cycle: " + " -> ".join([*path[path.index(module) :], module]))
        if module not in longest:
            path.append(module)
            longest[module] = [module, *max(map(follow, sorted(graph[module])), key=len, default=[])]
            path.pop()
        return longest[module]

    return max(map(follow, sorted(graph)), key=len)


def test_modules_are_small() -> None:
    sizes = {path: len(path.read_text().splitlines()) for path in sources()}
    assert statistics.median(sizes.values()) <= 150
    assert not {str(path.relative_to(ROOT)): size for path, size in sizes.items() if size > 500}


def test_functions_are_short() -> None:
    by_size = sorted(functions(), key=lambda function: function.lines)
    lines = [function.lines for function in by_size]
    assert statistics.median(lines) <= 10
    assert statistics.quantiles(lines, n=20)[-1] <= 40, [f"{f.where}: {f.lines} lines" for f in by_size[-20:]]


def test_public_names_are_documented() -> None:
    documented: dict[str, bool] = {}
    for path, tree in sources().items():
        where = str(path.relative_to(ROOT))
        documented[where] = ast.get_docstring(tree) is not None
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                documented[f"{where}:{node.lineno} {node.name}"] = ast.get_docstring(node) is not None
    for function in functions():
        if function.public and not function.is_overload:
            documented[function.where] = ast.get_docstring(function.node) is not None
    missing = [where for where, is_documented in documented.items() if not is_documented]
    assert len(missing) <= len(documented) * 0.05, missing


def test_everything_is_annotated() -> None:
    assert not [function.where for function in functions() if lacks_annotation(function.node)]


def lacks_annotation(node: type_of_function) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args]
    if arguments and arguments[0].arg in {"self", "cls"}:
        arguments = arguments[1:]
    arguments += [*node.args.kwonlyargs, *filter(None, [node.args.vararg, node.args.kwarg])]
    return node.returns is None or any(argument.annotation is None for argument in arguments)


def _made_by_tools(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    return "__pycache__" in parts or any(
        part.startswith(".") or part.endswith(".egg-info") for part in parts[:-1]
    )


def tracked_files() -> list[Path]:
    said = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if said.returncode:
        # An unpacked source archive: all there is, but for what tools put there.
        return [path for path in ROOT.rglob("*") if path.is_file() and not _made_by_tools(path)]
    return [ROOT / name for name in said.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_locks_record_hashes_and_no_address() -> None:
    for lock in (ROOT / "requirements").glob("*.txt"):
        text = lock.read_text()
        assert "://" not in text, lock
        assert "--index-url" not in text, lock
        assert "--find-links" not in text, lock
        pins = [line for line in text.splitlines() if re.match(r"\w", line)]
        assert pins, lock
        assert all("==" in pin and pin.endswith("\\") for pin in pins), lock
    for lock in (path for path in tracked_files() if path.name == "package-lock.json"):
        text = lock.read_text()
        assert '"resolved"' not in text, lock
        assert '"integrity"' in text, lock


def test_no_file_speaks_of_the_machine_it_was_written_on() -> None:
    found = []
    for path in tracked_files():
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
            for number, line in enumerate(lines, 1)
            if MACHINE_PATH.search(line)
        ]
    assert not found, "\n".join(found)


def test_scripts_are_executable() -> None:
    scripts = [path for path in (ROOT / "scripts").iterdir() if path.is_file()]
    assert not [path.name for path in [*scripts, ROOT / ".ci/run"] if not path.stat().st_mode & 0o100]
