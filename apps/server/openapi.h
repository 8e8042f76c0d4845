// The OpenAPI document, made from what is written by hand (openapi/template.json) and the tables
// that the server reads its fields by. For developers and tests: the server serves the committed
// result, web/openapi.json.
//
// A template is the document itself but for these:
// - "${NAME}" in a text stands for a value, and as a whole text for a number: a range of a row of
// blip/limits.h
//   ("${top_p.low}"), a limit of the server, the version.
// - "x-fields" of an operation names its fields, which become parameters of the query and
// properties of the bodies: rows of
//   blip/limits.h, members of the template's own "x-fields", or an object of fields. "@caption" and
//   "@answer" are all rows that generating takes. "x-pictures" says whether there are "images" or
//   one "image", "x-picture-required" that there must be, "x-example" is that of the JSON body.
// - "x-notes" are what a row's description says beside the library's help.
#pragma once

#include <string>

#include "server/problem.h"

namespace blip::server {

// Throws std::invalid_argument where the template names what is not there.
Json openapi_document(const Json& source);

}  // namespace blip::server
