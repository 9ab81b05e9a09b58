"""The report: one self-contained page, claims first; run as `python -m repurpose.report`. Computes nothing."""
