# Needs: all rollouts and sentences, vectors of both readers, selection.json, the reader.
# Gives: projections/<reader>.parquet, one row a token (Fig. 6).


rule project_tokens:
    """Project one reader's activation at each token on the direction."""
    input:
        rollouts=all_rollouts(),
        sentences=all_sentences(),
        vectors=of_both("results/{study}/vectors/{reader}.parquet"),
        selection="results/{study}/selection.json",
        model=reader_model,
    output:
        projections="results/{study}/projections/{reader}.parquet",
    log:
        "results/{study}/logs/projections/{reader}.log",
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
        " --sentences {input.sentences:q}"
        " --vectors {input.vectors:q}"
        " --selection {input.selection:q}"
        " --output {output.projections:q}"
        " 2>&1 | tee {log:q} >&2"
