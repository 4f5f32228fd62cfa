"""Copy what the dashboard ships of others from npm into api/static/vendor: `make assets`.

npm installs the version of .ci/assets/package-lock.json and checks its hash; this script copies the files that are
shipped, licence included, and writes their hashes to vendor.json, which a test compares with the files in git. Nobody
needs npm to build, install or run hft-mmap: only who raises the version runs this.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = ROOT / ".ci" / "assets"
VENDOR = ROOT / "api" / "static" / "vendor"
SHIPPED = {
    "uplot": {"dist/uPlot.iife.min.js": "uplot.js", "dist/uPlot.min.css": "uplot.css", "LICENSE": "uplot-licence.txt"},
}


def main() -> int:
    """Install by the lock, copy, and write down what was copied."""
    locked = json.loads((MANIFEST / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    VENDOR.mkdir(parents=True, exist_ok=True)
    record = {}
    with tempfile.TemporaryDirectory() as directory:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(MANIFEST / name, directory)
        subprocess.run(["npm", "ci", "--ignore-scripts", "--silent"], cwd=directory, check=True)  # noqa: S607
        for package, files in SHIPPED.items():
            hashes = {}
            for source, target in files.items():
                content = (Path(directory) / "node_modules" / package / source).read_bytes()
                (VENDOR / target).write_bytes(content)
                hashes[target] = hashlib.sha256(content).hexdigest()
            entry = locked[f"node_modules/{package}"]
            record[package] = {name: entry[name] for name in ("version", "license", "integrity")} | {"sha256": hashes}
    (VENDOR / "vendor.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(", ".join(f"{package} {entry['version']}" for package, entry in record.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
