# Needs: everything measured. Gives: tables/<table>.csv, one small CSV per figure, with intervals.


rule make_tables:
    """Sum the measurements up in small tables, intervals clustered by prompt."""
    input:
        measurements=all_measurements(),
        vectors=of_both("results/{run}/vectors/{reader}.parquet"),
        cosines="results/{run}/cosines.parquet",
        rollouts=all_rollouts(),
        labels=run_labels,
        others=other_labels,
        steered=steered_labels(),
        logodds=of_both("results/{run}/logodds/{reader}.parquet"),
        lens="results/{run}/lens.parquet",
        projections=of_both("results/{run}/projections/{reader}.parquet"),
        selection="results/{run}/selection.json",
    output:
        report(
            expand("results/{{run}}/tables/{table}.csv", table=TABLES),
            caption="../report/table.rst",
            category="Tables",
        ),
    log:
        "results/{run}/logs/tables.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=settings_of("results.tables"),
        python=main_python,
        folder=folder_of_output,
    message:
        "Making tables"
    shell:
        "{params.python:q} -m repurpose.results.tables"
        " --settings {params.settings:q}"
        " --measurements {input.measurements:q}"
        " --vectors {input.vectors:q}"
        " --cosines {input.cosines:q}"
        " --rollouts {input.rollouts:q}"
        " --labels {input.labels:q}"
        " --others {input.others:q}"
        " --steered {input.steered:q}"
        " --logodds {input.logodds:q}"
        " --lens {input.lens:q}"
        " --projections {input.projections:q}"
        " --selection {input.selection:q}"
        " --output {params.folder:q}"
        " 2>&1 | tee {log:q} >&2"


# Needs: all tables. Gives: claims.csv, each claim of the paper with estimate, interval and verdict.


rule judge_claims:
    """Read the verdict on each claim off the tables."""
    input:
        tables=all_tables(),
    output:
        csv=report("results/{run}/claims.csv", caption="../report/claims.rst", category="Claims"),
    log:
        "results/{run}/logs/claims.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings_of("results.claims"),
        python=main_python,
    message:
        "Judging the claims"
    shell:
        "{params.python:q} -m repurpose.results.claims"
        " --settings {params.settings:q}"
        " --tables {input.tables:q}"
        " --output {output.csv:q}"
        " 2>&1 | tee {log:q} >&2"


# Needs: tables/<figure>.csv and nothing else, so that drawing again never computes again.
# Gives: figures/<figure>.svg and .png.


rule draw_figure:
    """Draw one figure from its table."""
    input:
        table="results/{run}/tables/{figure}.csv",
    output:
        svg=report(
            "results/{run}/figures/{figure}.svg",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}", "format": "SVG"},
        ),
        png=report(
            "results/{run}/figures/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}", "format": "PNG"},
        ),
    log:
        "results/{run}/logs/figures/{figure}.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings_of("results.figures", "figure"),
        python=main_python,
    message:
        "Drawing figure {wildcards.figure}"
    shell:
        "{params.python:q} -m repurpose.results.figures"
        " --settings {params.settings:q}"
        " --table {input.table:q}"
        " --output {output.svg:q} {output.png:q}"
        " 2>&1 | tee {log:q} >&2"


# Needs: claims, tables, figures, and rollouts and labels to show some. Gives: report.html, one self-contained page, and
# claims.md, the claims to read.


rule write_report:
    """Put claims, figures, numbers and some rollouts on one page, and the claims on another."""
    input:
        claims="results/{run}/claims.csv",
        tables=[*all_tables(), *agreement_tables()],
        figures=all_figures("svg"),
        rollouts=all_rollouts(),
        labels=run_labels,
        selection="results/{run}/selection.json",
    output:
        page=report("results/{run}/report.html", caption="../report/report.rst", category="Report"),
        claims="results/{run}/claims.md",
    log:
        "results/{run}/logs/report.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=settings_of("results.report"),
        python=main_python,
    message:
        "Writing the report"
    shell:
        "{params.python:q} -m repurpose.results.report"
        " --settings {params.settings:q}"
        " --claims {input.claims:q}"
        " --tables {input.tables:q}"
        " --figures {input.figures:q}"
        " --rollouts {input.rollouts:q}"
        " --labels {input.labels:q}"
        " --selection {input.selection:q}"
        " --output {output.page:q} {output.claims:q}"
        " 2>&1 | tee {log:q} >&2"
