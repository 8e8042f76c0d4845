// Where a model looked, word by word: JSON for every text, a picture for /v1/attention.
#pragma once

#include "server/endpoint.h"
#include "server/models.h"

namespace blip::server {

struct Service;  // server/api.h

// {"side", "words": [{"word", "weights": [[...], ...]}]} and, for an answer, "question" in the same
// form.
Json attention_json(const Attention& attention);

// The highest number of a word that the field "word" may say; a text has far fewer.
inline constexpr int kMaxTextWords = 4096;

void answer_attention(Service& service, Exchange& exchange);

}  // namespace blip::server
