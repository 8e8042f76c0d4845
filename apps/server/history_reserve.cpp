#include "server/history_reserve.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace blip::server {
namespace {

// What deleting the largest entry writes: about a page for each 800 that are freed, and as many for
// their list.
constexpr off_t kBytes = 1 << 20;

}  // namespace

void HistoryReserve::take() const {
  if (path_.empty()) return;
  const int fd =
      open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
  if (fd < 0) return;
  const bool whole = posix_fallocate(fd, 0, kBytes) == 0;
  close(fd);
  if (!whole) release();  // the disk is full already: the rest of it is better left
}

bool HistoryReserve::release() const { return !path_.empty() && unlink(path_.c_str()) == 0; }

}  // namespace blip::server
