# Needs: all rollouts and labels, vectors of both readers, selection.json, the target.
# Gives: logodds/<target>.parquet, the change of a keyword's log-odds where both models read the same text.


rule measure_log_odds:
    """Steer one target on prefixes of the rollouts and read what it would say next."""
    input:
        rollouts=all_rollouts(),
        labels=run_labels,
        vectors=of_both("results/{run}/vectors/{reader}.parquet"),
        selection="results/{run}/selection.json",
        model=target_model,
    output:
        logodds="results/{run}/logodds/{target}.parquet",
    log:
        "results/{run}/logs/logodds/{target}.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=MODEL_MEMORY,
        runtime=MODEL_RUNTIME,
        gpu=MODEL_GPUS,
    params:
        settings=settings_of("logodds", "target"),
        python=main_python,
    message:
        "Reading log-odds of the steered {wildcards.target} model"
    shell:
        "{params.python:q} -m repurpose.logodds"
        " --settings {params.settings:q}"
        " --rollouts {input.rollouts:q}"
        " --labels {input.labels:q}"
        " --vectors {input.vectors:q}"
        " --selection {input.selection:q}"
        " --output {output.logodds:q}"
        " 2>&1 | tee {log:q} >&2"
