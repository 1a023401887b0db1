"""Names of files that several rooms write or read; a file of one system's own is named where it is made."""

from __future__ import annotations

CODEC = "codec.safetensors"
PSEUDO_MASKS = "pseudo_masks.parquet"
LEARNED_MASKS = "learned_masks.parquet"
DENOISER = "denoiser.safetensors"
BACKBONE = "backbone.safetensors"
"""In the folder of models: what several systems share."""

MANIFEST, LEDGER, METRICS = "manifest.parquet", "ledger.parquet", "metrics.json"
"""In the folder of a release."""
