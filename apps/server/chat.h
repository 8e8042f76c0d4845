// POST /v1/chat/completions: a picture in the messages of an OpenAI client becomes a caption or the
// answer to a question.
#pragma once

#include "server/api.h"

namespace blip::server {

void answer_chat(Service& service, Exchange& exchange);

// As OpenAI's: the most texts in "stop" and the highest "temperature".
inline constexpr std::size_t kMaxStops = 4;
inline constexpr double kMaxChatTemperature = 2;

struct ChatRequest {
  std::string model, text, picture;  // picture: the file's bytes
  GenerateOptions generate;
  std::optional<int> max_tokens;  // of the answer, without the prompt
  std::vector<std::string> stop;  // the text ends before the first of these
  bool question = false, stream = false, stream_usage = false;
};
// What changes the answer and is not supported is refused by name. Throws Problem(invalid_request).
ChatRequest read_chat(const Request& request, std::size_t max_text_bytes);

// Where the text ends before the first of the stops; npos: there is none.
std::size_t find_stop(const std::string& text, const std::vector<std::string>& stops);
// How much of an unfinished text can be shown: what may yet become a stop is kept back.
std::size_t safe_length(const std::string& text, const std::vector<std::string>& stops);

// A question goes to visual question answering; any other text ("Describe this picture.") asks for
// a caption.
bool is_question(const std::string& text);

// The errors of this path as OpenAI clients read them: the problem with an "error" object in it.
Response chat_problem(const ProblemKind& kind, const std::string& detail,
                      const std::string& request_id, double retry_after = 1);

}  // namespace blip::server
