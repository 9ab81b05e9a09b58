# Needs: the study's prompt source, if that is a file. Gives: prompts.parquet, train and held-out.


rule make_prompts:
    """Draw the prompts and split them, before anything else is made."""
    input:
        source=prompt_source(),
    output:
        prompts="results/{study}/prompts.parquet",
    log:
        "results/{study}/logs/prompts.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings_of("prompts"),
        python=main_python,
    message:
        "Making prompts"
    shell:
        "{params.python:q} -m repurpose.prompts"
        " --settings {params.settings:q}"
        " --output {output.prompts:q}"
        " 2>&1 | tee {log:q} >&2"
