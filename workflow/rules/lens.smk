# Needs: vectors of both readers, selection.json, both models. Gives: lens.parquet.


rule apply_lens:
    """Decode the directions with both models' unembeddings (Fig. 5)."""
    input:
        vectors=of_both("results/{run}/vectors/{reader}.parquet"),
        selection="results/{run}/selection.json",
        models=[*model_files("base"), *model_files("reasoning")],
    output:
        lens="results/{run}/lens.parquet",
    log:
        "results/{run}/logs/lens.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=MODEL_MEMORY,
        runtime=MODEL_RUNTIME,
        gpu=MODEL_GPUS,
    params:
        settings=settings_of("lens"),
        python=main_python,
    message:
        "Decoding the directions"
    shell:
        "{params.python:q} -m repurpose.lens"
        " --settings {params.settings:q}"
        " --vectors {input.vectors:q}"
        " --selection {input.selection:q}"
        " --output {output.lens:q}"
        " 2>&1 | tee {log:q} >&2"
