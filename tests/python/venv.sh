# For sourcing: a virtual environment in $work/venv with packages from PyPI, or the end of the test
# with 77.
# usage: make_venv PACKAGE...    (sets $python)
make_venv() {
  "${BLIP_PYTHON:-python3}" -m venv "$work/venv" >"$work/venv.log" 2>&1 ||
    { echo "SKIPPED: no venv here: $(tail -n 1 "$work/venv.log")"; exit 77; }
  python=$work/venv/bin/python
  "$python" -m pip install -q "$@" >"$work/pip.log" 2>&1 ||
    { echo "SKIPPED: pip cannot install $*: $(tail -n 1 "$work/pip.log")"; exit 77; }
}
