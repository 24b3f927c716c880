// SPDX-License-Identifier: Apache-2.0
//
// What the process holds in memory and does not need while it only watches and waits. Reading a
// configuration, opening the store and building the parts touch most of the program once; at rest
// an agent runs within a tenth of it.
//
// Event-loop thread only; other threads may run meanwhile.
#pragma once

namespace starling::agent {

/// One heap for all threads: the store's worker would otherwise have one of its own. To be called
/// before the first other thread starts.
void share_one_heap();

/// Gives free heap back to the kernel, and takes the program's code and constants out of this
/// process's memory: what is used again comes back from the page cache, 64 KiB for one page fault.
/// Costs less than a millisecond with a small heap. Does nothing to the code of a process that is
/// traced, since a debugger's breakpoints would go with it.
void give_back_memory();

}  // namespace starling::agent
