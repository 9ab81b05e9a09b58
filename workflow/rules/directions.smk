# Needs: one shard of rollouts and sentences, the reader. Gives: activations/<reader>/<shard>.parquet.


rule read_activations:
    """Read one model's mean activation in each window before each sentence of a shard."""
    input:
        rollouts="results/{study}/rollouts/{shard}.parquet",
        sentences="results/{study}/sentences/{shard}.parquet",
        model=reader_model,
    output:
        activations="results/{study}/activations/{reader}/{shard}.parquet",
    log:
        "results/{study}/logs/activations/{reader}/{shard}.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=MODEL_MEMORY,
        runtime=MODEL_RUNTIME,
        gpu=MODEL_GPUS,
    params:
        settings=settings_of("directions.activations", "reader"),
        python=main_python,
    message:
        "Reading activations of the {wildcards.reader} model, shard {wildcards.shard}"
    shell:
        "{params.python:q} -m repurpose.directions.activations"
        " --settings {params.settings:q}"
        " --rollouts {input.rollouts:q}"
        " --sentences {input.sentences:q}"
        " --output {output.activations:q}"
        " 2>&1 | tee {log:q} >&2"


# Needs: all shards of labels and of one reader's activations. Gives: vectors/<reader>.parquet, with controls.


rule compute_vectors:
    """Take the differences of means of one reader, and the control directions."""
    input:
        labels=run_labels,
        activations=reader_activations,
    output:
        vectors="results/{run}/vectors/{reader}.parquet",
    log:
        "results/{run}/logs/vectors/{reader}.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=settings_of("directions.vectors", "reader"),
        python=main_python,
    message:
        "Computing vectors from the {wildcards.reader} model"
    shell:
        "{params.python:q} -m repurpose.directions.vectors"
        " --settings {params.settings:q}"
        " --labels {input.labels:q}"
        " --activations {input.activations:q}"
        " --output {output.vectors:q}"
        " 2>&1 | tee {log:q} >&2"


# Needs: all shards of labels and of both readers' activations, selection.json.
# Gives: cosines.parquet, how alike the two readers' vectors are on disjoint halves of the prompts.


rule compare_readers:
    """Take the cosines between the readers' vectors at the selected site, no noise shared."""
    input:
        labels=run_labels,
        base=activations_of("base"),
        reasoning=activations_of("reasoning"),
        selection="results/{run}/selection.json",
    output:
        cosines="results/{run}/cosines.parquet",
    log:
        "results/{run}/logs/cosines.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=settings_of("directions.cosines"),
        python=main_python,
    message:
        "Comparing the readers' vectors"
    shell:
        "{params.python:q} -m repurpose.directions.cosines"
        " --settings {params.settings:q}"
        " --labels {input.labels:q}"
        " --base {input.base:q}"
        " --reasoning {input.reasoning:q}"
        " --selection {input.selection:q}"
        " --output {output.cosines:q}"
        " 2>&1 | tee {log:q} >&2"


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
        settings=settings_of("directions.lens"),
        python=main_python,
    message:
        "Decoding the directions"
    shell:
        "{params.python:q} -m repurpose.directions.lens"
        " --settings {params.settings:q}"
        " --vectors {input.vectors:q}"
        " --selection {input.selection:q}"
        " --output {output.lens:q}"
        " 2>&1 | tee {log:q} >&2"


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
        settings=settings_of("directions.projections", "reader"),
        python=main_python,
    message:
        "Projecting the {wildcards.reader} model's tokens"
    shell:
        "{params.python:q} -m repurpose.directions.projections"
        " --settings {params.settings:q}"
        " --rollouts {input.rollouts:q}"
        " --labels {input.labels:q}"
        " --vectors {input.vectors:q}"
        " --selection {input.selection:q}"
        " --output {output.projections:q}"
        " 2>&1 | tee {log:q} >&2"
