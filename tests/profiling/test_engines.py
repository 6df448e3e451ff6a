import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from anychan.errors import ConfigError
from anychan.models.catalog import CATALOG, create_model
from anychan.profiling.engines import ENGINES, check_engines, check_output, prepare, set_threads, to_onnx
from tests.builders import build_model
from tests.models.test_catalog import images


@pytest.fixture(scope="module")
def process() -> Iterator[ProcessPoolExecutor]:
    """What is said of ONNX Runtime's threads holds for a whole process: any other session in it would fail."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=set_threads, initargs=(1, ["onnxruntime"])) as pool:
        yield pool


@torch.no_grad()
def outputs(engine: str, model: nn.Module, inputs: list[Tensor]) -> list[Tensor]:
    """Of an engine that was started for the first input."""
    run = prepare(engine, model, inputs[0])()
    return [run(x) for x in inputs]


@pytest.mark.parametrize(
    ("engines", "text"),
    [
        (["eager", "tensorrt"], "no engine is called 'tensorrt'; there are eager, compile, onnxruntime"),
        ([], "no engine was named; there are eager, compile, onnxruntime"),
    ],
)
def test_unknown_engines_are_refused(engines: Sequence[str], text: str) -> None:
    with pytest.raises(ConfigError, match=f"^{text}$"):
        check_engines(engines)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r"^engine 'onnxruntime' needs onnx, onnxscript: pip install 'anychan\["):
        check_engines(["eager", "onnxruntime"])
    check_engines(["eager", "compile"])


@pytest.mark.parametrize("found", [[1.0, 2.0, -4.0 + 0.0041], [1.0, 2.0, torch.nan]])
def test_other_values_are_refused(found: list[float]) -> None:
    expected = torch.tensor([1.0, 2.0, -4.0])
    check_output("net", "compile", expected + 0.0039, expected)
    with pytest.raises(ConfigError, match=r"^net gives other values on engine 'compile' .* where 0.004 is allowed;"):
        check_output("net", "compile", torch.tensor(found), expected)


class Branch(nn.Module):
    """A convolution in two branches with a gate, of its input's square."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.gate = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.main(x * x) * self.gate(x).sigmoid()).mean((2, 3))  # type: ignore[no-any-return]


@torch.no_grad()
def test_onnx_runtime_gives_what_eager_gives(process: ProcessPoolExecutor) -> None:
    model, inputs = Branch().eval(), [torch.randn(1, 2, 5, 7), torch.randn(1, 2, 5, 7)]
    assert prepare("eager", model, inputs[0])() is model
    found = process.submit(outputs, "onnxruntime", model, inputs).result()
    torch.testing.assert_close(found, [model(x) for x in inputs], rtol=1e-5, atol=1e-6)


@pytest.mark.slow  # 5 seconds a network
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")  # by PyTorch's compiler itself
@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine != "eager"])
@pytest.mark.parametrize("name", CATALOG)
@torch.no_grad()
def test_frozen_copies_run_on_every_engine(process: ProcessPoolExecutor, name: str, engine: str) -> None:
    model = build_model(name).float()
    plain, x = model.for_channels("B,R"), images(model, 1)[:, [2, 0]].float()
    found = process.submit(outputs, engine, plain, [x]).result()
    torch.testing.assert_close(found, [plain(x)], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_exported_file_has_plain_operators_alone() -> None:
    """No batch norm, and nothing of the stem but one convolution."""
    plain = create_model("wide_cnn4", num_classes=5, options={"width": 16}).for_channels("B,R")
    graph = to_onnx(plain, {"images": torch.zeros(1, 2, 9, 9)}).graph
    operators = [node.op_type for node in graph.node]
    assert operators.count("Conv") == 4
    assert "BatchNormalization" not in operators
