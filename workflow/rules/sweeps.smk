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
        settings=settings_of("sweeps", "sweep", "target"),
        python=engine_python,
    message:
        "Steering the {wildcards.target} model, sweep {wildcards.sweep}"
    shell:
        "{params.python:q} -m repurpose.sweeps"
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
        settings=settings_of("sweeps", "sweep", "target"),
        python=engine_python,
    message:
        "Steering the {wildcards.target} model, sweep {wildcards.sweep}"
    shell:
        "{params.python:q} -m repurpose.sweeps"
        " --settings {params.settings:q}"
        " --prompts {input.prompts:q}"
        " --vectors {input.vectors:q}"
        " --selection {input.selection:q}"
        " --output {output.sweep:q}"
        " 2>&1 | tee {log:q} >&2"
