// POST /v1/caption, /v1/match, /v1/ask, /v1/nlvr, /v1/embed and GET /v1/models.
#pragma once

#include "server/endpoint.h"

namespace blip::server {

// Each answers the exchange or throws Problem or Error. They run on a thread that may wait.
void answer_caption(Service& service, Exchange& exchange);
void answer_match(Service& service, Exchange& exchange);
void answer_ask(Service& service, Exchange& exchange);
void answer_nlvr(Service& service, Exchange& exchange);
void answer_embed(Service& service, Exchange& exchange);
Json describe_models(const Models& models);

// One server-sent event.
std::string sse_event(const std::string& event, const Json& data);

}  // namespace blip::server
