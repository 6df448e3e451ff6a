"""Whether a model was trained on a channel, can make a kernel for it, or knows nothing of it."""

from __future__ import annotations

from anychan.channels import Channel
from anychan.contract import Contract
from anychan.models.stem_choice import WAVELENGTH_STEM

__all__ = ["channel_status"]


def channel_status(contract: Contract, channel: Channel) -> str:
    """What a model knows of a channel of its input.

    Args:
        contract: the model's.
        channel: by its identity, and its wavelength.

    Returns:
        `"trained"`: its kernel was trained; `"interpolated"`: never trained, but the model's stem makes its kernel from
        its wavelength (a channel that the model does not know yet: after `extend`); `"unknown"`: neither.

    Example:
        >>> from anychan.models.catalog import create_model
        >>> contract = create_model("resnet8", num_classes=10, stem="wavelength").contract
        >>> nir, dye = Channel("nir", "drone", wavelength_nm=840), Channel("dye", "drone")
        >>> [channel_status(contract, channel) for channel in (contract.channels[0], nir, dye)]
        ['trained', 'interpolated', 'unknown']
    """
    known = channel.identity in contract.channels.identities
    if known and channel.identity not in contract.interpolated + contract.untrained:
        return "trained"
    makes_kernels = contract.stem == WAVELENGTH_STEM and channel.wavelength_nm is not None
    return "interpolated" if makes_kernels else "unknown"
