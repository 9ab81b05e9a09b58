"""The claims of the paper, judged by the tables and nothing else; run as `python -m repurpose.results.claims`.

A claim is an entry in `claims.yaml`: a cell of a table, an estimate in it, a side of a threshold, and the rule in
`rules.py` that finds the cell and the threshold. The verdict follows from the interval and the threshold alone.
"""
