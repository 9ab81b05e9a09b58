# Needs: claims, tables, figures, and rollouts and labels to show some. Gives: report.html, one self-contained page.


rule write_report:
    """Put claims, figures, numbers and some rollouts on one page."""
    input:
        claims="results/{run}/claims.csv",
        tables=[*all_tables(), *agreement_tables()],
        figures=all_figures("svg"),
        rollouts=all_rollouts(),
        labels=run_labels,
        selection="results/{run}/selection.json",
    output:
        page=report("results/{run}/report.html", caption="../report/report.rst", category="Report"),
    log:
        "results/{run}/logs/report.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=settings_of("report"),
        python=main_python,
    message:
        "Writing the report"
    shell:
        "{params.python:q} -m repurpose.report"
        " --settings {params.settings:q}"
        " --claims {input.claims:q}"
        " --tables {input.tables:q}"
        " --figures {input.figures:q}"
        " --rollouts {input.rollouts:q}"
        " --labels {input.labels:q}"
        " --selection {input.selection:q}"
        " --output {output.page:q}"
        " 2>&1 | tee {log:q} >&2"
