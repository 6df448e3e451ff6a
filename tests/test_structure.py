"""The project's own rules: who may import whom, sizes, the public surface, and a test file for each source file."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import anychan

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src" / "anychan"
FILES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))

# From top to bottom: nothing imports what stands above it.
LAYERS = [
    *("__main__", "cli", "verbs", "deploy", "report", "evaluation", "training", "profiling", "data", "models", "nn"),
    *(
        "contract",
        "encoding",
        "recipe_checks",
        "recipe",
        "plain_yaml",
        "randomness",
        "presets",
        "channels",
        "files",
        "errors",
        "allocator",
    ),
]
# Tests that mirror no source file; end-to-end tests live in tests/e2e.
WITHOUT_SOURCE = {
    Path("models/test_cost.py"),
    Path("models/test_resnet_torchvision.py"),
    Path("nn/test_alone.py"),
    *(
        Path(f"test_{name}.py")
        for name in (
            "structure",
            "benchmarks",
            "benchmark_bands",
            "benchmark_channels",
            "benchmark_dynamic_conv",
            "benchmark_growth",
            "benchmark_scale",
            "benchmark_shallow",
            "benchmark_speed",
            "benchmark_trust",
            "benchmark_trust_soak",
            "demo_data",
            "docs",
            "examples",
            "first_look",
            "readme",
            "recipes",
            "scripts",
        )
    ),
}


def layer(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def imported_layers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and layer of every import of anychan, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write imports in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            first, *rest = name.split(".")
            if first == "anychan" and rest != ["__version__"]:
                yield node.lineno, rest[0] if rest else ""


def upward_imports(path: Path, text: str) -> list[str]:
    """Imports of layers above the file's own, and names taken from `anychan` itself instead of from their home."""
    allowed = LAYERS[LAYERS.index(layer(path)) :]
    return [f"line {line}: {name}" for line, name in imported_layers(ast.parse(text)) if name not in allowed]


def function_lengths(text: str) -> dict[str, int]:
    """Lines of each function, without its decorators and docstring."""
    lengths = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lengths[node.name] = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                docstring = node.body[0]
                assert docstring.end_lineno is not None
                lengths[node.name] -= docstring.end_lineno - docstring.lineno + 1
    return lengths


def ruff_order(name: str) -> tuple[int, list[tuple[bool, int, str]]]:
    """The order of ruff's rule RUF022: CONSTANTS, Classes, others, and numbers by value."""
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2
    return kind, [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


def public_imports() -> dict[str, str]:
    """Name → module, as `anychan/__init__.py` tells type checkers."""
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: str(node.module).removeprefix("anychan.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_every_source_file_has_a_layer() -> None:
    assert len(FILES) > 20
    assert {layer(path) for path in FILES} - {"__init__"} <= set(LAYERS)


@pytest.mark.parametrize("path", [path for path in FILES if path != Path("__init__.py")], ids=str)
def test_imports_go_one_way(path: Path) -> None:
    assert upward_imports(path, (SOURCE / path).read_text()) == []


def test_upward_imports_are_found() -> None:
    text = """
import torch, anychan
from anychan.errors import DataError
from anychan import RGB, __version__, nn
def late():
    from anychan.data.index import Sample
    import anychan.models.base
"""
    expected = ["line 2: ", "line 4: RGB", "line 6: data", "line 7: models"]
    assert upward_imports(Path("nn/stems.py"), text) == expected
    assert upward_imports(Path("data/index.py"), text) == expected[:2]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_files_and_functions_are_short(path: Path) -> None:
    text = (SOURCE / path).read_text()
    assert len(text.splitlines()) < 300
    assert {name: length for name, length in function_lengths(text).items() if length >= 40} == {}


def test_long_functions_are_found() -> None:
    text = 'class A:\n    def f(self):\n        """Two\n        lines."""\n        return 1\n\n' + "async def g(): 1\n"
    assert function_lengths(text) == {"f": 2, "g": 1}


def test_public_names_are_sorted_and_in_every_list() -> None:
    assert sorted(anychan.__all__, key=ruff_order) == anychan.__all__
    assert sorted(anychan._HOMES) == sorted(set(anychan.__all__))
    assert public_imports() == anychan._HOMES


@pytest.mark.parametrize("name", anychan.__all__)
def test_public_name_comes_from_its_home(name: str) -> None:
    home = import_module(f"anychan.{anychan._HOMES[name]}")
    assert getattr(anychan, name) is getattr(home, name)
    assert name in home.__all__
    assert name in dir(anychan)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'anychan' has no attribute 'create_modle'"):
        anychan.create_modle  # noqa: B018


def test_import_stays_light() -> None:
    """Heavy packages wait until a name that needs them is used."""
    code = "import sys, anychan; anychan.RGB; print([n for n in ('torch', 'numpy', 'matplotlib') if n in sys.modules])"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert found.stdout == "[]\n"


def mirrored(path: Path) -> Path:
    """nn/stems.py → nn/test_stems.py"""
    return path.with_name(f"test_{path.name}")


def test_every_source_file_has_its_test_file() -> None:
    missing = [
        str(mirrored(path)) for path in FILES if path.name != "__init__.py" and not (TESTS / mirrored(path)).is_file()
    ]
    assert missing == [], " ".join(missing)


def test_every_test_file_has_its_source_file() -> None:
    found = {path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    expected = {mirrored(path) for path in FILES} | WITHOUT_SOURCE
    assert sorted(str(path) for path in found - expected if path.parts[0] != "e2e") == []
    assert found >= WITHOUT_SOURCE
