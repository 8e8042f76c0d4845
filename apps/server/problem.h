// Errors of the API: application/problem+json (RFC 9457) with a stable code.
#pragma once

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "base/json.h"
#include "blip/error.h"
#include "server/http.h"

namespace blip::server {

using Json = nlohmann::ordered_json;

// What a client may build on: the code and its status never change. docs/SERVER.md lists them.
struct ProblemKind {
  const char* code;
  int status;
  const char* title;
};

inline constexpr ProblemKind kInvalidRequest{"invalid_request", 400, "The request makes no sense"};
inline constexpr ProblemKind kUnauthorized{"unauthorized", 401, "An API key is needed"};
inline constexpr ProblemKind kForbiddenOrigin{"forbidden_origin", 403,
                                              "Pages of this origin may not use the server"};
inline constexpr ProblemKind kNotFound{"not_found", 404, "There is nothing at this path"};
inline constexpr ProblemKind kRequestTimeout{"request_timeout", 408,
                                             "The request did not come in time"};
inline constexpr ProblemKind kUriTooLong{"uri_too_long", 414, "The address is too long"};
inline constexpr ProblemKind kUnknownHost{"unknown_host", 421,
                                          "This server is not known under that name"};
inline constexpr ProblemKind kHeadersTooLarge{"headers_too_large", 431, "The headers are too long"};
inline constexpr ProblemKind kNotImplemented{"not_implemented", 501, "The server cannot do this"};
inline constexpr ProblemKind kHttpVersion{"http_version_not_supported", 505,
                                          "The server does not speak this version of HTTP"};
inline constexpr ProblemKind kModelNotFound{"model_not_found", 404,
                                            "No model of this name is loaded"};
inline constexpr ProblemKind kMethodNotAllowed{"method_not_allowed", 405,
                                               "This path has no such method"};
inline constexpr ProblemKind kTooLarge{"payload_too_large", 413, "The body is too large"};
inline constexpr ProblemKind kUnsupportedMedia{"unsupported_media_type", 415,
                                               "The body is of a type this path does not take"};
inline constexpr ProblemKind kInvalidImage{"invalid_image", 422,
                                           "A picture cannot be decoded, or is over a limit"};
inline constexpr ProblemKind kUnsupportedTask{"unsupported_task", 422, "The model cannot do this"};
inline constexpr ProblemKind kQueueFull{"queue_full", 429, "The server is busy"};
inline constexpr ProblemKind kInternal{"internal_error", 500, "The server failed"};
inline constexpr ProblemKind kUnavailable{"unavailable", 503,
                                          "The server cannot take requests now"};
inline constexpr ProblemKind kStorageFull{"storage_full", 507, "The server's disk is full"};
inline constexpr ProblemKind kOutOfMemory{"out_of_memory", 503,
                                          "The server has no memory for this now"};
inline constexpr ProblemKind kOverloaded{"overloaded", 503, "The server cannot answer in time"};
inline constexpr ProblemKind kDeadline{"deadline_exceeded", 504, "The answer took too long"};

class Problem : public std::runtime_error {
 public:
  // retry_after: seconds until it may be worth another try, where the kind is one of those that
  // pass (429, 503).
  Problem(const ProblemKind& kind, const std::string& detail, double retry_after = 1)
      : std::runtime_error(detail), kind_(&kind), retry_after_(retry_after) {}
  const ProblemKind& kind() const { return *kind_; }
  double retry_after() const { return retry_after_; }

 private:
  const ProblemKind* kind_;
  double retry_after_;
};

// Of failures whose own words are not for clients: they may name files of the server.
inline constexpr const char* kUnexpected =
    "an unexpected failure; the server's log has more under this request's id";

// What a client is told of an error of the library.
const ProblemKind& kind_of(ErrorCode code);
inline constexpr const char* kNoMemoryNow = "not enough memory for this request now";

// What a client sent, as a message quotes it: in quotation marks, ASCII, truncated where long.
std::string quote(const std::string& text);

// A detail that is longer than any of ours is truncated.
Json to_json(const ProblemKind& kind, const std::string& detail, const std::string& request_id);
// With Retry-After, Allow and the like where the kind has them.
Response to_response(const ProblemKind& kind, const std::string& detail,
                     const std::string& request_id, double retry_after = 1);
Response json_response(const Json& json, int status = 200);

}  // namespace blip::server
