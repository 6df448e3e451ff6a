"""The sensors that anychan knows by name, with centre wavelengths and widths in nanometres."""

from types import MappingProxyType

from anychan.channels import Channel, ChannelSet

__all__ = ["LANDSAT5", "LANDSAT7", "LANDSAT8", "LANDSAT9", "PRESETS", "RGB", "SENTINEL2"]

RGB = ChannelSet(
    [
        Channel("R", "rgb", ("red",), "red", 611.4),
        Channel("G", "rgb", ("green",), "green", 549.1),
        Channel("B", "rgb", ("blue",), "blue", 464.2),
    ],
    source="dominant wavelengths of the sRGB primaries against D65 (IEC 61966-2-1); cameras differ",
)

# name, alias, common name, centre, width: Sentinel-2A's own figures (2B's differ by at most 17 nm).
_MSI = (
    ("B01", "B1", "coastal", 442.7, 21),
    ("B02", "B2", "blue", 492.4, 66),
    ("B03", "B3", "green", 559.8, 36),
    ("B04", "B4", "red", 664.6, 31),
    ("B05", "B5", "rededge071", 704.1, 15),
    ("B06", "B6", "rededge075", 740.5, 15),
    ("B07", "B7", "rededge078", 782.8, 20),
    ("B08", "B8", "nir", 832.8, 106),
    ("B8A", "B08A", "nir08", 864.7, 21),
    ("B09", "B9", "nir09", 945.1, 20),
    ("B10", "B10", "cirrus", 1373.5, 31),
    ("B11", "B11", "swir16", 1613.7, 91),
    ("B12", "B12", "swir22", 2202.4, 175),
)
SENTINEL2 = ChannelSet(
    [
        Channel(name, "sentinel2", (alias,) if alias != name else (), common, centre, width)
        for name, alias, common, centre, width in _MSI
    ],
    source="ESA, Sentinel-2 MSI spectral bands, Sentinel-2A (Sentinel-2 User Handbook and SentiWiki)",
)

# name, common name, low and high end in micrometres.
_Band = tuple[str, str, float, float]
_TM: tuple[_Band, ...] = (
    ("B1", "blue", 0.45, 0.52),
    ("B2", "green", 0.52, 0.60),
    ("B3", "red", 0.63, 0.69),
    ("B4", "nir08", 0.76, 0.90),
    ("B5", "swir16", 1.55, 1.75),
    ("B6", "lwir", 10.40, 12.50),
    ("B7", "swir22", 2.08, 2.35),
)
_ETM: tuple[_Band, ...] = (
    ("B1", "blue", 0.45, 0.52),
    ("B2", "green", 0.52, 0.60),
    ("B3", "red", 0.63, 0.69),
    ("B4", "nir08", 0.77, 0.90),
    ("B5", "swir16", 1.55, 1.75),
    ("B6", "lwir", 10.40, 12.50),
    ("B7", "swir22", 2.09, 2.35),
    ("B8", "pan", 0.52, 0.90),
)
_OLI: tuple[_Band, ...] = (
    ("B1", "coastal", 0.43, 0.45),
    ("B2", "blue", 0.45, 0.51),
    ("B3", "green", 0.53, 0.59),
    ("B4", "red", 0.64, 0.67),
    ("B5", "nir08", 0.85, 0.88),
    ("B6", "swir16", 1.57, 1.65),
    ("B7", "swir22", 2.11, 2.29),
    ("B8", "pan", 0.50, 0.68),
    ("B9", "cirrus", 1.36, 1.38),
    ("B10", "lwir11", 10.60, 11.19),
    ("B11", "lwir12", 11.50, 12.51),
)


def _landsat(sensor: str, bands: tuple[_Band, ...]) -> ChannelSet:
    """Channels from band edges; centre and width are the edges' mean and difference."""
    return ChannelSet(
        [
            Channel(
                name,
                sensor,
                (f"B0{name[1:]}",) if len(name) == 2 else (),
                common,
                round(500 * (low + high), 1),
                round(1000 * (high - low), 1),
            )
            for name, common, low, high in bands
        ],
        source="USGS, What are the band designations for the Landsat satellites? (band edges)",
    )


LANDSAT5 = _landsat("landsat5", _TM)
LANDSAT7 = _landsat("landsat7", _ETM)
LANDSAT8 = _landsat("landsat8", _OLI)
LANDSAT9 = _landsat("landsat9", _OLI)

PRESETS = MappingProxyType(
    {
        "rgb": RGB,
        "sentinel2": SENTINEL2,
        "landsat5": LANDSAT5,
        "landsat7": LANDSAT7,
        "landsat8": LANDSAT8,
        "landsat9": LANDSAT9,
    }
)
