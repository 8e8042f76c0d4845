// POST /v1/chat/completions: a picture in the messages of an OpenAI client becomes a caption or the answer to a question.
#pragma once

#include "server/api.h"

namespace blip::server {

void answer_chat(Service& service, Exchange& exchange);

struct ChatRequest {
  std::string model, text, picture;  // picture: the file's bytes
  GenerateOptions generate;
  bool question = false, stream = false, stream_usage = false;
};
// Throws Problem(invalid_request).
ChatRequest read_chat(const Request& request, std::size_t max_text_bytes);

// A question goes to visual question answering; any other text ("Describe this picture.") asks for a caption.
bool is_question(const std::string& text);

// The errors of this path as OpenAI clients read them: the problem with an "error" object in it.
Response chat_problem(const ProblemKind& kind, const std::string& detail, const std::string& request_id);

}  // namespace blip::server
