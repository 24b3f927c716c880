// SPDX-License-Identifier: Apache-2.0
//
// One section of `info`, being filled. For the parts of the service that do so.
#pragma once

#include <cstdint>
#include <string>

#include "agent/control/service.h"
#include "proto/control.pb.h"

namespace starling::agent {

class Section {
 public:
  Section(control::InfoReply& reply, const char* name) : section_(*reply.add_sections()) {
    section_.set_name(name);
  }
  void add(const std::string& key, const std::string& value) {
    control::KeyValue& pair = *section_.add_values();
    pair.set_key(key);
    pair.set_value(value);
  }
  void add(const std::string& key, uint64_t value) { add(key, std::to_string(value)); }

 private:
  control::InfoSection& section_;
};

/// Section `drops`: everything that this agent ever let fall, under the place and the reason.
void add_drops(control::InfoReply& reply, const Service::Parts& parts,
               const Service::Counters& counters);

}  // namespace starling::agent
