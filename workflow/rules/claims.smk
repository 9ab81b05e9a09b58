# Needs: all tables. Gives: claims.csv and claims.md, each claim of the paper with estimate, interval and verdict.


rule judge_claims:
    """Read the verdict on each claim off the tables."""
    input:
        tables=all_tables(),
    output:
        csv=report("results/{run}/claims.csv", caption="../report/claims.rst", category="Claims"),
        markdown="results/{run}/claims.md",
    log:
        "results/{run}/logs/claims.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings_of("claims"),
        python=main_python,
    message:
        "Judging the claims"
    shell:
        "{params.python:q} -m repurpose.claims"
        " --settings {params.settings:q}"
        " --tables {input.tables:q}"
        " --output {output.csv:q} {output.markdown:q}"
        " 2>&1 | tee {log:q} >&2"
