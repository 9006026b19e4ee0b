"""What pyproject.toml cannot say of the build: all goes into the package.

In the repository five modules and the sessions lie at the top level, where nobody else
looks for modules of these names. In an installed package they lie in `sswavenet`, and
the modules are imported as `sswavenet.util` and so on.
"""

from __future__ import annotations

import pathlib
import re

import setuptools
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

PACKAGE = "sswavenet"
MODULES = ["datasets", "layers", "main", "models", "util"]
NAMES = "|".join(MODULES)
# One module a statement, as ruff keeps them.
PLAIN_IMPORT = re.compile(rf"^( *)import ({NAMES})\b", re.M)
IMPORT_FROM = re.compile(rf"^( *)from ({NAMES}) import\b", re.M)
# Those that ship have a card.
SESSIONS = [
    path.parent.name for path in pathlib.Path("sessions").glob("*/MODEL_CARD.md")
]


class BuildPackage(build_py):
    """Puts the five modules into the package."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.py_modules = MODULES

    def build_module(
        self, module: str, module_file: str, package: str
    ) -> tuple[str, bool]:
        copied = super().build_module(module, module_file, package or PACKAGE)
        path = pathlib.Path(copied[0])
        text = path.read_text("utf-8")
        text = PLAIN_IMPORT.sub(rf"\1from {PACKAGE} import \2", text)
        path.write_text(IMPORT_FROM.sub(rf"\1from {PACKAGE}.\2 import", text), "utf-8")
        return copied


class EditablePackage(editable_wheel):
    """Leaves the five modules where they are."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.distribution.py_modules = MODULES


setuptools.setup(
    packages=[
        *setuptools.find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
        f"{PACKAGE}.sessions",
    ],
    package_dir={f"{PACKAGE}.sessions": "sessions"},
    package_data={
        PACKAGE: ["py.typed", "*/*.cc", "*/*.h", "*/*.css", "*/*.js"],
        f"{PACKAGE}.sessions": [
            f"{session}/{name}"
            for session in SESSIONS
            for name in (
                "config.json",
                "MODEL_CARD.md",
                "NOTICE.txt",
                "checkpoints/*.hdf5",
            )
        ],
    },
    cmdclass={"build_py": BuildPackage, "editable_wheel": EditablePackage},
)
