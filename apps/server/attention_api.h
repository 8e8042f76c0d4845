// Where a model looked, word by word: JSON for every text, a picture for /v1/attention.
#pragma once

#include "server/models.h"
#include "server/tasks.h"

namespace blip::server {

struct Service;  // server/api.h

// {"side", "words": [{"word", "weights": [[...], ...]}]} and, for an answer, "question" in the same form.
Json attention_json(const Attention& attention);

void answer_attention(Service& service, Exchange& exchange);

}  // namespace blip::server
