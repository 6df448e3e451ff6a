"""What runs a network: PyTorch as it is, PyTorch's compiler, or ONNX Runtime."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from anychan.errors import ConfigError

__all__ = [
    "ENGINES",
    "OPSET",
    "OPSETS",
    "TOLERANCE",
    "Run",
    "check_engines",
    "check_output",
    "check_packages",
    "expect",
    "prepare",
    "set_threads",
    "to_onnx",
]

Run = Callable[[Tensor], Tensor]
# PyTorch writes 23 too, but ONNX Runtime's attention there takes no mask that is to be broadcast
OPSETS = range(18, 23)
OPSET = 20  # what it writes by itself; ONNX Runtime reads it from 1.17 on
_EXPORT = ("onnx", "onnxruntime", "onnxscript")
TOLERANCE = 1e-3  # of the largest logit; float32 alone gives about 1e-6


def check_engines(engines: Collection[str]) -> None:
    """See that engines exist, and that what they need is installed, before anything is measured.

    Raises:
        ConfigError: for an unknown engine, none at all, or a package that is not there.
    """
    unknown = [engine for engine in engines if engine not in ENGINES]
    if unknown or not engines:
        given = f"no engine is called {unknown[0]!r}" if unknown else "no engine was named"
        raise ConfigError(f"{given}; there are {', '.join(ENGINES)}")
    if "onnxruntime" in engines:
        check_packages("engine 'onnxruntime'")


def check_packages(who: str) -> None:
    """See that what exporting needs is installed.

    Args:
        who: needs it; what begins the error.

    Raises:
        ConfigError: for a package that is not there.
    """
    missing = [package for package in _EXPORT if find_spec(package) is None]
    if missing:
        raise ConfigError(f"{who} needs {', '.join(missing)}: pip install 'anychan[export]'")


def prepare(engine: str, model: nn.Module, x: Tensor) -> Callable[[], Run]:
    """Do what is done once, ahead of time, such as exporting; what is given starts the engine.

    Args:
        engine: one of `ENGINES`.
        model: in eval mode.
        x: an input of the one shape that will come.
    """
    return ENGINES[engine](model, x)


def _eager(model: nn.Module, x: Tensor) -> Callable[[], Run]:
    return lambda: model


def _compile(model: nn.Module, x: Tensor) -> Callable[[], Run]:
    return lambda: torch.compile(model, dynamic=False)


def _onnxruntime(model: nn.Module, x: Tensor) -> Callable[[], Run]:
    import onnxruntime

    exported = to_onnx(model, {"x": x}).SerializeToString()

    def start() -> Run:
        options = onnxruntime.SessionOptions()
        # threads of a session's own go on spinning after its run, and would slow down what runs next
        options.use_per_session_threads = False
        session = onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
        return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])

    return start


ENGINES: dict[str, Callable[[nn.Module, Tensor], Callable[[], Run]]] = {
    "eager": _eager,
    "compile": _compile,
    "onnxruntime": _onnxruntime,
}


def expect(networks: Sequence[nn.Module]) -> None:
    """Let PyTorch's compiler take these networks in this process, each for one image and for a batch.

    It counts modules that share a class as recompilations of one, and would leave all but the first few uncompiled,
    without an error.
    """
    config, modules = torch._dynamo.config, sum(1 for network in networks for _ in network.modules())
    config.recompile_limit = max(config.recompile_limit, 2 * modules)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, 2 * modules)


def set_threads(threads: int, engines: Collection[str]) -> None:
    """Let every engine of this process use so many threads; for ONNX Runtime it can be said but once."""
    torch.set_num_threads(threads)
    if "onnxruntime" in engines:
        import onnxruntime

        onnxruntime.set_global_thread_pool_sizes(threads, 1)


def to_onnx(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    *,
    output: str = "output",
    free: Sequence[Mapping[int, Any]] | None = None,
    opset: int = OPSET,
) -> Any:
    """The model as an `onnx.ModelProto`, without the places in source files that the exporter notes at every node.

    Args:
        model: in eval mode.
        inputs: names for its arguments, in their order, and an example of each.
        output: a name for its result.
        free: of each input, the axes of any size: axis → `torch.export.Dim`; default: the file takes the examples'
            shapes alone.
        opset: version of ONNX's operators.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # of libraries that are not installed, which the model does not need
    try:
        with warnings.catch_warnings(action="ignore"):
            program: Any = torch.onnx.export(
                model,
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=[output],
                dynamic_shapes=None if free is None else tuple(free),
                opset_version=opset,
                dynamo=True,
                verbose=False,
            )
    finally:
        logging.disable(before)
    proto = program.model_proto
    for node in proto.graph.node:
        del node.metadata_props[:]
    return proto


def check_output(name: str, engine: str, found: Tensor, expected: Tensor) -> None:
    """Compare what an engine gives with eager's output.

    Raises:
        ConfigError: when they differ by more than a thousandth of the largest value.
    """
    allowed = TOLERANCE * float(expected.abs().max())
    difference = float((found - expected).abs().max())
    if not difference <= allowed:  # NaN is no agreement
        raise ConfigError(
            f"{name} gives other values on engine {engine!r} than on 'eager': they differ by {difference:.2g}, where "
            f"{allowed:.2g} is allowed; leave this engine out"
        )
