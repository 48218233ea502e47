"""Package list of culnig-engine; metadata is in pyproject.toml, compilation in CMakeLists.txt.

The project's own data lies in `data/` at the top of the checkout and is installed as `culnig/data`.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["culnig", "culnig.*"]), "culnig.data"],
    package_dir={"culnig.data": "data"},
)
