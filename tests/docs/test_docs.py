"""Every block of the documentation does what its page says."""

from __future__ import annotations

import ast
import builtins
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, Block, PageRun, blocks_of, differs, pages, run_session
from tests.docs.test_site import public
from tests.servers import Moto

BUCKET = "my-bucket"
PYTHON = [
    page
    for page in pages()
    if any(block.language == "python" for block in blocks_of(page))
    and page.name != "cookbook.md"  # `test_cookbook` runs its recipes, each by itself
]
SESSIONS = [block for page in pages() for block in blocks_of(page) if block.language == "console"]
PARTS = [block for page in pages() for block in blocks_of(page) if block.language == "py-app"]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """``my-bucket``, empty, at the endpoint that the environment names."""
    import boto3

    server: Moto = request.getfixturevalue("moto")
    options = server.options()
    monkeypatch.setenv("AWS_ENDPOINT_URL", options["endpoint_url"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", options["aws_access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", options["aws_secret_access_key"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3")
    try:
        client.create_bucket(Bucket=BUCKET)
        for listed in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
            client.delete_object(Bucket=BUCKET, Key=listed["Key"])
    finally:
        client.close()
    return BUCKET


@pytest.mark.parametrize("page", PYTHON, ids=name_of)
def test_the_python_blocks_of_a_page_run(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    blocks = [block for block in blocks_of(page) if block.language == "python"]
    if any("s3://" in block.text for block in blocks):
        request.getfixturevalue("bucket")
    PageRun(tmp_path, prepared=page.parent == ROOT).run(blocks)  # the README goes on with the names of its program


@pytest.mark.parametrize("block", SESSIONS, ids=str)
def test_a_shell_session_runs(block: Block, tmp_path: Path) -> None:
    run_session(block, tmp_path)


@pytest.mark.parametrize("block", PARTS, ids=str)
def test_a_part_of_a_program_is_python_and_imports_what_is_public(block: Block) -> None:
    tree = compile(block.text, str(block), "exec", flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("rxmps3."):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            assert names <= public(node.module.removeprefix("rxmps3."))


@pytest.mark.parametrize("block", [block for block in PARTS if block.text.startswith("import ")], ids=str)
def test_what_begins_as_a_program_has_all_that_it_uses(block: Block) -> None:
    tree = compile(block.text, str(block), "exec", flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    known, used = set(dir(builtins)), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            known |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            known.add(node.name)
        elif isinstance(node, ast.arg):
            known.add(node.arg)
        elif isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else known).add(node.id)
    assert used <= known


def test_the_quick_start_runs_on_s3_with_another_url(bucket: str, tmp_path: Path) -> None:
    [program] = [block for block in blocks_of(ROOT / "README.md") if block.is_program]
    assert program.text.count('"file:notes"') == 1
    moved = program.text.replace('"file:notes"', f'"s3://{bucket}/notes"')
    PageRun(tmp_path).run([Block(program.page, program.line, "python", moved, program.output)])
    assert not list(tmp_path.iterdir())


class TestTheRunnerItself:
    """It notices when a page is wrong."""

    def run(self, text: str, directory: Path, output: str = "") -> None:
        PageRun(directory, prepared=True).run([Block(ROOT / "README.md", 1, "python", text, output)])

    @pytest.mark.parametrize(
        ("text", "output"),
        [
            ("1 + 1  # → 3", ""),
            ("print('a')", ""),
            ("print('a')", "b"),
            ("await db.put('k', 1)  # raises Closed", ""),
            ("await db.put('', 1)  # raises Closed", ""),
            ("if True:\n    await db.get('k')  # → 1", ""),
            ("import asyncio\nasync def main():\n    1  # → 2\nasyncio.run(main())", ""),
        ],
    )
    def test_what_is_wrong_fails(self, text: str, output: str, tmp_path: Path) -> None:
        with pytest.raises(AssertionError):
            self.run(text, tmp_path, output)

    def test_what_is_right_passes(self, tmp_path: Path) -> None:
        self.run(
            "print(await db.put('k', 1))\nawait db.get('k')  # → 1\ndb.put('', 1)  # raises InvalidKey", tmp_path, "…-1"
        )

    def test_blocks_are_found_with_their_output(self, tmp_path: Path) -> None:
        page = tmp_path / "page.md"
        page.write_text("a\n```python\nx\n```\n\n```text\ny\n```\nb\n```sh\nz\n```\n")
        assert [(one.line, one.language, one.text, one.output) for one in blocks_of(page)] == [
            (3, "python", "x\n", "y\n"),
            (11, "sh", "z\n", ""),
        ]

    def test_an_ellipsis_stands_for_anything(self) -> None:
        assert not differs("a 1 b\n", "a … b")
        assert differs("a 1 c\n", "a … b")
