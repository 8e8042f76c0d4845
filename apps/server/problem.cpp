#include "server/problem.h"

#include <algorithm>
#include <cmath>

#include "base/json.h"

namespace blip::server {
namespace {

constexpr double kLongestRetry = 3600;
constexpr std::size_t kMaxDetail = 2000;

}  // namespace

Response json_response(const Json& json, int status) {
  return {status, "application/json", json_text(json) + "\n"};
}

std::string quote(const std::string& text) { return shown(Json(text)); }

Json to_json(const ProblemKind& kind, const std::string& detail, const std::string& request_id) {
  return {{"type", std::string("urn:blip:problem:") + kind.code},
          {"title", kind.title},
          {"status", kind.status},
          {"detail", detail.size() > kMaxDetail ? detail.substr(0, kMaxDetail) + "..." : detail},
          {"code", kind.code},
          {"request_id", request_id}};
}

const ProblemKind& kind_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUsage:
      return kInvalidRequest;
    case ErrorCode::kImage:
      return kInvalidImage;
    case ErrorCode::kUnsupported:
      return kUnsupportedTask;
    case ErrorCode::kDevice:
      return kUnavailable;
    default:
      return kInternal;
  }
}

Response to_response(const ProblemKind& kind, const std::string& detail,
                     const std::string& request_id, double retry_after) {
  Response response{kind.status, "application/problem+json",
                    json_text(to_json(kind, detail, request_id)) + "\n"};
  if (kind.status == 429 || kind.status == 503)
    response.headers.emplace_back(
        "Retry-After",
        std::to_string(static_cast<int>(std::ceil(std::clamp(retry_after, 1.0, kLongestRetry)))));
  if (kind.status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

}  // namespace blip::server
