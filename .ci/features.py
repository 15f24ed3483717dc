"""Prints `<crate> <feature>` for each feature of each crate, and `<crate> -` for none."""

import json
import subprocess

metadata = json.loads(
    subprocess.check_output(["cargo", "metadata", "--no-deps", "--format-version=1", "--locked"])
)
for package in sorted(metadata["packages"], key=lambda package: package["name"]):
    print(package["name"], "-")
    for feature in sorted(package["features"]):
        if feature != "default":
            print(package["name"], feature)
