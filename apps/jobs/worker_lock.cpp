#include "jobs/worker_lock.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <thread>
#include <utility>

#include "blip/error.h"

namespace blip::jobs {
namespace {

// Behind the end of any journal: place 0 is the lock of all, slot N is place N + 1.
constexpr off_t kPlaces = off_t{1} << 61;

struct flock lock_of(int place, int count, short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = kPlaces + place;
  lock.l_len = count;
  return lock;
}

}  // namespace

WorkerLock::WorkerLock(int fd, std::string path, std::function<bool()> stop)
    : fd_(fd), path_(std::move(path)), stop_(std::move(stop)) {}

bool WorkerLock::try_lock(int place) const {
  struct flock lock = lock_of(place, 1, F_WRLCK);
  if (::fcntl(fd_, F_OFD_SETLK, &lock) == 0) return true;
  if (errno == EAGAIN || errno == EACCES || errno == EINTR) return false;
  throw Error(ErrorCode::kIo, "cannot lock " + path_ + ": " +
                                  std::generic_category().message(errno) +
                                  "; put it on a file system with locks");
}

bool WorkerLock::is_locked(int place, int count) const {
  struct flock lock = lock_of(place, count, F_WRLCK);
  return ::fcntl(fd_, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

int WorkerLock::take_slot() {
  for (int slot = 0; slot < kSlots && slot_ < 0; ++slot)
    if (try_lock(slot + 1)) slot_ = slot;
  if (slot_ < 0)
    throw Error(ErrorCode::kIo,
                path_ + " has " + std::to_string(kSlots) + " workers; there cannot be more");
  return slot_;
}

bool WorkerLock::is_held(int slot) const { return slot != slot_ && is_locked(slot + 1, 1); }

bool WorkerLock::is_alone() const { return !is_locked(1, kSlots); }

void WorkerLock::acquire() {
  threads_.lock();
  constexpr auto kShortest = std::chrono::microseconds(50),
                 kLongest = std::chrono::microseconds(5000);
  // Who is told to stop still writes what is done, unless the lock is held for long.
  constexpr auto kPatience = std::chrono::seconds(1);
  const auto started = std::chrono::steady_clock::now();
  auto pause = kShortest;
  try {
    while (!try_lock(0)) {
      if (stop_ && stop_() && std::chrono::steady_clock::now() - started > kPatience)
        throw Error(ErrorCode::kCancelled, "cancelled while waiting for the lock of " + path_);
      std::this_thread::sleep_for(pause);
      pause = std::min(2 * pause, kLongest);
    }
  } catch (...) {
    threads_.unlock();
    throw;
  }
}

void WorkerLock::release() {
  struct flock lock = lock_of(0, 1, F_UNLCK);
  (void)::fcntl(fd_, F_OFD_SETLK, &lock);
  threads_.unlock();
}

}  // namespace blip::jobs
