#!/usr/bin/env bash
# Runs the tests of S3 with the newest client library. The environment of the README's test command has an old one:
# the newest aioboto3 asks for it.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv-newest}
python3 -m venv "$venv"
"$venv/bin/pip" install -q uv
uv=("$venv/bin/uv" pip)
"${uv[@]}" install -q -p "$venv/bin/python" -e . boto3
"${uv[@]}" freeze -p "$venv/bin/python" | grep -E '^(aiobotocore|boto3|botocore)==' | tee "$venv/stack.txt"  # the rest adapts to these
"$venv/bin/python" - <<'PYTHON' | "${uv[@]}" install -q -p "$venv/bin/python" -c "$venv/stack.txt" -r -
import tomllib

with open("pyproject.toml", "rb") as file:
    wanted = tomllib.load(file)["project"]["optional-dependencies"]["test"]
print("\n".join(one for one in wanted if not one.startswith("aioboto3")))
PYTHON
"$venv/bin/python" -m pytest -n logical tests/storage tests/doctor tests/cli/test_cors.py tests/durability/test_outbox_elsewhere.py
