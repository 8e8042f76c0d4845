// /v1/history: what the web page keeps.
#pragma once

#include "server/fields.h"
#include "server/history.h"

namespace blip::server {

// Any method on /v1/history, /v1/history/{id} and /v1/history/{id}/image.
void answer_history(History& history, const InputLimits& limits, Exchange& exchange);

// The type of a picture a browser may show, by its first bytes; "" for anything else.
std::string picture_type(std::string_view bytes);

}  // namespace blip::server
