"""The numbers to quote, computed here alone: one small CSV a figure; run as `python -m repurpose.results.tables`."""
