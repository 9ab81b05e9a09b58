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
        settings=settings_of("selection"),
        python=main_python,
    message:
        "Selecting layer, window and magnitude"
    shell:
        "{params.python:q} -m repurpose.selection"
        " --settings {params.settings:q}"
        " --measurements {input.measurements:q}"
        " --output {output.selection:q}"
        " 2>&1 | tee {log:q} >&2"
