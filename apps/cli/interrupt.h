// Ctrl-C and SIGTERM end the running work at the next step, with files and terminal left in order;
// a second one of either ends the program at once, wherever it is. main() calls catch_interrupts
// before anything else.
#pragma once

#include <functional>

namespace blip::cli {

void catch_interrupts();
// The signal that arrived, 0 = none.
int interrupted();
// Throws Exit(128 + signal) if one arrived.
void stop_if_interrupted();

enum class Wait { kReady, kNothing, kStopped };
// Waits a moment for something to read: a signal may reach another thread, which would leave a
// plain read() waiting here. kStopped: a signal arrived, or `stop` says so.
Wait wait_for_input(int fd, const std::function<bool()>& stop = {});

}  // namespace blip::cli
