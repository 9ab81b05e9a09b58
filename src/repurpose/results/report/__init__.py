"""The report: one self-contained page, claims first; run as `python -m repurpose.results.report`. Computes nothing."""
