"""The report: one self-contained page and the claims as Markdown; run as `python -m repurpose.results.report`.

Computes nothing: it quotes claims, tables and figures.
"""
