// SPDX-License-Identifier: Apache-2.0
//
// What `starling supervise` is, for tests of the handlers alone.
#include "handlers/supervise.h"

int main() {
  return starling::handlers::run_supervisor();
}
