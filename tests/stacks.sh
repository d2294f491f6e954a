#!/usr/bin/env bash
# Runs the tests of S3 with the newest client library. The environment of the README's test command has an old one:
# the newest aioboto3 asks for it.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv-newest}
python3 -m venv "$venv"
"$venv/bin/pip" install -q -e . boto3
"$venv/bin/pip" freeze | grep -E '^(aiobotocore|boto3|botocore)==' | tee "$venv/stack.txt"  # or pip tries hundreds of others
"$venv/bin/python" - <<'PYTHON' | "$venv/bin/pip" install -q -c "$venv/stack.txt" -r /dev/stdin
import tomllib

with open("pyproject.toml", "rb") as file:
    wanted = tomllib.load(file)["project"]["optional-dependencies"]["test"]
print("\n".join(one for one in wanted if not one.startswith("aioboto3")))
PYTHON
"$venv/bin/python" -m pytest -n logical tests/storage tests/doctor tests/cli/test_cors.py tests/durability/test_outbox_elsewhere.py
