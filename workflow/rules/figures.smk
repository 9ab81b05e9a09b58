# Needs: tables/<figure>.csv and nothing else, so that drawing again never computes again.
# Gives: figures/<figure>.svg and .png.


rule draw_figure:
    """Draw one figure from its table."""
    input:
        table="results/{run}/tables/{figure}.csv",
    output:
        svg=report(
            "results/{run}/figures/{figure}.svg",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}", "format": "SVG"},
        ),
        png=report(
            "results/{run}/figures/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}", "format": "PNG"},
        ),
    log:
        "results/{run}/logs/figures/{figure}.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings_of("figures", "figure"),
        python=main_python,
    message:
        "Drawing figure {wildcards.figure}"
    shell:
        "{params.python:q} -m repurpose.figures"
        " --settings {params.settings:q}"
        " --table {input.table:q}"
        " --output {output.svg:q} {output.png:q}"
        " 2>&1 | tee {log:q} >&2"
