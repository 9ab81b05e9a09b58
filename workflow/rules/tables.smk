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
        settings=settings_of("tables", module="summaries"),
        python=main_python,
        folder=folder_of_output,
    message:
        "Making tables"
    shell:
        "{params.python:q} -m repurpose.summaries"
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
