# Needs: prompts.parquet, vectors of both readers, the target. Only where the study's engine is vLLM.
# Gives: parity/<target>.json, the proof that is wanted before the target is steered. Where it is made anew, the sweeps
# behind it are planned, too; what their journals hold is not computed twice.


rule check_parity:
    """Prove that vLLM steers one target as the transformers engine does."""
    input:
        prompts=f"results/{STUDY.study}/prompts.parquet",
        vectors=of_both("results/{run}/vectors/{reader}.parquet"),
        model=target_model,
    output:
        parity="results/{run}/parity/{target}.json",
    log:
        "results/{run}/logs/parity/{target}.log",
    conda:
        ENGINE_CONDA
    threads: 1
    resources:
        mem_mb=2 * MODEL_MEMORY,  # both engines may hold float32 weights
        runtime=MODEL_RUNTIME,
        gpu=ENGINE_GPUS,
    params:
        settings=settings_of("steering.check_parity", "target"),
        python=vllm_python,
    message:
        "Comparing vLLM with transformers, the {wildcards.target} model steered"
    shell:
        "{params.python:q} -m repurpose.steering.check_parity"
        " --settings {params.settings:q}"
        " --prompts {input.prompts:q}"
        " --vectors {input.vectors:q}"
        " --output {output.parity:q}"
        " 2>&1 | tee {log:q} >&2"


# Needs: prompts.parquet, vectors of both readers, the target; but for the selection sweep also selection.json.
# Gives: sweeps/<sweep>/<target>.parquet, steered rollouts, one job for a whole grid on one target.


rule steer_to_select:
    """Run the sweep on training prompts from which site and magnitude are chosen."""
    input:
        prompts=f"results/{STUDY.study}/prompts.parquet",
        vectors=of_both("results/{run}/vectors/{reader}.parquet"),
        model=target_model,
        parity=checked_parity(),
    output:
        sweep="results/{run}/sweeps/{sweep}/{target}.parquet",
    log:
        "results/{run}/logs/sweeps/{sweep}/{target}.log",
    wildcard_constraints:
        sweep=STUDY.selection.sweep,
    conda:
        ENGINE_CONDA
    threads: 2  # no other job can run beside this one; on a CPU each thread of a small model is a process
    resources:
        mem_mb=MODEL_MEMORY,
        runtime=sweep_runtime,
        gpu=ENGINE_GPUS,
    params:
        settings=settings_of("steering.sweeps", "sweep", "target"),
        python=engine_python,
    message:
        "Steering the {wildcards.target} model, sweep {wildcards.sweep}"
    shell:
        "{params.python:q} -m repurpose.steering.sweeps"
        " --settings {params.settings:q}"
        " --prompts {input.prompts:q}"
        " --vectors {input.vectors:q}"
        " --output {output.sweep:q}"
        " 2>&1 | tee {log:q} >&2"


rule steer:
    """Run one sweep on one target, at the selected site where the study says so."""
    input:
        prompts=f"results/{STUDY.study}/prompts.parquet",
        vectors=of_both("results/{run}/vectors/{reader}.parquet"),
        selection="results/{run}/selection.json",
        model=target_model,
        parity=checked_parity(),
    output:
        sweep="results/{run}/sweeps/{sweep}/{target}.parquet",
    log:
        "results/{run}/logs/sweeps/{sweep}/{target}.log",
    wildcard_constraints:
        sweep="|".join(name for name in STUDY.sweeps if name != STUDY.selection.sweep) or "none",
    priority: 10  # the longest jobs first, so that the short ones fill what is left
    conda:
        ENGINE_CONDA
    threads: 1
    resources:
        mem_mb=MODEL_MEMORY,
        runtime=sweep_runtime,
        gpu=ENGINE_GPUS,
    params:
        settings=settings_of("steering.sweeps", "sweep", "target"),
        python=engine_python,
    message:
        "Steering the {wildcards.target} model, sweep {wildcards.sweep}"
    shell:
        "{params.python:q} -m repurpose.steering.sweeps"
        " --settings {params.settings:q}"
        " --prompts {input.prompts:q}"
        " --vectors {input.vectors:q}"
        " --selection {input.selection:q}"
        " --output {output.sweep:q}"
        " 2>&1 | tee {log:q} >&2"


# Needs: sweeps/<sweep>/<target>.parquet. Gives: measurements/<sweep>/<target>.parquet, a column per metric.


rule measure_sweep:
    """Measure each steered rollout: keyword share, coherence, length, correctness."""
    input:
        sweep="results/{run}/sweeps/{sweep}/{target}.parquet",
    output:
        measurements="results/{run}/measurements/{sweep}/{target}.parquet",
    log:
        "results/{run}/logs/measurements/{sweep}/{target}.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings_of("steering.measurements"),
        python=main_python,
    message:
        "Measuring sweep {wildcards.sweep} on the {wildcards.target} model"
    shell:
        "{params.python:q} -m repurpose.steering.measurements"
        " --settings {params.settings:q}"
        " --sweep {input.sweep:q}"
        " --output {output.measurements:q}"
        " 2>&1 | tee {log:q} >&2"


# Needs: the selection sweep's measurements on the reasoning model. Gives: selection.json, site and magnitude.


rule select_site:
    """Choose layer, window and magnitude on training prompts."""
    input:
        measurements=f"results/{{run}}/measurements/{STUDY.selection.sweep}/reasoning.parquet",
    output:
        selection="results/{run}/selection.json",
    log:
        "results/{run}/logs/selection.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings_of("steering.selection"),
        python=main_python,
    message:
        "Selecting layer, window and magnitude"
    shell:
        "{params.python:q} -m repurpose.steering.selection"
        " --settings {params.settings:q}"
        " --measurements {input.measurements:q}"
        " --output {output.selection:q}"
        " 2>&1 | tee {log:q} >&2"


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
        settings=settings_of("steering.log_odds", "target"),
        python=main_python,
    message:
        "Reading log-odds of the steered {wildcards.target} model"
    shell:
        "{params.python:q} -m repurpose.steering.log_odds"
        " --settings {params.settings:q}"
        " --rollouts {input.rollouts:q}"
        " --labels {input.labels:q}"
        " --vectors {input.vectors:q}"
        " --selection {input.selection:q}"
        " --output {output.logodds:q}"
        " 2>&1 | tee {log:q} >&2"
