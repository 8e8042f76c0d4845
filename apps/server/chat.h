// POST /v1/chat/completions: a picture in the messages of an OpenAI client becomes a caption or the answer to a question.
#pragma once

#include "server/api.h"

namespace blip::server {

void answer_chat(Service& service, Exchange& exchange);

// A question goes to visual question answering; any other text ("Describe this picture.") asks for a caption.
bool is_question(const std::string& text);

// The errors of this path as OpenAI clients read them: the problem with an "error" object in it.
Response chat_problem(const ProblemKind& kind, const std::string& detail, const std::string& request_id);

}  // namespace blip::server
