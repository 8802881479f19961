# Made by `make lock`. The command `distillery` of this environment is that of the checkout, which the workflow names.
set -e
python -m pip install --no-deps --no-build-isolation --quiet --editable "${DISTILLERY_CHECKOUT:-$PWD}"
