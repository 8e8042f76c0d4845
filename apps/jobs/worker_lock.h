// How the workers of a job, processes on one machine or on several, keep out of each other's way:
// locks on bytes far behind the end of the journal. The system drops them when their process ends,
// however it ends. Advisory locks of open files (fcntl), which local file systems and NFS have.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <string>

namespace blip::jobs {

// One worker. A worker that lives holds the lock of its slot; who writes holds the one lock of all.
class WorkerLock {
 public:
  static constexpr int kSlots = 1024;

  // fd: of the journal, which outlives this. stop: polled while waiting; true ends the wait with
  // Error(kCancelled).
  WorkerLock(int fd, std::string path, std::function<bool()> stop);

  // A free slot, which is this worker's from then on. Throws Error(kIo) where all are taken.
  int take_slot();
  int slot() const { return slot_; }
  // Whether another worker holds this slot.
  bool is_held(int slot) const;
  bool is_alone() const;

  // Holds the lock of all, against the other threads of this process too.
  class Guard {
   public:
    explicit Guard(WorkerLock& lock) : lock_(lock) { lock_.acquire(); }
    ~Guard() { lock_.release(); }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    WorkerLock& lock_;
  };

 private:
  void acquire();
  void release();
  bool try_lock(int place) const;
  bool is_locked(int place, int count) const;

  int fd_;
  std::string path_;
  std::function<bool()> stop_;
  int slot_ = -1;
  std::mutex threads_;
};

}  // namespace blip::jobs
