"""Pages that are made of files outside ``docs``: each example and each notebook."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]


def on_files(files: Files, config: Any) -> Files:
    """Add the examples and the notebooks."""
    for path in sorted((ROOT / "examples").glob("*.py")):
        files.append(File.generated(config, f"examples/{path.stem}.md", content=example(path)))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=notebook(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Have links to these files lead to their pages."""
    return re.sub(r"\]\(\.\./(examples|notebooks)/(\w+)\.(?:py|ipynb)\)", r"](\1/\2.md)", markdown)


def example(path: Path) -> str:
    """An example as a page."""
    return f"# {path.name}\n\n````python\n{path.read_text('utf-8').rstrip()}\n````\n"


def notebook(path: Path) -> str:
    """A notebook as a page: its text, its code, and the plain text and pictures that it was saved with."""
    parts: list[str] = []
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            text = re.sub(r"\]\(\.\./docs/", "](../", text)
            parts.append(re.sub(r"\]\((\w+)\.ipynb\)", r"](\1.md)", text))
            continue
        parts.append(f"````python\n{text}\n````")
        for output in cell["outputs"]:
            parts.extend(shown(output))
    return "\n\n".join(parts) + "\n"


def shown(output: dict[str, Any]) -> list[str]:
    """An output as Markdown."""
    data = output.get("data", {})
    if "image/png" in data:
        return [f"![](data:image/png;base64,{data['image/png'].strip()})"]
    text = "".join(output.get("text", data.get("text/plain", "")))
    return [f"````text\n{text.rstrip()}\n````"] if text.strip() else []
