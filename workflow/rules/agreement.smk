# Needs: labels of all annotators, where the study has several. Gives: tables/agreement.csv and confusion.csv.


rule compare_annotators:
    """Measure how far the annotators agree on the same sentences."""
    input:
        labels=[path for name in ANNOTATORS for path in labels_by(name)],
    output:
        tables=expand("results/{{run}}/tables/{table}.csv", table=AGREEMENT_TABLES),
    log:
        "results/{run}/logs/agreement.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings_of("compare_annotators"),
        python=main_python,
    message:
        "Comparing the annotators"
    shell:
        "{params.python:q} -m repurpose.compare_annotators"
        " --settings {params.settings:q}"
        " --labels {input.labels:q}"
        " --output {output.tables:q}"
        " 2>&1 | tee {log:q} >&2"
