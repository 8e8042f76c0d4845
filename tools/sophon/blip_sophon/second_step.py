"""The second step of the compiler's model_deploy.py, from a lowered network to a bmodel:
second_step.py SETTINGS (JSON), in its own Python.
"""

import json
import sys

from tpu_mlir.python.utils.mlir_shell import mlir_to_model

mlir_to_model(**json.loads(sys.argv[1]))
