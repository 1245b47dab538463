"""Package the library together with the Console's plugins and the network definitions.

Both folders stand at the top level, where people look for them; an installed copy lies inside the
package (``nnabla_influence/_plugins`` and ``_network_defs``). `nnabla_influence.resources` finds
either.
"""

from setuptools import find_packages, setup

BUNDLED = {
    "nnabla_influence._plugins": "plugins",
    "nnabla_influence._network_defs": "network_defs",
}

setup(
    packages=[*find_packages(include=["nnabla_influence", "nnabla_influence.*"]), *BUNDLED],
    package_dir=BUNDLED,
    package_data={
        "nnabla_influence": ["py.typed"],
        "nnabla_influence._plugins": ["**/*.py", "**/*.md"],
        "nnabla_influence._network_defs": ["*.nntxt", "*.md", "*.py"],
    },
)
