"""Layers: fills, stems, dynamic convolution, gates, normalisation."""
