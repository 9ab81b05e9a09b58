"""The page: one frame around blocks of data, the scripts and the styles; nothing in it is loaded from elsewhere."""

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

SCRIPTS = (
    *("text", "data", "address", "list", "tokens", "strip", "compare"),
    *("rollouts", "grid", "steered", "disagreements", "about", "main"),
)
"""Modules of the page, each after those that it imports from; joined they are one."""
IMPORT = re.compile(r'^import \{[^}]*\} from "\./\w+\.js";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|let|class) )", re.MULTILINE)
HTML = Environment(
    loader=PackageLoader("repurpose.results.explorer", ""),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def read_part(name: str) -> str:
    """A script or style of the page."""
    return files("repurpose.results.explorer").joinpath(name).read_text(encoding="utf-8")


def join_scripts() -> str:
    """All modules as one: what they import from one another is there, and their names are each other's."""
    parts = (EXPORT.sub("", IMPORT.sub("", read_part(f"{name}.js"))) for name in SCRIPTS)
    return "\n" + "\n".join(parts)


def source_hash(text: str) -> str:
    """What a policy calls a script or style by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def render_page(study: str, blocks: Mapping[str, str]) -> str:
    """The page of a study; the policy lets it run this one script and these styles, and load nothing."""
    script, style = join_scripts(), "\n" + read_part("style.css")
    allowed = f"script-src {source_hash(script)}; style-src {source_hash(style)}; img-src data:"
    policy = f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    values = {"study": study, "blocks": blocks, "script": script, "style": style, "policy": policy}
    return HTML.get_template("explorer.html.jinja").render(values)
