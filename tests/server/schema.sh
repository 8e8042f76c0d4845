#!/usr/bin/env bash
# Checks a running server against its /openapi.json with schemathesis
# (https://schemathesis.readthedocs.io): every status, header and body it answers with must be in
# the document, malformed requests must be refused, and nothing may end in a 500. Whether generated
# requests are accepted is not checked: a random string that the schema allows is no picture.
# usage: schema.sh http://127.0.0.1:8080 [options of `schemathesis run`]
set -euo pipefail
address=$1
shift
exec schemathesis --config-file "$(dirname "$0")/schemathesis.toml" run "$address/openapi.json" \
    --exclude-checks positive_data_acceptance "$@"
