// SPDX-License-Identifier: Apache-2.0
//
// Kills its own process at a durable step, by chance: STARLING_FAULT is how often in a thousand
// steps. Each kill leaves a line with the step's number in the file STARLING_FAULT_LOG.
#include <fcntl.h>
#include <signal.h>
#include <sys/random.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "handlers/fault.h"

extern "C" void starling_fault_hook(unsigned point) {
  static const char* const often = std::getenv("STARLING_FAULT");
  static const char* const log = std::getenv("STARLING_FAULT_LOG");
  if (often == nullptr || log == nullptr) return;
  unsigned chance = 0;
  if (::getrandom(&chance, sizeof chance, 0) != sizeof chance) return;
  if (chance % 1000 >= static_cast<unsigned>(std::atoi(often))) return;
  const std::string line = std::to_string(point) + "\n";
  const int file = ::open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (file >= 0) static_cast<void>(::write(file, line.data(), line.size()));
  ::kill(::getpid(), SIGKILL);
}
