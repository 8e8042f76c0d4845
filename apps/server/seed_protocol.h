// The protocol of the three Flask programs this server replaces: push a picture under an id, then
// ask for that id's result.
// - POST /caption/push_data, /match/push_data, /ask/push_data: a form with id, image (base64 or
//   file) and texts.
// - GET /caption/get_result?id=... and its twins: waits for the result.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>

#include "server/api.h"

namespace blip::server {

// Results by task and id, for a while. Thread-safe.
class ResultStore {
 public:
  // The oldest go when there are too many of them, or too many bytes.
  ResultStore(double seconds, std::size_t max_results,
              std::size_t max_bytes = std::size_t{32} << 20)
      : keep_(seconds), max_results_(max_results), max_bytes_(max_bytes) {}

  using Key = std::pair<std::string, std::string>;  // task and owner, id
  // From now on a result is expected; an older one of this id is forgotten.
  void expect(const Key& key);
  void put(const Key& key, Response response);
  enum class State { kUnknown, kPending, kReady };
  // Waits until the result is there or the time has come.
  State wait(const Key& key, Clock::time_point until, Response& response);

 private:
  struct Entry {
    bool ready = false;
    Response response;
    Clock::time_point since;
    std::size_t bytes = 0;
  };
  void forget(std::map<Key, Entry>::iterator entry);
  void make_room(std::size_t bytes);
  void set(const Key& key, Entry entry);

  const std::chrono::duration<double> keep_;
  const std::size_t max_results_, max_bytes_;
  std::size_t bytes_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<Key, Entry> entries_;
};

// task: "caption", "match" or "ask". owner: the API key, or "": nobody else gets the result. Push
// answers once the job is done being accepted and stores the result when it is there.
void push_data(Service& service, ResultStore& store, const std::string& owner,
               const std::string& task, Exchange& exchange);
void get_result(Service& service, ResultStore& store, const std::string& owner,
                const std::string& task, Exchange& exchange);

}  // namespace blip::server
