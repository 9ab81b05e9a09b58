# Needs: all rollouts and labels, vectors of both readers, selection.json, the reader.
# Gives: projections/<reader>.parquet, one row a token (Fig. 6).


rule project_tokens:
    """Project one reader's activation at each token on the direction."""
    input:
        rollouts=all_rollouts(),
        labels=run_labels,
        vectors=of_both("results/{run}/vectors/{reader}.parquet"),
        selection="results/{run}/selection.json",
        model=reader_model,
    output:
        projections="results/{run}/projections/{reader}.parquet",
    log:
        "results/{run}/logs/projections/{reader}.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=MODEL_MEMORY,
        runtime=MODEL_RUNTIME,
        gpu=MODEL_GPUS,
    params:
        settings=settings_of("projections", "reader"),
        python=main_python,
    message:
        "Projecting the {wildcards.reader} model's tokens"
    shell:
        "{params.python:q} -m repurpose.projections"
        " --settings {params.settings:q}"
        " --rollouts {input.rollouts:q}"
        " --labels {input.labels:q}"
        " --vectors {input.vectors:q}"
        " --selection {input.selection:q}"
        " --output {output.projections:q}"
        " 2>&1 | tee {log:q} >&2"
