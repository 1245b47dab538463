"""Package the library together with the Console's plugins and the network definitions.

Both folders stand at the top level, where people look for them; an installed copy lies inside the
package (``nnabla_influence/_plugins`` and ``_network_defs``). `nnabla_influence.resources` finds
either.
"""

import os

from setuptools import find_packages, setup


def folders(top):
    """Return the folders under ``top`` that hold files."""
    found = (folder for folder, _, files in os.walk(top) if files)
    return [folder for folder in found if os.path.basename(folder) != "__pycache__"]


BUNDLED = {
    "nnabla_influence._" + folder.replace(os.sep, "."): folder
    for top in ("plugins", "network_defs")
    for folder in folders(top)
}

setup(
    packages=[*find_packages(include=["nnabla_influence", "nnabla_influence.*"]), *BUNDLED],
    package_dir=BUNDLED,
    package_data={  # MANIFEST.in names the bundled files
        "nnabla_influence": ["py.typed"],
        "nnabla_influence.review": ["template/*", "template/*/*"],
    },
)
