import re

import pytest
import torch
from torch import Tensor, nn

from anychan.contract import Contract
from anychan.errors import ChannelError, InputShapeError
from anychan.models.base import AnyChannelModel, Network, Selection, pooled_head
from anychan.nn.fill import MeanFill, ZeroFill
from anychan.nn.stems import Stem, StemConv2d
from anychan.presets import RGB
from tests.builders import build_model, mask, raw_images


def tiny(body: nn.Module | None = None) -> AnyChannelModel:
    """A 1×1 stem of one map with the kernel (1, 10, 100), and two classes: the pooled map and its negative."""
    conv = StemConv2d(3, 1, 1, bias=False)
    head = pooled_head(1, 2)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([1.0, 10.0, 100.0]).view(1, 3, 1, 1))
        head.load_state_dict({"2.weight": torch.tensor([[1.0], [-1.0]]), "2.bias": torch.zeros(2)})
    contract = Contract("tiny", {}, "zero", RGB, (10.0, 20.0, 30.0), (2.0, 4.0, 5.0), ("plus", "minus"))
    fill = ZeroFill(torch.tensor(contract.offset), torch.tensor(contract.scale))
    return AnyChannelModel(Network(Stem(conv, fill), body or nn.Identity(), head), contract)


def constant(*values: float) -> Tensor:
    return torch.tensor(values).view(1, -1, 1, 1).expand(2, -1, 5, 7)


def test_logits_by_hand() -> None:
    model = tiny()
    # (14, 24, 45) is (2, 1, 3) after normalisation; raw 0 in the middle channel is -5
    whole, part = 2 + 10 + 300, 2 - 50 + 300
    torch.testing.assert_close(model(constant(14, 24, 45)), torch.tensor([[whole, -whole]] * 2).float())
    expected = torch.tensor([[part, -part]] * 2).float()
    torch.testing.assert_close(model.select("blue,red")(constant(45, 14)), expected)
    torch.testing.assert_close(model(constant(14, 99, 45), present=mask(3, (0, 2), (0, 2))), expected)
    torch.testing.assert_close(model(constant(14, 0, 45)), expected)


def test_features_by_hand() -> None:
    features = tiny().forward_features(constant(14, 24, 45))
    torch.testing.assert_close(features, torch.full((2, 1, 5, 7), 312.0))


def test_model_says_what_it_is() -> None:
    model = tiny()
    assert (model.name, model.channels, model.min_size) == ("tiny", RGB, 1)


def test_pooled_head_by_hand() -> None:
    head = pooled_head(2, 1, 2)
    weights = [[[1.0, -1.0]], [[1.0], [2.0]]]
    head.load_state_dict(
        {"2.weight": torch.tensor(weights[0]), "2.bias": torch.zeros(1)}
        | {"4.weight": torch.tensor(weights[1]), "4.bias": torch.zeros(2)}
    )
    x = torch.tensor([[[[5.0, 7.0]], [[1.0, 3.0]]], [[[0.0, 0.0]], [[1.0, 3.0]]]])  # means 6, 2 and 0, 2
    torch.testing.assert_close(head(x), torch.tensor([[4.0, 8.0], [0.0, 0.0]]))  # ReLU cuts 0 - 2


def test_pooled_head_has_no_relu_before_its_first_layer() -> None:
    head = pooled_head(3, 2)
    assert [type(layer).__name__ for layer in head] == ["AdaptiveAvgPool2d", "Flatten", "Linear"]


@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 4, 5, 7), (2, 3, 5, 7, 1)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    text = f"tiny takes (N, 3, H, W) with the channels R, G, B, not {shape}; use select() for a subset"
    with pytest.raises(InputShapeError, match=re.escape(text)):
        tiny()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("present", "found"),
    [
        (torch.ones(2, 3), "torch.float32 (2, 3)"),
        (torch.ones(3, dtype=torch.bool), "torch.bool (3,)"),
        (torch.ones(2, 2, dtype=torch.bool), "torch.bool (2, 2)"),
        (torch.ones(1, 3, dtype=torch.bool), "torch.bool (1, 3)"),
    ],
)
def test_other_masks_are_refused(present: Tensor, found: str) -> None:
    text = f"present must be a bool mask of shape (2, 3), not {found}"
    with pytest.raises(InputShapeError, match=re.escape(text)):
        tiny()(constant(1, 2, 3), present=present)


def test_image_without_a_channel_is_refused() -> None:
    with pytest.raises(ChannelError, match="image number 1 of the batch has no channel present; give at least one"):
        tiny()(constant(1, 2, 3), present=mask(3, (0,), ()))


def test_mask_and_index_together_are_refused() -> None:
    with pytest.raises(ChannelError, match="both present and index were given; give one"):
        tiny()(constant(1, 2), index=(0, 1), present=mask(2, (0,), (1,)))


class Failing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("a bug of the body's own")


def test_other_errors_of_the_body_are_not_renamed() -> None:
    with pytest.raises(ValueError, match="a bug of the body's own") as caught:
        tiny(Failing())(constant(1, 2, 3))
    assert not isinstance(caught.value, InputShapeError)


@pytest.mark.parametrize("channels", ["NIR", "R,R", ""])
def test_select_refuses_what_the_set_refuses(channels: str) -> None:
    with pytest.raises(ChannelError, match=r"is not one of R, G, B|is asked for twice"):
        tiny().select(channels)


def test_selection_keeps_the_order_asked_for() -> None:
    selection = tiny().select(["blue", "rgb:R"])
    assert (selection.channels.names, selection.index) == (("B", "R"), (2, 0))


def test_selection_of_all_channels_is_the_model() -> None:
    model, x = build_model("resnet8"), raw_images(2, 9, 7)
    torch.testing.assert_close(model.select("R,G,B")(x), model(x), rtol=0, atol=0)
    torch.testing.assert_close(model.select("G,B,R")(x[:, [1, 2, 0]]), model(x), rtol=1e-10, atol=1e-10)


def test_selection_shares_parameters_and_mode() -> None:
    model = build_model("resnet8")
    selection = model.select("B,R")
    assert [id(p) for p in selection.parameters()] == [id(p) for p in model.parameters()]
    assert not selection.model.training
    model.train()
    assert selection.model.training


def batch_norm_buffers(selection: Selection) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in selection.named_buffers(recurse=False)}


def test_selection_statistics_start_as_a_copy_of_the_models() -> None:
    model = build_model("resnet8")
    own = batch_norm_buffers(model.select("B,R"))
    norms = {name: value for name, value in model.named_buffers() if "running" in name or "tracked" in name}
    assert len(norms) == 3 * 10
    assert {name.replace(".", "__") for name in norms} == set(own)
    for name, value in norms.items():
        torch.testing.assert_close(own[name.replace(".", "__")], value, rtol=0, atol=0)


def test_selections_do_not_share_statistics() -> None:
    model, x = build_model("resnet8"), raw_images(4, 9, 7)
    one, other = model.select("B,R"), model.select("B,R")
    before, logits = batch_norm_buffers(other), other(x[:, [2, 0]])
    one.train()
    one(x[:, [2, 0]])
    model.eval()
    for name, value in batch_norm_buffers(other).items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    torch.testing.assert_close(other(x[:, [2, 0]]), logits, rtol=0, atol=0)
    assert (one(x[:, [2, 0]]) - logits).abs().max() > 1e-3


def test_first_training_step_updates_statistics_as_the_model_would() -> None:
    """All channels, in the model's order: the selection's buffers become what the model's own would have become."""
    model, x = build_model("resnet8"), raw_images(4, 9, 7)
    selection = model.select("R,G,B")
    model.train()
    selection(x)
    own = batch_norm_buffers(selection)
    model(x)
    for name, value in model.named_buffers():
        if "running" in name or "tracked" in name:
            torch.testing.assert_close(own[name.replace(".", "__")], value, rtol=0, atol=0)


def test_selection_made_earlier_follows_the_model() -> None:
    model, x = tiny(), constant(45, 14)
    selection = model.select("B,R")
    with torch.no_grad():
        model.get_parameter("stem.conv.weight").mul_(2)
    torch.testing.assert_close(selection(x), torch.tensor([[504.0, -504.0]] * 2))


def test_gradients_of_selections_add_up_in_one_weight() -> None:
    model = tiny()
    model.stem.fill = MeanFill(torch.zeros(3), torch.ones(3))
    for channels, x in (("B", constant(45)), ("B,R", constant(45, 14))):
        model.select(channels)(x)[:, 0].mean().backward()
    gradient = model.get_parameter("stem.conv.weight").grad
    assert isinstance(gradient, Tensor)
    torch.testing.assert_close(gradient.flatten(), torch.tensor([2.0, 0.0, 6.0]))


@pytest.mark.parametrize("number_type", [torch.uint8, torch.uint16, torch.int16])
def test_integer_images(number_type: torch.dtype) -> None:
    x = constant(14, 24, 45).to(number_type)
    torch.testing.assert_close(tiny()(x), torch.tensor([[312.0, -312.0]] * 2))


def test_compiled_mask_equals_eager() -> None:
    model, x = build_model("dynamic_cnn_v1", "completion"), raw_images(2, 9, 7)
    present = mask(3, (0, 2), (1,))
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, present=present), model(x, present=present))


def test_selection_compiles_without_graph_breaks() -> None:
    view = tiny(nn.BatchNorm2d(1)).eval().select(["B", "R"])
    x = torch.rand(2, 2, 9, 12) * 255
    compiled = torch.compile(view, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), view(x), rtol=0, atol=0)


def test_selection_follows_the_model_to_another_type() -> None:
    model = tiny(nn.BatchNorm2d(1)).eval()
    view = model.select(["G"])
    model.double()
    assert view(torch.rand(2, 1, 9, 12)).dtype == torch.float64
