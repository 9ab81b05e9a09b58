"""The report, quoted and not computed: a page, the claims as Markdown; run as `python -m repurpose.results.report`."""
