# Needs: sentences/<shard>.parquet. Gives: labels/<annotator>/<shard>.parquet, a label for each sentence; of language
# models also what they cost, and steered_labels/<annotator>.parquet, labels of some steered rollouts. Raw replies lie in
# results/replies/, which all studies share and no rule declares, so that no failed job and no new plan can delete what
# was paid for.


rule label_sentences:
    """Label all sentences by rules or from published annotations, which may hold chains of a few shards alone."""
    input:
        sentences=all_sentences(),
        rollouts=all_rollouts(),
        published=published_file,
    output:
        labels=expand("results/{{study}}/labels/{{annotator}}/{shard}.parquet", shard=SHARDS),
    log:
        "results/{study}/logs/labels/{annotator}.log",
    wildcard_constraints:
        annotator=one_of(RULES_THAT_LABEL),
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings_of("labels.labelling", "annotator"),
        python=main_python,
    message:
        "Labelling sentences by {wildcards.annotator}"
    shell:
        "{params.python:q} -m repurpose.labels.labelling"
        " --settings {params.settings:q}"
        " --sentences {input.sentences:q}"
        " --rollouts {input.rollouts:q}"
        " --output {output.labels:q}"
        " 2>&1 | tee {log:q} >&2"


rule label_with_model:
    """Let a language model label all sentences: one job, so that its limits on requests and cost hold for the study."""
    input:
        sentences=all_sentences(),
        instructions=instructions_file,
    output:
        labels=expand("results/{{study}}/labels/{{annotator}}/{shard}.parquet", shard=SHARDS),
        usage="results/{study}/labels/{annotator}/usage.parquet",
    log:
        "results/{study}/logs/labels/{annotator}.log",
    wildcard_constraints:
        annotator=one_of(MODELS_THAT_LABEL),
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=1440,
    params:
        settings=settings_of("labels.labelling", "annotator"),
        python=main_python,
    message:
        "Labelling sentences by {wildcards.annotator}"
    shell:
        "{params.python:q} -m repurpose.labels.labelling"
        " --settings {params.settings:q}"
        " --sentences {input.sentences:q}"
        " --usage {output.usage:q}"
        " --output {output.labels:q}"
        " 2>&1 | tee {log:q} >&2"


rule label_steered:
    """Let a language model label some steered rollouts of the reasoning model, for Table C.1."""
    input:
        sweep=f"results/{{run}}/sweeps/{STUDY.labels.steered_sweep}/reasoning.parquet",
        # after the labels of the same annotator that the study stands on: these have the first call on `max_cost`
        first=f"results/{STUDY.study}/labels/{{annotator}}/usage.parquet",
        instructions=instructions_file,
    output:
        labels="results/{run}/steered_labels/{annotator}.parquet",
        usage="results/{run}/steered_labels/{annotator}_usage.parquet",
    log:
        "results/{run}/logs/steered_labels/{annotator}.log",
    wildcard_constraints:
        annotator=one_of(MODELS_THAT_LABEL),
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=1440,
    params:
        settings=settings_of("labels.steered_labels", "annotator"),
        python=main_python,
    message:
        "Labelling steered rollouts by {wildcards.annotator}"
    shell:
        "{params.python:q} -m repurpose.labels.steered_labels"
        " --settings {params.settings:q}"
        " --sweep {input.sweep:q}"
        " --usage {output.usage:q}"
        " --output {output.labels:q}"
        " 2>&1 | tee {log:q} >&2"


# Needs: labels of all annotators, where the study has several. Gives: tables/agreement.csv and confusion.csv.


rule compare_annotators:
    """Measure how far the annotators agree on the same sentences."""
    input:
        labels=[path for name in ANNOTATORS for path in labels_by(name)],
    output:
        tables=expand("results/{{run}}/tables/{table}.csv", table=AGREEMENT_TABLES),
    log:
        "results/{run}/logs/agreement.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings_of("labels.compare_annotators"),
        python=main_python,
    message:
        "Comparing the annotators"
    shell:
        "{params.python:q} -m repurpose.labels.compare_annotators"
        " --settings {params.settings:q}"
        " --labels {input.labels:q}"
        " --output {output.tables:q}"
        " 2>&1 | tee {log:q} >&2"
