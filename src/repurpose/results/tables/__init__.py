"""The numbers that one would quote, one small CSV per figure; run as `python -m repurpose.results.tables`.

Every table is computed here and nowhere else: figures, claims and the report only read them.
"""
