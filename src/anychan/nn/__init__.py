"""Layers: fills, stems, dynamic convolution, gates, normalisation; each works in any PyTorch network.

    from anychan.nn import DynamicConv2d, SqueezeExcite

Layers are `torch.nn.Module`s for images (N, C, H, W). Options are checked when a layer is built, and a wrong one is a
`ConfigError`; tensors of a wrong shape are PyTorch's own error. No layer needs a model, a contract or a recipe.
"""

from anychan.nn.affine import Fill, Fold
from anychan.nn.batch_norm import measure_batch_norm
from anychan.nn.convolve import conv2d, short_strides
from anychan.nn.drop_block import DropBlock2d
from anychan.nn.drop_path import DropPath
from anychan.nn.dynamic_conv import DynamicConv2d
from anychan.nn.dynamic_stem import DynamicStem
from anychan.nn.expansion import ExpansionStem
from anychan.nn.fill import CompletionFill, LearnedPaddingFill, MeanFill, PresentMeanFill, RescaledFill, ZeroFill
from anychan.nn.folding import fold_layers
from anychan.nn.generator import GeneratedConv2d, GeneratorPerCountStem, KernelGenerator
from anychan.nn.local_gate import LocalGate
from anychan.nn.normalize import Normalize
from anychan.nn.squeeze_excite import SqueezeExcite
from anychan.nn.stems import ParallelConv, Stem, StemConv2d
from anychan.nn.subset_statistics import SubsetStatistics
from anychan.nn.tokens import ChannelTokens, Tokens
from anychan.nn.transformer import Attention, ClassTokenEncoder, TransformerBlock
from anychan.nn.wavelength import WavelengthStem, spectral_features

__all__ = [
    "Attention",
    "ChannelTokens",
    "ClassTokenEncoder",
    "CompletionFill",
    "DropBlock2d",
    "DropPath",
    "DynamicConv2d",
    "DynamicStem",
    "ExpansionStem",
    "Fill",
    "Fold",
    "GeneratedConv2d",
    "GeneratorPerCountStem",
    "KernelGenerator",
    "LearnedPaddingFill",
    "LocalGate",
    "MeanFill",
    "Normalize",
    "ParallelConv",
    "PresentMeanFill",
    "RescaledFill",
    "SqueezeExcite",
    "Stem",
    "StemConv2d",
    "SubsetStatistics",
    "Tokens",
    "TransformerBlock",
    "WavelengthStem",
    "ZeroFill",
    "conv2d",
    "fold_layers",
    "measure_batch_norm",
    "short_strides",
    "spectral_features",
]
