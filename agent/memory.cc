// SPDX-License-Identifier: Apache-2.0
#include "agent/memory.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "agent/store/file.h"

namespace starling::agent {

namespace {

bool traced() {
  const auto status = read_file("/proc/self/status", 64U << 10);
  return status && *status && (*status)->find("\nTracerPid:\t0\n") == std::string::npos;
}

/// Segments that are not writable are as they are in the file: nothing is lost with their pages.
int give_back_segments(dl_phdr_info* object, size_t, void*) {
  static const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  for (size_t i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = object->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
    // Only whole pages: what lies beside them may be another segment's.
    const uintptr_t begin = object->dlpi_addr + segment.p_vaddr;
    const uintptr_t first = (begin + page - 1) & ~(page - 1);
    const uintptr_t end = (begin + segment.p_memsz) & ~(page - 1);
    // Refused for memory that is locked, and then it stays.
    if (first < end) ::madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED);
  }
  return 0;
}

}  // namespace

void share_one_heap() {
  ::mallopt(M_ARENA_MAX, 1);
}

void give_back_memory() {
  ::malloc_trim(0);
  if (!traced()) ::dl_iterate_phdr(&give_back_segments, nullptr);
}

}  // namespace starling::agent
