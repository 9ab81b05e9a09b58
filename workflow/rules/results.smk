# Results: tables, the verdicts on the claims, figures, the report.
#
# Needs: everything measured; figures need tables/<figure>.csv and nothing else, so that drawing again never computes
# again. Gives: tables/<table>.csv, one small CSV per figure, with intervals; claims.csv, each claim of the paper with
# estimate, interval and verdict; figures/<figure>.svg and .png; report.html, one self-contained page, and claims.md,
# the claims to read; explorer.html, the texts behind the numbers.


localrules:
    judge_claims,
    draw_figure,
    write_report,


rule make_tables:
    """Sum the measurements up in small tables, intervals clustered by prompt."""
    input:
        measurements=FILES.measurements,
        vectors=of_both("results/{run}/vectors/{reader}.parquet"),
        cosines="results/{run}/cosines.parquet",
        permutations="results/{run}/permutations.parquet",
        rollouts=FILES.parts("rollouts"),
        labels=FILES.run_labels,
        others=FILES.other_labels,
        steered=FILES.steered_labels,
        logodds=of_both("results/{run}/logodds/{reader}.parquet"),
        lens="results/{run}/lens.parquet",
        projections=of_both("results/{run}/projections/{reader}.parquet"),
        selection="results/{run}/selection.json",
    output:
        report(
            FILES.tables,
            caption="../report/table.rst",
            category="Tables",
        ),
    log:
        "results/{run}/logs/tables.log",
    retries: JOBS.retries
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        settings=settings_of("results.tables"),
        python=derived(PYTHON.python("main")),
        folder=lambda wildcards, output: str(Path(output[0]).parent),
    message:
        "Making tables"
    shell:
        "{params.python:q} -m repurpose.results.tables"
        " --settings {params.settings:q}"
        " --measurements {input.measurements:q}"
        " --vectors {input.vectors:q}"
        " --cosines {input.cosines:q}"
        " --permutations {input.permutations:q}"
        " --rollouts {input.rollouts:q}"
        " --labels {input.labels:q}"
        " --others {input.others:q}"
        " --steered {input.steered:q}"
        " --logodds {input.logodds:q}"
        " --lens {input.lens:q}"
        " --projections {input.projections:q}"
        " --selection {input.selection:q}"
        " --output {params.folder:q}"
        " 2>&1 | log_to {log:q}"


rule judge_claims:
    """Read the verdict on each claim off the tables."""
    input:
        tables=FILES.tables,
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
        python=derived(PYTHON.python("main")),
    message:
        "Judging the claims"
    shell:
        "{params.python:q} -m repurpose.results.claims"
        " --settings {params.settings:q}"
        " --tables {input.tables:q}"
        " --output {output.csv:q}"
        " 2>&1 | log_to {log:q}"


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
        python=derived(PYTHON.python("main")),
    message:
        "Drawing figure {wildcards.figure}"
    shell:
        "{params.python:q} -m repurpose.results.figures"
        " --settings {params.settings:q}"
        " --table {input.table:q}"
        " --output {output.svg:q} {output.png:q}"
        " 2>&1 | log_to {log:q}"


rule write_report:
    """Put claims, figures, numbers and some rollouts on one page, and the claims on another."""
    input:
        claims="results/{run}/claims.csv",
        tables=[*FILES.tables, *FILES.agreement_tables],
        figures=FILES.figures("svg"),
        rollouts=FILES.parts("rollouts"),
        labels=FILES.run_labels,
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
        python=derived(PYTHON.python("main")),
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
        " 2>&1 | log_to {log:q}"


rule write_explorer:
    """Put rollouts, steered texts, labels and projections on a page to look at them."""
    input:
        prompts=FILES.prompts,
        rollouts=FILES.parts("rollouts"),
        labels=FILES.run_labels,
        others=FILES.other_labels,
        traces=of_both("results/{run}/traces/{reader}.parquet"),
        sweeps=FILES.sweeps,
        measurements=FILES.measurements,
        steered_labels=FILES.measured_labels,
        selection="results/{run}/selection.json",
    output:
        page=report("results/{run}/explorer.html", caption="../report/explorer.rst", category="Report"),
    log:
        "results/{run}/logs/explorer.log",
    retries: JOBS.retries
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=30,
    params:
        settings=settings_of("results.explorer"),
        python=derived(PYTHON.python("main")),
    message:
        "Writing the explorer"
    shell:
        "{params.python:q} -m repurpose.results.explorer"
        " --settings {params.settings:q}"
        " --prompts {input.prompts:q}"
        " --rollouts {input.rollouts:q}"
        " --labels {input.labels:q}"
        " --others {input.others:q}"
        " --traces {input.traces:q}"
        " --sweeps {input.sweeps:q}"
        " --measurements {input.measurements:q}"
        " --steered-labels {input.steered_labels:q}"
        " --selection {input.selection:q}"
        " --output {output.page:q}"
        " 2>&1 | log_to {log:q}"
