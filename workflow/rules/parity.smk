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
        settings=settings_of("check_parity", "target"),
        python=vllm_python,
    message:
        "Comparing vLLM with transformers, the {wildcards.target} model steered"
    shell:
        "{params.python:q} -m repurpose.check_parity"
        " --settings {params.settings:q}"
        " --prompts {input.prompts:q}"
        " --vectors {input.vectors:q}"
        " --output {output.parity:q}"
        " 2>&1 | tee {log:q} >&2"
