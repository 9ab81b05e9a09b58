"""The explorer: the texts to look at before one counts; run as `python -m repurpose.results.explorer`."""
