"""Web pages from templates: whatever is put into one is escaped, unless it is HTML already
(`Markup`)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


@lru_cache
def _environment(package: str) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def rendered(package: str, template: str, **values: object) -> str:
    """The template of that name in the folder `templates` of a package, with these values."""
    return _environment(package).get_template(template).render(**values)
