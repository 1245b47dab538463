"""Package the library together with the Console's plugins and the network definitions.

Both folders stand at the top level, where people look for them; an installed copy lies inside the
package (``nnabla_influence/_plugins`` and ``_network_defs``). `nnabla_influence.resources` finds
either.
"""

import os

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py


class WithoutWriters(build_py):
    """Leave out the scripts that write the network definitions."""

    def find_package_modules(self, package, package_dir):
        """Return the modules of a package; those of the definitions are not installed."""
        bundled = package.startswith("nnabla_influence._network_defs")
        return [] if bundled else super().find_package_modules(package, package_dir)


def folders(top):
    """Return the folders under ``top`` that hold files."""
    found = (folder for folder, _, files in os.walk(top) if files)
    return [folder for folder in found if os.path.basename(folder) != "__pycache__"]


BUNDLED = {
    "nnabla_influence._" + folder.replace(os.sep, "."): folder
    for folder in [*folders("plugins"), "network_defs"]
}

setup(
    cmdclass={"build_py": WithoutWriters},
    packages=[*find_packages(include=["nnabla_influence", "nnabla_influence.*"]), *BUNDLED],
    package_dir=BUNDLED,
    package_data={  # MANIFEST.in names the bundled files
        "nnabla_influence": ["py.typed"],
        "nnabla_influence.explanation": ["template/*"],
        "nnabla_influence.review": ["template/*", "template/*/*"],
    },
    exclude_package_data={"nnabla_influence._network_defs": ["samples/*"]},
)
