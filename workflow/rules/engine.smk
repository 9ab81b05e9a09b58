# Needs: the pair; prompts.parquet and vectors of both readers. Only where the study's engine is vLLM.
# Gives: engine.json and parity/<target>.json, proofs that are wanted before rollouts and before steering.


rule check_engine:
    """Prove that vLLM can run the pair on this machine, before rollouts are spent."""
    input:
        model=model_files("base") + model_files("reasoning"),
    output:
        answer="results/{study}/engine.json",
    log:
        "results/{study}/logs/engine.log",
    conda:
        ENGINE_CONDA
    threads: 1
    resources:
        mem_mb=4000,
        runtime=15,
        gpu=ENGINE_GPUS,
    params:
        settings=settings_of("check_engine"),
        python=vllm_python,
    message:
        "Checking that vLLM can run the pair"
    shell:
        "{params.python:q} -m repurpose.check_engine"
        " --settings {params.settings:q}"
        " --output {output.answer:q}"
        " 2>&1 | tee {log:q} >&2"


rule check_parity:
    """Prove that vLLM steers one target as the transformers engine does."""
    input:
        prompts=f"results/{STUDY.study}/prompts.parquet",
        vectors=of_both("results/{run}/vectors/{reader}.parquet"),
        model=target_model,
        engine=ancient(f"results/{STUDY.study}/engine.json"),
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
