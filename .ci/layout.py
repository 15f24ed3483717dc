"""Holds the house's layout: arrows between crates, sizes of files, no code in lib.rs."""

import json
import pathlib
import re
import subprocess
import sys

ROOMS = {
    "bartizan-auth", "bartizan-cache", "bartizan-circuit-breaker",
    "bartizan-flags", "bartizan-rate-limit", "bartizan-shed",
}
ALLOWED = {
    "bartizan-core": set(),
    "bartizan-testing": {"bartizan-core"},
    "bartizan-redis": ROOMS | {"bartizan-core"},
    "bartizan": ROOMS | {"bartizan-core", "bartizan-redis"},
    **{room: {"bartizan-core"} for room in ROOMS},
}
faults = []

metadata = json.loads(
    subprocess.check_output(["cargo", "metadata", "--no-deps", "--format-version=1", "--locked"])
)
for package in metadata["packages"]:
    allowed = ALLOWED.get(package["name"])
    if allowed is None:
        continue
    for dependency in package["dependencies"]:
        name = dependency["name"]
        if not name.startswith("bartizan") or name in allowed:
            continue
        if dependency["kind"] == "dev" and name == "bartizan-testing":
            continue
        faults.append(f"{package['name']} depends on {name}")

checked = 0
for path in sorted(pathlib.Path("crates").glob("*/src/**/*.rs")):
    checked += 1
    text = path.read_text()
    lines = text.split("\n#[cfg(test)]\nmod tests")[0].count("\n") + 1
    if lines > 400:
        faults.append(f"{path}: {lines} lines before its tests")
    if path.name == "lib.rs" and re.search(
        r"^(pub(\(\w+\))? )?(async |const |unsafe )?(fn|struct|enum|impl|trait|static|const) ",
        text, re.M,
    ):
        faults.append(f"{path}: code in lib.rs")

if not checked:
    faults.append("no source file found")
for fault in faults:
    print(f"layout: {fault}", file=sys.stderr)
print(f"layout: {checked} files, {len(faults)} faults")
sys.exit(1 if faults else 0)
