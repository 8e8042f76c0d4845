// The protocol of the three Flask programs of SOPHON's BLIP sample (sophon-demo, web_ui): push a
// picture under an id, then ask for results.
//   POST /caption/push_data, /match/push_data, /ask/push_data   form: id, image, texts
//   GET  /caption/get_result, ...                               one result, once
// The same at /push_data and /get_result for the one task of ServerOptions::sophon_demo.
#pragma once

#include <array>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>

#include "server/api.h"
#include "server/image_cache.h"

namespace blip::server {

// Results in the order in which they were asked for, each given out once. Thread-safe.
class ResultStore {
 public:
  // Results that nobody fetched go after `seconds`, and the oldest when there are too many of them,
  // or too many bytes.
  ResultStore(double seconds, std::size_t max_results,
              std::size_t max_bytes = std::size_t{32} << 20)
      : keep_(seconds), max_results_(max_results), max_bytes_(max_bytes) {}

  // From now on a result of this owner is expected under the id. False where one was before: an id
  // is used once, as far back as kMaxIds of them.
  bool expect(const std::string& owner, const std::string& id);
  // It is not expected any more, and its id may come again.
  void withdraw(const std::string& owner, const std::string& id);
  // Nothing happens where the result is not expected any more.
  void put(const std::string& owner, const std::string& id, Response response);
  // Takes the id's result out or, without an id, the first of the owner's; with `leave` it is
  // copied and stays. Waits for one that is expected until the time has come.
  enum class State { kUnknown, kPending, kTaken };
  State take(const std::string& owner, const std::optional<std::string>& id,
             Clock::time_point until, Response& response, bool leave = false);

  static constexpr std::size_t kMaxIds = 100'000;

 private:
  struct Entry {
    std::string id;
    bool ready = false;
    Response response;
    Clock::time_point since;
    std::size_t bytes = 0;
  };
  using Entries = std::map<std::pair<std::string, std::uint64_t>, Entry>;  // owner and its number

  Entries::iterator find(const std::string& owner, const std::optional<std::string>& id);
  void forget(Entries::iterator entry);
  void make_room(std::size_t bytes);
  void set_bytes(Entry& entry, std::size_t bytes);

  const std::chrono::duration<double> keep_;
  const std::size_t max_results_, max_bytes_;
  std::size_t bytes_ = 0;
  std::uint64_t next_number_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  Entries entries_;
  std::map<std::pair<std::string, std::string>, std::uint64_t> numbers_;  // of owner and id
  std::set<ContentHash> used_;                                            // ids with their owners
  std::deque<ContentHash> used_in_order_;
};

inline constexpr std::array kSophonDemoTasks = {"caption", "match", "ask"};
Task sophon_demo_task(const std::string& name);  // of one of these

// task: one of kSophonDemoTasks. owner: the API key, or "": nobody else gets the result. Push
// answers once the job is done being accepted and stores the result when it is there.
void push_data(Service& service, ResultStore& store, const std::string& owner,
               const std::string& task, Exchange& exchange);
void get_result(Service& service, ResultStore& store, const std::string& owner,
                const std::string& task, Exchange& exchange);

bool is_sophon_demo_path(const std::string& path);
// The refusal of a request to such a path: {"error": ...} under the status that the sample gives.
Response sophon_demo_problem(const std::string& path, const ProblemKind& kind,
                             const std::string& detail, double retry_after);

// A whole number as Python's int() reads it ("007", " +7", "1_000"), in its shortest decimal form.
// Nothing for any other text.
std::optional<std::string> whole_number(std::string_view text);
// As Python writes a float of 32 bits: the fewest digits that read back as the same ("0.0114",
// "1.0", "2e-05").
std::string float_text(float value);

}  // namespace blip::server
