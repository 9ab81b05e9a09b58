# Labels: what each annotator says of the sentences, and how far the annotators agree.
#
# Needs: sentences and rollouts of all shards; of steered text a sweep.
# Gives: where annotated spans are the units, sentences/<shard>.parquet, a row for each; labels/<annotator>/<shard>.parquet,
# a label for each unit; labelled, an empty file, once those are there that the study stands on; of language models also
# what they cost, and steered_labels/<annotator>/<sweep>/<target>.parquet, labels of steered rollouts; with several annotators
# tables/agreement.csv and confusion.csv. Raw replies lie in results/replies/, which all studies share and no rule
# declares, so that no failed job and no new plan can delete what was paid for.


rule take_spans:
    """Take the spans of published annotations as the units that are labelled, all shards' at once."""
    input:
        rollouts=FILES.parts("rollouts"),
        published=FILES.span_file,
    output:
        sentences=FILES.shards("results/{study}/sentences/{shard}.parquet"),
    log:
        "results/{study}/logs/spans.log",
    wildcard_constraints:
        study=one_of(FILES.units("span")),
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings_of("labels.spans"),
        python=derived(PYTHON.python("main")),
    message:
        "Taking annotated spans"
    shell:
        "{params.python:q} -m repurpose.labels.spans"
        " --settings {params.settings:q}"
        " --rollouts {input.rollouts:q}"
        " --output {output.sentences:q}"
        " 2>&1 | log_to {log:q}"


rule label_sentences:
    """Label all sentences by rules or from published annotations, which may hold chains of a few shards alone."""
    input:
        sentences=FILES.parts("sentences"),
        rollouts=FILES.parts("rollouts"),
        published=FILES.annotator_file,
    output:
        labels=FILES.shards("results/{study}/labels/{annotator}/{shard}.parquet"),
    log:
        "results/{study}/logs/labels/{annotator}.log",
    wildcard_constraints:
        annotator=one_of(FILES.rules_that_label),
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings_of("labels.labelling", "annotator"),
        python=derived(PYTHON.python("main")),
        behaviour=needed_behaviour,
    message:
        "Labelling sentences by {wildcards.annotator}"
    shell:
        "{params.python:q} -m repurpose.labels.labelling"
        " --settings {params.settings:q}"
        " {params.behaviour}"
        " --sentences {input.sentences:q}"
        " --rollouts {input.rollouts:q}"
        " --output {output.labels:q}"
        " 2>&1 | log_to {log:q}"


rule label_with_model:
    """Let a language model label all sentences: one job, so that its limits on requests and cost hold for the study."""
    input:
        sentences=FILES.parts("sentences"),
        instructions=FILES.annotator_file,
    output:
        labels=FILES.shards("results/{study}/labels/{annotator}/{shard}.parquet"),
        usage="results/{study}/labels/{annotator}/usage.parquet",
    log:
        "results/{study}/logs/labels/{annotator}.log",
    wildcard_constraints:
        annotator=one_of(FILES.models_that_label),
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=1440,
        api_calls=1,
    params:
        settings=settings_of("labels.labelling", "annotator"),
        python=derived(PYTHON.python("main")),
        behaviour=needed_behaviour,
    message:
        "Labelling sentences by {wildcards.annotator}"
    shell:
        "{params.python:q} -m repurpose.labels.labelling"
        " --settings {params.settings:q}"
        " {params.behaviour}"
        " --sentences {input.sentences:q}"
        " --usage {output.usage:q}"
        " --output {output.labels:q}"
        " 2>&1 | log_to {log:q}"


rule finish_labels:
    """Say that the labels on which the study stands are there, some of its behaviour among them."""
    input:
        labels=FILES.study_labels,
    output:
        labelled=touch("results/{study}/labelled"),
    resources:
        mem_mb=100,
        runtime=1,
    message:
        "All sentences have labels"


rule label_steered:
    """Label steered text: all of a sweep by the annotator that it is measured by, some of it by others, for Table C.1."""
    input:
        sweep="results/{run}/sweeps/{sweep}/{target}.parquet",
        first=FILES.labels_first,
        instructions=FILES.annotator_file,
    output:
        labels="results/{run}/steered_labels/{annotator}/{sweep}/{target}.parquet",
        usage="results/{run}/steered_labels/{annotator}/{sweep}/{target}_usage.parquet",
    log:
        "results/{run}/logs/steered_labels/{annotator}/{sweep}/{target}.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=1440,
        api_calls=1,
    params:
        settings=settings_of("labels.steered_labels", "annotator"),
        python=derived(PYTHON.python("main")),
        some=some_rollouts,
    message:
        "Labelling steered rollouts of {wildcards.sweep} by {wildcards.annotator}"
    shell:
        "{params.python:q} -m repurpose.labels.steered_labels"
        " --settings {params.settings:q}"
        " {params.some}"
        " --sweep {input.sweep:q}"
        " --usage {output.usage:q}"
        " --output {output.labels:q}"
        " 2>&1 | log_to {log:q}"


rule compare_annotators:
    """Measure how far the annotators agree on the same sentences."""
    input:
        labels=FILES.all_labels,
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
        python=derived(PYTHON.python("main")),
    message:
        "Comparing the annotators"
    shell:
        "{params.python:q} -m repurpose.labels.compare_annotators"
        " --settings {params.settings:q}"
        " --labels {input.labels:q}"
        " --output {output.tables:q}"
        " 2>&1 | log_to {log:q}"
